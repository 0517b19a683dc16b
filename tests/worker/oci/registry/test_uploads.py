"""Checks and mounts of blobs, at real registries and at fakes."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.faults import FaultCode
from tests.fakes.token_server import TokenServer
from tests.fakes.web import open_fake, says
from tests.worker.oci.parts import make_login, open_client
from tests.worker.oci.sample_images import LAYER, describe, digest_of
from worker.local.registry import LocalRegistry
from worker.oci.registry.uploads import Upload, Uploads
from worker.oci.transport.settings import ConnectionSettings

BLOB = describe(LAYER, b"blob")
DIGEST = BLOB.digest


@pytest.mark.parametrize(
    ("status", "is_there"), [(200, True), (307, True), (404, False), (405, False)]
)
async def test_a_blob_is_found_or_missing_without_a_download(
    status: int, *, is_there: bool, settings: ConnectionSettings
) -> None:
    headers = {"Location": "http://127.0.0.1:9/signed-for-get"} if status == 307 else None

    async with (
        open_fake(says(status, text="blob", headers=headers)) as fake,
        open_client(fake.host, settings) as client,
    ):
        assert await Uploads(client, "app").has(BLOB) is is_there

    assert fake.lines == [f"HEAD /v2/app/blobs/{DIGEST}"]


async def test_a_registry_that_cannot_tell_whether_a_blob_exists_fails(
    settings: ConnectionSettings,
) -> None:
    async with open_fake(says(503)) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(RegistryError) as caught:
            await Uploads(client, "app").has(BLOB)

    assert caught.value.code == FaultCode.REGISTRY_ERROR


async def test_an_upload_starts_if_the_other_repository_may_not_be_read(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    host = token_registry.host
    token_server.forbidden = frozenset({"secret/app"})

    async with open_client(host, settings, make_login(host)) as client:
        upload = await Uploads(client, "team/app", mount_from="secret/app").mount(DIGEST)

    assert isinstance(upload, Upload) and "/team/app/" in upload.location.path


async def test_an_upload_stored_under_another_digest_fails(
    settings: ConnectionSettings,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": "/upload?state=1"})
        await request.read()
        return web.Response(status=201, headers={"Docker-Content-Digest": digest_of(b"other")})

    async def content() -> AsyncIterator[bytes]:
        yield b"blob"

    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        uploads = Uploads(client, "app")
        with pytest.raises(RegistryError) as caught:
            await uploads.finish(await uploads.start(), describe(LAYER, b"blob"), content())

    assert caught.value.code == FaultCode.DIGEST_MISMATCH
    assert fake.requests[-1].query_string == f"state=1&digest={DIGEST}"
