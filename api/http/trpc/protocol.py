"""tRPC, as stock clients with superjson and Dokploy's own speak it.

``batch=1``, an ``input=`` or a body that holds ``{"json": …}``; envelopes, codes and content types
as ``@trpc/server`` 11 gives them.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.errors import (
    InvalidFieldsError,
    NoEffectError,
    TooManyError,
    UnreadableInputError,
    WrongMediaTypeError,
)
from api.fields.issues import Undefined, show_issues
from api.fields.json_text import parse_json
from api.http.body import require_envelope_only, require_json
from api.http.calls import (
    Answer,
    AnyProcedure,
    Call,
    Failure,
    Procedures,
    find_procedure,
    make_wrong_method,
)
from api.http.perform import perform
from api.http.plain import NO_STORE, dump, error_data, extra_headers, warning_header
from api.http.status import status_of
from api.http.trpc.superjson import read_superjson
from api.procedure.context import Resources
from api.procedure.procedure import Procedure
from shared.errors import InvalidInputError, WharfError

MAX_BATCH_CALLS = 500
"""Dokploy has no limit; its own pages send fewer. Some calls of a batch run at once."""

VARY = {"vary": "trpc-accept"}


async def answer_single(
    resources: Resources, procedures: Procedures, path: str, request: Request, body: bytes
) -> Response:
    if error := _request_error(request):
        return _whole_request_failed(error)
    call = Call(
        path,
        _strictly_find(procedures, path, request.method),
        lambda: read_superjson(parse_json(_input_text(request, body))),
    )
    [answer] = await perform(resources, request, [call])
    return _respond(_envelope(answer), answer.http, [answer])


async def answer_batch(
    resources: Resources, procedures: Procedures, path: str, request: Request, body: bytes
) -> Response:
    calls = read_batch(procedures, path, request, body)
    if isinstance(calls, WharfError):
        return _whole_request_failed(calls)
    answers = await perform(resources, request, calls)
    statuses = {answer.http for answer in answers}
    status = statuses.pop() if len(statuses) == 1 else 207
    return _respond(b"[" + b",".join(map(_envelope, answers)) + b"]", status, answers)


def read_batch(
    procedures: Procedures, path: str, request: Request, body: bytes
) -> list[Call] | WharfError:
    """Return the calls of a batch, or the error of the whole request."""
    paths = path.split(",")
    found = [_strictly_find(procedures, each, request.method) for each in paths]
    if error := _request_error(request) or _batch_error(procedures, paths):
        return error
    read = _read_once(lambda: _input_text(request, body), len(paths))
    return [
        Call(each, procedure, lambda index=str(index): _input_of_batch(read(), index))  # type: ignore[misc]
        for index, (each, procedure) in enumerate(zip(paths, found, strict=True))
    ]


def _input_text(request: Request, body: bytes) -> bytes | str:
    """Return the text of the input in tRPC's form.

    Raises:
        NoEffectError: the request has more than that.
    """
    require_envelope_only(request)
    return request.query_params.get("input", "") if request.method == "GET" else body


def _read_once(read_text: Callable[[], bytes | str], count: int) -> Callable[[], object]:
    """Return a function that reads the inputs of ``count`` calls once, at its first call."""

    @cache
    def outcome() -> tuple[object, WharfError | None]:
        try:
            text = read_text()
            return _require_calls(parse_json(text) if text else {}, count), None
        except (NoEffectError, UnreadableInputError) as error:
            return None, error

    def read() -> object:
        inputs, error = outcome()
        if error is not None:
            raise error
        return inputs

    return read


def _require_calls(inputs: object, count: int) -> object:
    """Return the inputs of a batch.

    Raises:
        NoEffectError: an input belongs to none of its calls.
    """
    surplus = inputs.keys() - set(map(str, range(count))) if isinstance(inputs, dict) else ()
    if surplus:
        raise NoEffectError(
            f"inputs belong to no call of the batch: {', '.join(sorted(surplus))[:200]}",
            remedy="Number the inputs as the calls, from 0.",
        )
    return inputs


def _input_of_batch(inputs: object, index: str) -> object:
    if not isinstance(inputs, dict):
        raise UnreadableInputError('"input" needs to be an object when doing a batch call')
    return read_superjson(inputs[index]) if index in inputs else Undefined.VALUE


def _strictly_find(procedures: Procedures, path: str, method: str) -> AnyProcedure | WharfError:
    procedure = find_procedure(procedures, path)
    if isinstance(procedure, Procedure) and procedure.method != method:
        return make_wrong_method(procedure, method, procedure.method)
    return procedure


def _request_error(request: Request) -> WharfError | None:
    if request.method == "GET":
        return None
    try:
        require_json(request)
    except WrongMediaTypeError as error:
        return error
    return None


def _batch_error(procedures: Procedures, paths: list[str]) -> WharfError | None:
    if len(paths) > MAX_BATCH_CALLS:
        return InvalidInputError(f"a batch has at most {MAX_BATCH_CALLS} calls")
    kinds = dict.fromkeys(procedures[path].kind for path in paths if path in procedures)
    if len(kinds) > 1:
        return InvalidInputError(f"Cannot mix procedure types in call: {', '.join(kinds)}")
    return None


def _envelope(answer: Answer) -> bytes:
    if isinstance(answer, Failure):
        return _error_envelope(answer.error, answer.path)
    return b'{"result":{"data":{"json":' + answer.shown + b"}}}"


def _error_envelope(error: WharfError, path: str | None) -> bytes:
    return dump({"error": {"json": error_shape(error, path)}})


def error_shape(error: WharfError, path: str | None) -> dict[str, Any]:
    """Return tRPC's error: ``{message, code, data}``."""
    message = show_issues(error.issues) if isinstance(error, InvalidFieldsError) else error.message
    return {
        "message": message,
        "code": status_of(error).number,
        "data": error_data(error, path),
    }


def _is_late(answer: Answer) -> bool:
    return isinstance(answer, Failure) and isinstance(answer.error, TooManyError)


def _respond(content: bytes, status: int, answers: Sequence[Answer]) -> Response:
    # Of a batch, when to come back is the same for all of its calls.
    telling = answers[:1] if len(answers) == 1 else [each for each in answers if _is_late(each)][:1]
    extra = [extra_headers(each.error) for each in telling if isinstance(each, Failure)]
    headers = {**VARY, **NO_STORE, **warning_header(answers), **(extra[0] if extra else {})}
    return Response(content, status, media_type="application/json", headers=headers)


def _whole_request_failed(error: WharfError) -> Response:
    # The package gives these no content type, so that the platform's default stands.
    headers = {**VARY, "content-type": "text/plain;charset=UTF-8"}
    return Response(_error_envelope(error, None), status_of(error).http, headers=headers)
