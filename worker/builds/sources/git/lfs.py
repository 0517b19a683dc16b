"""Fetch the files of Git LFS by its batch API.

A pointer in the repository names a file's SHA-256 and size, which the fetched file has to match
(github.com/git-lfs/git-lfs: docs/spec.md, docs/api/batch.md, "basic" transfers).
"""

import asyncio
import hashlib
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from shared.errors import RefusedNetworkError, SourceError
from shared.faults import FaultCode
from shared.networks import RegistryNetworks
from worker.builds.sources.git.lfs_pointers import Pointer
from worker.builds.sources.git.refs import MAX_REDIRECTS, make_request, make_unreachable
from worker.builds.sources.git.remote import Remote, open_remote
from worker.builds.sources.git.submodules import is_same_origin

BATCH = 100
MAX_ANSWER_BYTES = 4 * 1024 * 1024

_MEDIA_TYPE = "application/vnd.git-lfs+json"
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
_RESERVED_HEADERS = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding"}


class MissingFileError(Exception):
    """A file that cannot be fetched, with a readable ``reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Action(BaseModel):
    href: str
    header: dict[str, str] = {}


class _Problem(BaseModel):
    code: int = 0


class _Object(BaseModel):
    oid: str
    actions: dict[str, _Action] | None = None
    error: _Problem | None = None


class _Answer(BaseModel):
    objects: list[_Object]


def find_endpoint(url: str, named: str = "") -> str:
    """Return the LFS endpoint of a repository: the one that ``.lfsconfig`` names, or the default.

    Raises:
        SourceError: ``source_invalid``, the repository has TLS or SSH, the named endpoint no TLS.
    """
    if not named:
        return f"{url}/info/lfs" if url.endswith(".git") else f"{url}.git/info/lfs"
    if _is_downgrade(url, named):
        raise SourceError(
            FaultCode.SOURCE_INVALID,
            "the URL of the repository's LFS server does not begin with https://",
            remedy="Set lfs.url in .lfsconfig to the https:// address of the LFS server.",
        )
    return named


async def fetch_files(
    client: httpx2.AsyncClient,
    remote: Remote,
    pointers: Sequence[Pointer],
    networks: RegistryNetworks,
    draft: Path,
) -> dict[str, str]:
    """Replace the pointers by their files; return the reasons for missing ones by path.

    ``remote`` is the endpoint with its login, which is sent only to its own origin. A file is
    written to ``draft`` until it is complete.

    Raises:
        SourceError: the server does not answer, or sends another file than the pointer names.
    """
    missing: dict[str, str] = {}
    by_oid: dict[str, list[Pointer]] = {}
    for pointer in pointers:
        by_oid.setdefault(pointer.oid, []).append(pointer)
    requested = [same[0] for same in by_oid.values()]
    server = _Server(client, remote, networks)
    for start in range(0, len(requested), BATCH):
        part = requested[start : start + BATCH]
        actions = await server.resolve(part)
        for pointer in part:
            same = by_oid[pointer.oid]
            try:
                await server.download(actions[pointer.oid], pointer, draft)
                await asyncio.to_thread(_overwrite, draft, [one.file for one in same])
            except MissingFileError as error:
                missing |= {one.path: error.reason for one in same}
    return missing


@dataclass(frozen=True)
class _Server:
    """An LFS server; ``remote`` is its endpoint, with the login for it."""

    client: httpx2.AsyncClient
    remote: Remote
    networks: RegistryNetworks

    async def resolve(
        self, pointers: Sequence[Pointer]
    ) -> Mapping[str, _Action | MissingFileError]:
        """Return the download of each file by its SHA-256, or the reason why there is none."""
        try:
            found = {one.oid: one for one in (await self._request_batch(pointers)).objects}
        except MissingFileError as error:
            return dict.fromkeys((pointer.oid for pointer in pointers), error)
        return {pointer.oid: _choose(found.get(pointer.oid)) for pointer in pointers}

    async def download(
        self, action: _Action | MissingFileError, pointer: Pointer, draft: Path
    ) -> None:
        """Write the file to ``draft``; each address on the way is checked like any source."""
        if isinstance(action, MissingFileError):
            raise action
        url = urljoin(f"{self.remote.url}/", action.href)
        headers = _safe_headers(action)
        for _ in range(MAX_REDIRECTS + 1):
            source = await self._open(url)
            parts = urlsplit(url)
            path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            request = make_request(self.client, source, "GET", path, headers=headers)
            answer = await _send(self.client, request, source)
            try:
                if not answer.has_redirect_location:
                    _require_good(answer, source)
                    await _write(answer, source, pointer, draft)
                    return
            finally:
                await answer.aclose()
            moved = urljoin(url, answer.headers["location"])
            headers = headers if is_same_origin(url, moved) else {}
            url = moved
        raise MissingFileError("the LFS server redirects too often")

    async def _request_batch(self, pointers: Sequence[Pointer]) -> _Answer:
        batch = {
            "operation": "download",
            "transfers": ["basic"],
            "objects": [{"oid": pointer.oid, "size": pointer.size} for pointer in pointers],
        }
        path = f"{urlsplit(self.remote.url).path}/objects/batch"
        headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE}
        request = make_request(self.client, self.remote, "POST", path, headers=headers, json=batch)
        answer = await _send(self.client, request, self.remote)
        content = bytearray()
        try:
            _require_good(answer, self.remote)
            async for chunk in _chunks(answer, self.remote):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise MissingFileError("the LFS server's answer is too long")
            return _Answer.model_validate_json(bytes(content))
        except ValidationError as error:
            raise MissingFileError("the endpoint is not an LFS server") from error
        finally:
            await answer.aclose()

    async def _open(self, url: str) -> Remote:
        """Open the address of a file; only the endpoint's own origin gets the login."""
        if _is_downgrade(self.remote.url, url):
            raise MissingFileError("the LFS server would send it without TLS")
        try:
            source = await open_remote(url, "", None, self.networks)
        except (SourceError, RefusedNetworkError) as error:
            if error.retryable:
                raise
            raise MissingFileError(error.message) from error
        login = self.remote.authorization if is_same_origin(url, self.remote.url) else None
        return Remote(source.url, source.addresses, login)


