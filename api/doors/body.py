"""Read what a client sends: bounded, UTF-8, JSON, nothing else."""

import json
from typing import NoReturn

from starlette.requests import Request

from api.errors import NoEffectError, TooLargeError, UnreadableInputError, WrongMediaTypeError

MAX_BODY_BYTES = 1024 * 1024


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        TooLargeError: more than 1 MiB; what follows is not read.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise TooLargeError(f"a request's body has at most {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def parse_json(text: bytes | str) -> object:
    """The value that a JSON text (RFC 8259) stands for.

    Raises:
        UnreadableInputError: not UTF-8, not JSON, ``NaN``, or nested too deep.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value: object = json.loads(decoded, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise UnreadableInputError("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise UnreadableInputError(
            f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except (ValueError, RecursionError):
        raise UnreadableInputError("not JSON that can be read here") from None
    return value


def require_json(request: Request) -> None:
    """Raises `WrongMediaTypeError` unless the body is said to be JSON; in tRPC's words."""
    content_type = request.headers.get("content-type")
    if content_type is None:
        raise WrongMediaTypeError("Missing content-type header")
    if not content_type.lower().startswith("application/json"):
        raise WrongMediaTypeError(f'Unsupported content-type "{content_type[:100]}')


def require_one_input(request: Request, *, body: bool) -> None:
    """See that a request says in one place what it asks for.

    Raises:
        NoEffectError: a body by GET, query parameters beside a body: they would not be read.
    """
    announced = request.headers.get("content-length", "0") != "0"
    if request.method == "GET" and (announced or "transfer-encoding" in request.headers):
        raise NoEffectError(
            "the body of a GET request is not read", remedy="Give query parameters, or use POST."
        )
    names = list(request.query_params)
    if body and names:
        raise NoEffectError(
            f"query parameters are not read beside a body: {', '.join(names)[:200]}",
            remedy="Give all fields in the body.",
        )
    if "input" in names and len(names) > 1:
        raise NoEffectError(
            "query parameters are not read beside input", remedy="Give all fields in input."
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
