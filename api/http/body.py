"""Read what a client sends: bounded, UTF-8, JSON, nothing else."""

import asyncio
import json
import math
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, NoReturn

from starlette.requests import Request

from api.errors import (
    NoEffectError,
    RequestTimeoutError,
    TooLargeError,
    UnreadableInputError,
    WrongMediaTypeError,
)
from api.limits.concurrency_limit import Places
from api.sockets.connections import network_of

MAX_BODY_BYTES = 1024 * 1024
SMALL_BYTES = 64 * 1024
"""So much of a body is received for anybody; for more there are places."""

BODY_PATIENCE = timedelta(seconds=60)
MAX_DEPTH = 64
SHOWN_CHARACTERS = 60


async def read_body(request: Request, places: Places, patience: timedelta = BODY_PATIENCE) -> bytes:
    """The whole body.

    Raises:
        TooLargeError: more than 1 MiB; what follows is not read.
        RequestTimeoutError: it did not come in time.
        TooManyAtOnceError, BusyError: there is no place for a large one.
    """
    try:
        async with asyncio.timeout(patience.total_seconds()):
            return await _read(request, places)
    except TimeoutError:
        raise RequestTimeoutError(
            f"the body did not come within {patience.total_seconds():g} s", remedy="Send it again."
        ) from None


async def _read(request: Request, places: Places) -> bytes:
    chunks: list[bytes] = []
    size = 0
    with ExitStack() as place:
        async for chunk in request.stream():
            if size <= SMALL_BYTES < size + len(chunk):
                address = network_of(request.client.host) if request.client else ""
                place.enter_context(places.hold(address, None))
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise TooLargeError(f"a request's body has at most {MAX_BODY_BYTES} bytes")
            chunks.append(chunk)
    return b"".join(chunks)


def parse_json(text: bytes | str) -> object:
    """The value that a JSON text (RFC 8259) stands for.

    Raises:
        UnreadableInputError: not UTF-8, not JSON, ``NaN``, a number without bounds, an object with
            two members of one name, or nested too deep.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value: object = json.loads(
            decoded,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_members,
        )
        _require_shallow(value)
    except UnreadableInputError:
        raise
    except UnicodeDecodeError:
        raise UnreadableInputError("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise UnreadableInputError(
            f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise UnreadableInputError("not JSON that can be read here") from None
    return value


def require_json(request: Request) -> None:
    """Raises `WrongMediaTypeError` unless the body is said to be JSON; in tRPC's words."""
    content_type = request.headers.get("content-type")
    if content_type is None:
        raise WrongMediaTypeError("Missing content-type header")
    if not content_type.lower().startswith("application/json"):
        raise WrongMediaTypeError(f'Unsupported content-type "{content_type[:100]}')


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's members: of two with one name, readers take one or the other (RFC 8259, 4)."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise UnreadableInputError(f'"{_printable(name)}" stands twice in one object')
        members[name] = value
    return members


def _printable(name: str) -> str:
    return name[:SHOWN_CHARACTERS].encode("unicode_escape").decode()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _require_shallow(value: object) -> None:
    level, depth = [value], 0
    while containers := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        level = [part for each in containers for part in _parts(each)]


def _parts(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _too_deep() -> UnreadableInputError:
    return UnreadableInputError(f"JSON is nested {MAX_DEPTH} deep at most")


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