def _is_downgrade(url: str, other: str) -> bool:
    """Return whether the first URL has TLS, or is one of SSH, and the other has no TLS."""
    return not url.startswith("http://") and not other.startswith("https://")


def _choose(one: _Object | None) -> _Action | MissingFileError:
    action = (one.actions or {}).get("download") if one else None
    if one is None or one.error is not None or action is None:
        return MissingFileError("the LFS server does not have it")
    return action


def _safe_headers(action: _Action) -> dict[str, str]:
    return {
        name: value
        for name, value in action.header.items()
        if _HEADER.fullmatch(name)
        and name.lower() not in _RESERVED_HEADERS
        and value.isascii()
        and value.isprintable()
    }


async def _send(
    client: httpx2.AsyncClient, request: httpx2.Request, remote: Remote
) -> httpx2.Response:
    try:
        return await client.send(request, stream=True)
    except httpx2.TransportError as error:
        raise make_unreachable(error, remote) from error


async def _chunks(answer: httpx2.Response, remote: Remote) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx2.TransportError as error:
        raise make_unreachable(error, remote) from error


def _require_good(answer: httpx2.Response, remote: Remote) -> None:
    status = answer.status_code
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        raise SourceError(
            FaultCode.RATE_LIMITED,
            f"{remote.netloc} limits the rate of requests",
            remedy="Wait, or use a token.",
        )
    if status >= 500 and status != httpx2.codes.NOT_IMPLEMENTED:
        raise SourceError(
            FaultCode.SOURCE_UNREACHABLE, f"{remote.netloc} answers with status {status}"
        )
    if status in {401, 403}:
        raise MissingFileError("the LFS server refuses this login")
    if status != httpx2.codes.OK:
        raise MissingFileError(f"the LFS server answers with status {status}")


async def _write(answer: httpx2.Response, source: Remote, pointer: Pointer, draft: Path) -> None:
    checksum, total = hashlib.sha256(), 0
    with await asyncio.to_thread(draft.open, "wb") as file:
        async for chunk in _chunks(answer, source):
            total += len(chunk)
            if total > pointer.size:
                break
            checksum.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    if total != pointer.size or checksum.hexdigest() != pointer.oid:
        raise SourceError(
            FaultCode.SOURCE_ALTERED,
            f"{source.netloc} sends another file than {pointer.path[:200]!r}",
            remedy="Push the file to the LFS server again.",
        )


def _overwrite(draft: Path, files: Sequence[Path]) -> None:
    """Overwrite the files that hold pointers; they keep their modes."""
    for file in files:
        shutil.copyfile(draft, file)
    draft.unlink()
