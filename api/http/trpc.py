"""``/api/trpc/<router>.<procedure>``: two dialects on one path.

*tRPC*, for stock clients with superjson and for Dokploy's own: ``batch=1``, an ``input=`` or a body
that holds ``{"json": …}``; envelopes, codes and content types as ``@trpc/server`` 11 gives them.

*Bare*, for people with curl: everything else. Bare JSON in and out; queries by GET, with flat
parameters or ``input={…}``, and by POST.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.errors import (
    InvalidFieldsError,
    NoEffectError,
    NoProcedureError,
    TooManyError,
    UnreadableInputError,
    WrongMediaTypeError,
    WrongMethodError,
)
from api.fields.issues import Undefined, show_issues
from api.fields.json_text import parse_json
from api.http.bare import (
    NO_STORE,
    dump,
    error_data,
    extra_headers,
    plain_error,
    plain_response,
    warning_header,
)
from api.http.body import read_body, require_envelope_only, require_json, require_one_input
from api.http.dispatch import UNKNOWN, Answer, AnyProcedure, Call, Failure, log_refusal, perform
from api.http.status import status_of
from api.http.superjson import read_superjson
from api.procedure.context import Resources
from api.procedure.procedure import Flat, Procedure
from shared.errors import InvalidInputError, WharfError

MAX_BATCH_CALLS = 50
VARY = {"vary": "trpc-accept"}

Procedures = Mapping[str, AnyProcedure]


async def answer_trpc(
    resources: Resources, procedures: Procedures, path: str, request: Request
) -> Response:
    """Answer one request in the dialect that it is written in."""
    if request.method == "HEAD":
        return Response(status_code=204, headers=VARY)
    try:
        body = b"" if request.method == "GET" else await read_body(request, resources.bodies)
    except WharfError as error:
        name = path if path in procedures else UNKNOWN
        return plain_error(log_refusal(request, Failure(path, error), name=name))
    if request.query_params.get("batch") == "1":
        return await _answer_batch(resources, procedures, path, request, body)
    if _is_superjson(request, body):
        return await _answer_single(resources, procedures, path, request, body)
    return await _answer_bare(resources, procedures, path, request, body)


def _is_superjson(request: Request, body: bytes) -> bool:
    text = request.query_params.get("input") if request.method == "GET" else body
    try:
        value = parse_json(text) if text else None
    except UnreadableInputError:
        return False
    return isinstance(value, dict) and "json" in value


async def _answer_single(
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


async def _answer_batch(
    resources: Resources, procedures: Procedures, path: str, request: Request, body: bytes
) -> Response:
    paths = path.split(",")
    found = [_strictly_find(procedures, each, request.method) for each in paths]
    error = _request_error(request) or _batch_error(procedures, paths)
    if error:
        return _whole_request_failed(error)
    read = _read_once(lambda: _input_text(request, body))
    calls = [
        Call(each, procedure, lambda index=str(index): _input_of_batch(read(), index))  # type: ignore[misc]
        for index, (each, procedure) in enumerate(zip(paths, found, strict=True))
    ]
    answers = await perform(resources, request, calls)
    statuses = {answer.http for answer in answers}
    status = statuses.pop() if len(statuses) == 1 else 207
    return _respond(b"[" + b",".join(map(_envelope, answers)) + b"]", status, answers)


async def _answer_bare(
    resources: Resources, procedures: Procedures, path: str, request: Request, body: bytes
) -> Response:
    procedure = _find(procedures, path)
    if isinstance(procedure, Procedure):
        fits = ("GET", "POST") if procedure.kind == "query" else ("POST",)
        if request.method not in fits:
            procedure = _wrong_method(procedure, request.method, ", ".join(fits))
    call = Call(path, procedure, lambda: _bare_input(request, body))
    [answer] = await perform(resources, request, [call])
    return plain_response(answer)


def _bare_input(request: Request, body: bytes) -> object:
    require_one_input(request, body=bool(body))
    if body:
        require_json(request)
        return parse_json(body)
    if text := request.query_params.get("input"):
        return parse_json(text)
    return flat_input(request)


def flat_input(request: Request) -> object:
    """The query parameters as an input; nothing where there are none.

    Raises:
        InvalidInputError: one of them is given twice.
    """
    pairs = request.query_params.multi_items()
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidInputError("a query parameter is given twice")
    return Flat(values) if values else Undefined.VALUE


def _input_text(request: Request, body: bytes) -> bytes | str:
    """The input in tRPC's form.

    Raises:
        NoEffectError: the request has more than that.
    """
    require_envelope_only(request)
    return request.query_params.get("input", "") if request.method == "GET" else body


def _read_once(read_text: Callable[[], bytes | str]) -> Callable[[], object]:
    """Gives the inputs of a batch; read once, however many calls it has, and not before that."""

    @cache
    def outcome() -> tuple[object, WharfError | None]:
        try:
            text = read_text()
            return (parse_json(text) if text else {}), None
        except (NoEffectError, UnreadableInputError) as error:
            return None, error

    def read() -> object:
        inputs, error = outcome()
        if error is not None:
            raise error
        return inputs

    return read


def _input_of_batch(inputs: object, index: str) -> object:
    if not isinstance(inputs, dict):
        raise UnreadableInputError('"input" needs to be an object when doing a batch call')
    return read_superjson(inputs[index]) if index in inputs else Undefined.VALUE


def _find(procedures: Procedures, path: str) -> AnyProcedure | WharfError:
    return procedures.get(path) or NoProcedureError(f'No procedure found on path "{path}"')


def _strictly_find(procedures: Procedures, path: str, method: str) -> AnyProcedure | WharfError:
    procedure = _find(procedures, path)
    if isinstance(procedure, Procedure) and procedure.method != method:
        return _wrong_method(procedure, method, procedure.method)
    return procedure


def _wrong_method(procedure: AnyProcedure, method: str, allowed: str) -> WrongMethodError:
    return WrongMethodError(
        f'Unsupported {method}-request to {procedure.kind} procedure at path "{procedure.name}"',
        allowed=allowed,
    )


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
    message = show_issues(error.issues) if isinstance(error, InvalidFieldsError) else error.message
    shape: dict[str, Any] = {
        "message": message,
        "code": status_of(error).number,
        "data": error_data(error, path),
    }
    return dump({"error": {"json": shape}})


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
