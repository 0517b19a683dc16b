"""Checks of blobs at registries that redirect, or that report less than the real ones."""

from collections.abc import Mapping

import pytest
from aiohttp import web

from shared.errors import InvalidReferenceError, RegistryError
from shared.faults import FaultCode
from tests.fakes.web import Answer, open_fake, says
from tests.worker.oci.parts import API, make_login, open_client
from tests.worker.oci.sample_images import describe
from worker.oci.registry.manifest import Descriptor
from worker.oci.registry.presence import require_present
from worker.oci.transport.settings import ConnectionSettings

CONTENT = b"0123456789"
BLOB = describe("", CONTENT)
EMPTY = describe("", b"")


async def check_blob(
    answer: Answer, settings: ConnectionSettings, blob: Descriptor = BLOB
) -> list[str]:
    """Check the blob and return the methods of the requests."""
    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        await require_present(client, "app", blob)
    return [line.partition(" ")[0] for line in fake.lines]


async def expect_refusal(
    answer: Answer, settings: ConnectionSettings, blob: Descriptor = BLOB
) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        await check_blob(answer, settings, blob)
    return caught.value


def respond_to_head(status: int, headers: Mapping[str, str], content: Answer) -> Answer:
    """Respond to every HEAD with this status, and to other requests as ``content``."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method != "HEAD":
            return await content(request)
        return web.Response(status=status, headers=headers)

    return answer


def respond_with_range(of: str, status: int = 206) -> Answer:
    return says(status, text=CONTENT[:1].decode(), headers={"Content-Range": f"bytes 0-0/{of}"})


COMPLETE = says(200, text=CONTENT.decode())


async def test_a_head_of_the_right_size_is_enough(settings: ConnectionSettings) -> None:
    assert await check_blob(COMPLETE, settings) == ["HEAD"]


@pytest.mark.parametrize(
    ("status", "length"), [(405, "0"), (200, "0"), (200, "9999")], ids=["405", "none", "wrong"]
)
@pytest.mark.parametrize(
    "content",
    [respond_with_range("10"), respond_with_range("*"), COMPLETE],
    ids=["10", "*", "whole"],
)
async def test_the_first_byte_is_requested_if_a_head_is_not_conclusive(
    status: int, length: str, content: Answer, settings: ConnectionSettings
) -> None:
    answer = respond_to_head(status, {"Content-Length": length}, content)

    assert await check_blob(answer, settings) == ["HEAD", "GET"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (respond_with_range("11"), "has 11 bytes instead of 10"),
        (says(200, text="012345678"), "has 9 bytes instead of 10"),
        (says(416), "is empty"),
        (says(404, headers=API), "is missing"),
    ],
)
async def test_the_response_for_the_first_byte_decides(
    content: Answer, message: str, settings: ConnectionSettings
) -> None:
    error = await expect_refusal(respond_to_head(405, {}, content), settings)

    assert error.code == FaultCode.IMAGE_INCOMPLETE and not error.retryable
    assert message in error.message and BLOB.digest in error.message


async def test_an_empty_blob_is_found_without_a_range(settings: ConnectionSettings) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert "Range" not in request.headers
        return web.Response(status=405 if request.method == "HEAD" else 200)

    assert await check_blob(answer, settings, EMPTY) == ["HEAD", "GET"]


async def test_a_redirected_blob_is_checked_without_the_login(
    settings: ConnectionSettings,
) -> None:
    has_lost = False

    async def store(request: web.Request) -> web.StreamResponse:
        assert request.headers["Range"] == "bytes=0-0"
        return await (says(404) if has_lost else respond_with_range("10"))(request)

    async with open_fake(store) as storage:

        async def redirect(request: web.Request) -> web.StreamResponse:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
            if request.path == "/v2/":
                return web.json_response({}, headers=API)
            raise web.HTTPTemporaryRedirect(f"http://{storage.host}/bucket/1?signature=s")

        async with (
            open_fake(redirect) as fake,
            open_client(fake.host, settings, make_login(fake.host)) as client,
        ):
            await require_present(client, "app", BLOB)
            has_lost = True
            with pytest.raises(RegistryError) as caught:
                await require_present(client, "app", BLOB)

    assert caught.value.code == FaultCode.IMAGE_INCOMPLETE
    assert storage.lines == ["GET /bucket/1"] * 2 and storage.authorizations == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (says(404, headers=API), FaultCode.IMAGE_INCOMPLETE),
        (says(404), FaultCode.NOT_A_REGISTRY),
        (says(404, text="<html>", kind="text/html"), FaultCode.NOT_A_REGISTRY),
        (says(403, headers=API), FaultCode.AUTH_MISSING),
        (says(429), FaultCode.RATE_LIMITED),
        (says(503), FaultCode.REGISTRY_ERROR),
    ],
)
async def test_a_blob_is_missing_only_if_the_registry_reports_it(
    answer: Answer, code: FaultCode, settings: ConnectionSettings
) -> None:
    assert (await expect_refusal(answer, settings)).code == code


async def test_an_invalid_digest_is_not_requested(settings: ConnectionSettings) -> None:
    async with open_fake(COMPLETE) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(InvalidReferenceError):
            await require_present(client, "app", Descriptor("", "../../x", 1))

    assert fake.requests == []
