"""Receive and send the two bodies that are not JSON: uploaded and fetched contexts."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response

from api.builds.context_download import FETCH, Fetched
from api.builds.context_upload import UPLOAD, Upload
from api.errors import (
    AddressRefusedError,
    IncompleteUploadError,
    NoEffectError,
    WrongMediaTypeError,
)
from api.http.bare import flat_input
from api.http.calls import Call, Failure
from api.http.perform import perform
from api.http.plain import NO_STORE, plain_error, plain_response
from api.procedure.context import Caller, Resources
from api.uploads.checksum import CONTENT_DIGEST, CONTENT_SHA256, parse_checksums
from shared.errors import NotFoundError, WharfError

MEDIA_TYPES = ("application/x-tar", "application/gzip", "application/octet-stream")
NOT_VERIFIED = ("repr-digest", "digest", "content-md5", "content-range")
"""Headers about a body that would have no effect."""

STALL = timedelta(seconds=30)
MOVED_BYTES = 16 * 1024
"""The bytes of a context that have to arrive within `STALL`."""

UPLOAD_HEADERS = [
    {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
    for name, description in (
        ("Content-Digest", "The body's SHA-256: `sha-256=:<base64>:`."),
        ("x-content-sha256", "The same in hexadecimal."),
    )
]


async def answer_upload(
    resources: Resources, request: Request, caller: Caller | None = None
) -> Response:
    """Store a context; its body is read after its sender was authenticated and authorized.

    The caller is the one of the request's API key, unless it is given.
    """
    try:
        upload = _read_head(request)
    except WharfError as error:
        return await _refuse(resources, request, error, caller)
    call = Call(UPLOAD.name, upload.procedure, lambda: flat_input(request), total=None)
    [answer] = await perform(resources, request, [call], caller)
    return plain_response(answer)


async def answer_context(resources: Resources, context_id: str, request: Request) -> Response:
    """Return the file for the token of a running attempt; answer 404 to all other tokens.

    A server that may not use the API from its address gets 403 for its token.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = {"contextId": context_id, "token": token if scheme.lower() == "bearer" else ""}
    [answer] = await perform(resources, request, [Call(FETCH.name, FETCH, lambda: given)])
    if isinstance(answer, Failure):
        is_refused = isinstance(answer.error, AddressRefusedError)
        is_told = is_refused or answer.http >= 500 or answer.http == 429
        return plain_error(answer if is_told else Failure(FETCH.name, NotFoundError("Not found")))
    assert resources.contexts  # noqa: S101 - it was found there
    path = resources.contexts.path(Fetched.model_validate_json(answer.shown).context_id)
    return FileResponse(path, media_type="application/octet-stream", headers=NO_STORE)


async def _refuse(
    resources: Resources, request: Request, error: WharfError, caller: Caller | None
) -> Response:
    """Answer callers that have a key; others get 401 first."""
    call = Call(UPLOAD.name, error, lambda: None, guarded=True)
    [answer] = await perform(resources, request, [call], caller)
    return plain_response(answer)


def _read_head(request: Request) -> Upload:
    """Raises `WrongMediaTypeError`, `InvalidInputError`, `NoEffectError`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise WrongMediaTypeError(
            f"the content type of a context is none of {', '.join(MEDIA_TYPES)}"
        )
    headers = request.headers
    if ignored := [name for name in NOT_VERIFIED if name in headers]:
        raise NoEffectError(
            f"this header of an upload has no effect here: {', '.join(ignored)}",
            remedy="Send the whole body, and its checksum as Content-Digest: sha-256=:<base64>: "
            "or as x-content-sha256 in hexadecimal.",
        )
    announced = headers.get("content-length", "0")
    return Upload(
        chunks=read_chunks(request),
        announced_bytes=int(announced) if announced.isdecimal() else 0,
        expected=parse_checksums(headers.getlist(CONTENT_DIGEST), headers.getlist(CONTENT_SHA256)),
    )


async def read_chunks(request: Request, stall: timedelta = STALL) -> AsyncGenerator[bytes, None]:
    """The body, piece by piece; the time that its writing takes is not its sender's.

    Raises:
        IncompleteUploadError: it does not come to its end, or next to nothing of it for so long.
    """
    stream, loop = request.stream(), asyncio.get_running_loop()
    left_seconds, moved_bytes = stall.total_seconds(), 0
    try:
        while True:
            began = loop.time()
            async with asyncio.timeout(left_seconds):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            left_seconds -= loop.time() - began
            moved_bytes += len(chunk)
            if moved_bytes >= MOVED_BYTES:
                left_seconds, moved_bytes = stall.total_seconds(), 0
            yield chunk
    except ClientDisconnect:
        raise IncompleteUploadError("the upload broke off", remedy="Send it again.") from None
    except TimeoutError:
        raise IncompleteUploadError(
            f"less than {MOVED_BYTES} bytes of the upload arrived in {stall.total_seconds():g} s",
            remedy="Send it again.",
        ) from None
