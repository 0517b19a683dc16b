"""Read the refs of a git server, its branches, tags and commits, before git itself runs.

git reports every failed fetch with text and the same exit code. The statuses of HTTP distinguish an
unknown host, a wrong token and a missing branch. The protocol is git's "smart" HTTP
(gitprotocol-http, gitprotocol-pack).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import httpx2

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.builds.sources.git.remote import (
    ANSWER_SECONDS,
    GitRemote,
    Remote,
    make_unreachable_error,
)

MAX_BYTES = 64 * 1024 * 1024
"""Enough for a million branches; the largest known repositories have some hundred thousand."""

MAX_REDIRECTS = 3
_SERVICE = "git-upload-pack"
_MEDIA_TYPE = f"application/x-{_SERVICE}-advertisement"


@dataclass(frozen=True)
class Advertisement:
    """A repository's address, and its refs by name: ``HEAD``, ``refs/heads/main``."""

    remote: GitRemote
    refs: Mapping[str, str]


def open_client() -> httpx2.AsyncClient:
    """Open a client that knows this server's trusted certificates and no proxy."""
    return httpx2.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False)


async def fetch_refs(remote: Remote) -> Advertisement:
    """Fetch the refs of a repository; a redirect within its host is followed.

    Raises:
        SourceError: ``source_not_found``, ``source_denied``, ``source_unreachable``,
            ``rate_limited``, or one of the ``tls_…`` codes.
    """
    for _ in range(MAX_REDIRECTS):
        try:
            async with open_client() as client:
                answer = await client.send(_request(client, remote), stream=True)
                try:
                    if not answer.has_redirect_location:
                        _require_good(answer, remote)
                        return Advertisement(remote, parse_refs(await _content(answer, remote)))
                finally:
                    await answer.aclose()
        except httpx2.TransportError as error:
            raise make_unreachable(error, remote) from error
        remote = _redirected(remote, answer.headers["location"])
    raise SourceError(FaultCode.SOURCE_NOT_FOUND, f"{remote.url} redirects too often")


def parse_refs(content: bytes) -> dict[str, str]:
    """Read an advertisement of refs: ``{"refs/heads/main": "<commit>"}``.

    Raises:
        SourceError: ``source_not_found``, the content is not one.
    """
    refs = {}
    for line in _packets(content):
        commit, _, name = line.partition(b"\0")[0].strip().partition(b" ")
        if len(commit) in {40, 64} and name:
            refs[name.decode(errors="replace")] = commit.decode(errors="replace")
    return refs


def _packets(content: bytes) -> Iterator[bytes]:
    """Yield the lines of ``pkt-line`` format: four hexadecimal digits of length, and content."""
    at = 0
    while at < len(content):
        try:
            size = int(content[at : at + 4], 16)
        except ValueError:
            size = -1
        if size < 0 or at + size > len(content) or 0 < size < 4:
            raise SourceError(
                FaultCode.SOURCE_NOT_FOUND, "the URL does not lead to a git repository"
            )
        yield content[at + 4 : at + size]
        at += size or 4


def make_request(
    client: httpx2.AsyncClient,
    remote: Remote,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: object = None,
) -> httpx2.Request:
    """Make a request to the checked address without another lookup of the name.

    TLS verifies the name. The remote's login is sent unless ``headers`` have another.
    """
    address = remote.addresses[0]
    host = f"[{address}]" if ":" in address else address
    sent = {"User-Agent": "git/2 (wharf)", **(headers or {})}
    if remote.authorization is not None and "authorization" not in map(str.lower, sent):
        sent["Authorization"] = remote.authorization.get_secret_value()
    return client.build_request(
        method,
        f"{urlsplit(remote.url).scheme}://{host}:{remote.port}{path}",
        headers={**sent, "Host": remote.netloc, "Accept-Encoding": "identity"},
        json=json,
        extensions={"sni_hostname": remote.hostname},
    )


def _request(client: httpx2.AsyncClient, remote: Remote) -> httpx2.Request:
    path = urlsplit(remote.url).path
    return make_request(client, remote, "GET", f"{path}/info/refs?service={_SERVICE}")


def _require_good(answer: httpx2.Response, remote: Remote) -> None:
    status, where = answer.status_code, remote.url
    if status in {401, 403} and remote.authorization is not None:
        raise SourceError(FaultCode.SOURCE_DENIED, f"{where} does not accept the token")
    if status in {401, 403}:
        raise SourceError(FaultCode.SOURCE_NOT_FOUND, f"{where} is private, or does not exist")
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        after = answer.headers.get("retry-after", "")
        raise SourceError(
            FaultCode.RATE_LIMITED,
            f"{where} limits the rate of requests",
            remedy="Wait, or use a token.",
            retry_after_seconds=float(after) if after.isdigit() else None,
        )
    if status >= 500:
        raise SourceError(FaultCode.SOURCE_UNREACHABLE, f"{where} answers with status {status}")
    if status != httpx2.codes.OK or answer.headers.get("content-type") != _MEDIA_TYPE:
        raise SourceError(FaultCode.SOURCE_NOT_FOUND, f"there is no git repository at {where}")


async def _content(answer: httpx2.Response, remote: Remote) -> bytes:
    content = bytearray()
    async for chunk in answer.aiter_raw():
        content += chunk
        if len(content) > MAX_BYTES:
            raise SourceError(
                FaultCode.SOURCE_TOO_LARGE,
                f"{remote.url} has too many branches and tags",
                remedy="Delete old branches and tags in the repository.",
            )
    return bytes(content)


def _redirected(remote: Remote, location: str) -> Remote:
    """Return the redirected remote; login and checked addresses are valid for this host only."""
    old = urlsplit(remote.url)
    new = urlsplit(location)
    path, ending, _ = new.path.partition("/info/refs")
    if (new.scheme or old.scheme, new.netloc or old.netloc) != (old.scheme, old.netloc) or (
        not ending
    ):
        raise SourceError(
            FaultCode.SOURCE_NOT_FOUND,
            f"{remote.url} has moved to {new.hostname or 'another URL'}",
            remedy="Use the repository's present URL.",
        )
    return Remote(
        urlunsplit((old.scheme, old.netloc, path, "", "")), remote.addresses, remote.authorization
    )


def make_unreachable(error: httpx2.TransportError, remote: Remote) -> SourceError:
    """Make the error of a git server that could not be reached."""
    where = f"{remote.hostname}:{remote.port}"
    if isinstance(error, httpx2.TimeoutException):
        return SourceError(FaultCode.SOURCE_UNREACHABLE, f"{where} does not answer in time")
    return make_unreachable_error(root_cause(error), where)


def root_cause(error: BaseException) -> BaseException:
    """Return the root cause of an error, such as that of the socket."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
