"""Read the bodies of requests, bounded in size and time; refuse what would not be read."""

import asyncio
from contextlib import ExitStack
from datetime import timedelta

from starlette.requests import Request

from api.errors import (
    NoEffectError,
    RequestTimeoutError,
    TooLargeError,
    WrongMediaTypeError,
)
from api.limits.concurrency_limit import ConcurrencyLimit
from shared.networks import network_of

MAX_BODY_BYTES = 1024 * 1024
SMALL_BYTES = 64 * 1024
"""The size up to which every body is received; larger ones are limited in number."""

BODY_PATIENCE = timedelta(seconds=60)


async def read_body(
    request: Request, large: ConcurrencyLimit, patience: timedelta = BODY_PATIENCE
) -> bytes:
    """Return the whole body; ``large`` limits how many large ones are received at once.

    Raises:
        TooLargeError: more than 1 MiB; what follows is not read.
        RequestTimeoutError: it did not arrive in time.
        TooManyAtOnceError, BusyError: too many large bodies are being received.
    """
    try:
        async with asyncio.timeout(patience.total_seconds()):
            return await _read(request, large)
    except TimeoutError:
        raise RequestTimeoutError(
            f"the body did not arrive within {patience.total_seconds():g} s",
            remedy="Send it again.",
        ) from None


async def _read(request: Request, large: ConcurrencyLimit) -> bytes:
    chunks: list[bytes] = []
    size = 0
    with ExitStack() as stack:
        async for chunk in request.stream():
            if size <= SMALL_BYTES < size + len(chunk):
                address = network_of(request.client.host) if request.client else ""
                stack.enter_context(large.hold(address, None))
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise TooLargeError(f"a request's body has at most {MAX_BODY_BYTES} bytes")
            chunks.append(chunk)
    return b"".join(chunks)


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
    _require_no_body_by_get(request)
    names = _names(request)
    if body and names:
        raise NoEffectError(
            f"query parameters are not read beside a body: {', '.join(names)[:200]}",
            remedy="Give all fields in the body.",
        )
    if "input" in names and len(names) > 1:
        raise NoEffectError(
            "query parameters are not read beside input", remedy="Give all fields in input."
        )


def require_envelope_only(request: Request) -> None:
    """See that a request of a tRPC client has no parameters but those of tRPC, each once.

    Raises:
        NoEffectError: a body by GET, or other query parameters: they would not be read.
    """
    _require_no_body_by_get(request)
    names = _names(request)
    for name in ("batch", "input") if request.method == "GET" else ("batch",):
        if name in names:
            names.remove(name)
    if request.query_params.get("batch", "1") not in ("0", "1"):
        raise NoEffectError("batch is 0 or 1", remedy="Give batch=1 for several calls.")
    if names:
        raise NoEffectError(
            f"query parameters are not read beside tRPC's: {', '.join(names)[:200]}",
            remedy="Give all fields in the input.",
        )


def _names(request: Request) -> list[str]:
    """The names of all query parameters; one that is given twice is there twice."""
    return [name for name, _ in request.query_params.multi_items()]


def _require_no_body_by_get(request: Request) -> None:
    announced = request.headers.get("content-length", "0") != "0"
    if request.method == "GET" and (announced or "transfer-encoding" in request.headers):
        raise NoEffectError(
            "the body of a GET request is not read", remedy="Give query parameters, or use POST."
        )
