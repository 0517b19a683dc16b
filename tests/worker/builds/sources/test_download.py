"""A context is downloaded unchanged or fails with a code, and the token is never shown."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import SetupError, WharfError
from shared.faults import FaultCode
from shared.jobs.sources import UploadSource
from tests.fakes.certificates import Authority
from tests.fakes.sockets import be_silent, open_socket, reset, say
from tests.fakes.web import open_fake, says
from worker.builds.sources.download import download
from worker.builds.sources.limits import Limits

TOKEN = "one-time-token-77"
CONTENT = b"the tar" * 100_000
SOURCE = UploadSource(
    context_id="01-context", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def get(url: str | None, directory: Path, **changes: Any) -> Path:
    archive = directory / "context.tar"
    given: dict[str, Any] = {"source": SOURCE, "token": SecretStr(TOKEN), **changes}
    await download(given.pop("source"), url, given.pop("token"), archive, **given)
    return archive


async def fail(url: str | None, directory: Path, **changes: Any) -> WharfError:
    with pytest.raises(WharfError) as caught:
        await get(url, directory, **changes)
    assert caught.value.remedy
    assert TOKEN not in f"{caught.value!r} {caught.value.fault()!r}"
    return caught.value


async def good(_: web.Request) -> web.StreamResponse:
    return web.Response(body=CONTENT)


async def cut(request: web.Request) -> web.StreamResponse:
    """Send half of the context, then cut the connection."""
    response = web.StreamResponse(headers={"content-length": str(len(CONTENT))})
    await response.prepare(request)
    await response.write(CONTENT[: len(CONTENT) // 2])
    assert request.transport
    request.transport.abort()
    return response


async def test_a_context_is_requested_once_by_its_id_and_with_the_token(tmp_path: Path) -> None:
    async with open_fake(good) as api:
        archive = await get(f"http://{api.host}/wharf/", tmp_path)

    assert archive.read_bytes() == CONTENT
    assert api.lines == ["GET /wharf/api/contexts/01-context"]
    assert api.authorizations == [f"Bearer {TOKEN}"]
    assert api.requests[0].headers["host"] == api.host


def body(content: bytes) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=content)

    return answer


@pytest.mark.parametrize(
    ("answer", "code", "is_retryable"),
    [
        (says(404), FaultCode.SOURCE_NOT_FOUND, False),
        (cut, FaultCode.SOURCE_UNREACHABLE, True),
        (says(403), FaultCode.SOURCE_UNREACHABLE, True),
        (says(503), FaultCode.SOURCE_UNREACHABLE, True),
        (
            says(302, headers={"location": "http://127.0.0.1:1/"}),
            FaultCode.SOURCE_UNREACHABLE,
            True,
        ),
        (body(CONTENT[:-1]), FaultCode.SOURCE_ALTERED, True),
        (body(CONTENT[:-1] + b"X"), FaultCode.SOURCE_ALTERED, True),
        (body(CONTENT + b"X"), FaultCode.SOURCE_ALTERED, True),
    ],
    ids=["gone", "cut", "refused", "away", "moved", "short", "another", "long"],
)
async def test_an_invalid_answer_fails_with_its_code_and_remedy(
    tmp_path: Path, answer: Answer, code: FaultCode, *, is_retryable: bool
) -> None:
    async with open_fake(answer) as api:
        error = await fail(f"http://{api.host}", tmp_path)

    assert (error.code, error.retryable) == (code, is_retryable)
    assert len(api.requests) == 1


async def test_no_more_than_the_size_of_a_context_is_written(tmp_path: Path) -> None:
    async with open_fake(body(CONTENT + bytes(1_000_000))) as api:
        error = await fail(f"http://{api.host}", tmp_path)

    assert error.code == FaultCode.SOURCE_ALTERED
    assert (tmp_path / "context.tar").stat().st_size <= len(CONTENT)


@pytest.mark.parametrize("behaviour", [reset, say(b"SSH-2.0-OpenSSH\r\n")], ids=["reset", "ssh"])
async def test_a_server_that_is_not_an_api_is_unreachable(tmp_path: Path, behaviour: Any) -> None:
    async with open_socket(behaviour) as host:
        error = await fail(f"http://{host}", tmp_path)

    assert error.code == FaultCode.SOURCE_UNREACHABLE


async def test_a_silent_api_times_out(tmp_path: Path) -> None:
    limits = Limits(time=timedelta(milliseconds=300))
    async with open_socket(be_silent) as host:
        error = await fail(f"http://{host}", tmp_path, limits=limits)

    assert (error.code, error.retryable) == (FaultCode.TRANSFER_TIMEOUT, True)


async def test_an_address_without_a_listener_is_unreachable(tmp_path: Path) -> None:
    assert (await fail("http://127.0.0.1:1", tmp_path)).code == FaultCode.SOURCE_UNREACHABLE


@pytest.mark.parametrize(
    "url", ["http://8.8.8.8", "http://8.8.8.8:4747/api", "http://[2606:4700::1111]:80"]
)
async def test_the_token_is_not_sent_over_the_internet_without_tls(
    tmp_path: Path, url: str
) -> None:
    error = await fail(url, tmp_path)

    assert error.code == FaultCode.TLS_NOT_OFFERED
    assert "https://" in error.remedy


async def test_the_token_is_not_sent_to_an_address_that_no_api_may_have(tmp_path: Path) -> None:
    assert (await fail("http://169.254.169.254", tmp_path)).code == FaultCode.NETWORK_REFUSED


async def test_https_needs_a_certificate_of_a_trusted_ca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    async with open_fake(good, tls=authority.context("127.0.0.1")) as api:
        error = await fail(f"https://{api.host}", tmp_path)
        refused = list(api.requests)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        archive = await get(f"https://{api.host}", tmp_path)

    assert (error.code, error.retryable) == (FaultCode.TLS_UNKNOWN_CA, False)
    assert refused == []
    assert archive.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["", "api.example", "ftp://api", "http://", "http://u:p@127.0.0.1"])
async def test_an_invalid_address_is_reported_to_the_operator(tmp_path: Path, url: str) -> None:
    with pytest.raises(SetupError, match="WHARF_URL"):
        await get(url, tmp_path)


@pytest.mark.parametrize("missing", [{"url": None}, {"token": None}])
async def test_a_download_without_an_address_or_a_token_sends_nothing(
    tmp_path: Path, missing: dict[str, Any]
) -> None:
    async with open_fake(good) as api:
        with pytest.raises(SetupError) as caught:
            await get(**{"url": f"http://{api.host}", "directory": tmp_path, **missing})

    assert "WHARF_URL" in caught.value.remedy
    assert api.requests == []


async def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "context.tar").symlink_to("/dev/full")

    async with open_fake(good) as api:
        error = await fail(f"http://{api.host}", tmp_path)

    assert error.code == FaultCode.DISK_FULL


async def test_a_context_that_is_too_large_is_not_requested(tmp_path: Path) -> None:
    async with open_fake(good) as api:
        error = await fail(f"http://{api.host}", tmp_path, limits=Limits(total_bytes=1000))

    assert (error.code, api.requests) == (FaultCode.SOURCE_TOO_LARGE, [])
