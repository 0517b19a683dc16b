"""Copies that are cut, stalled, corrupted, refused or cancelled leave no tag."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from aiohttp import web

from shared.errors import RefusedNetworkError, RegistryError
from shared.faults import FaultCode
from tests.fakes.front import open_front
from tests.fakes.names import Names
from tests.fakes.web import open_fake
from tests.proxies import open_proxy
from tests.worker.oci.copying import KIB, copy
from tests.worker.oci.parts import RegistryFactory, basic, make_settings
from tests.worker.oci.sample_images import (
    Image,
    RepositoryFixture,
    digest_of,
    make_blob,
    make_image,
)
from worker.local.registry import LocalRegistry
from worker.oci.transport.settings import ConnectionSettings, Deadlines

MIB = 1024 * KIB
LARGE = make_image(make_blob("large", 24 * MIB))
SMALL = make_image(make_blob("small", 200 * KIB))
IMPATIENT = Deadlines(idle=timedelta(seconds=0.5))

Pair = tuple[LocalRegistry, LocalRegistry]


@pytest.fixture
def pair(registries: RegistryFactory) -> Pair:
    return registries.start(), registries.start()


def layer_of(image: Image) -> bytes:
    return max(image.blobs.values(), key=len)


def asks_for(request: web.Request, image: Image) -> bool:
    """Return whether a request is the GET of the image's layer, with the login."""
    is_layer = request.method == "GET" and len(image.blobs[request.path.rpartition("/")[2]]) == len(
        layer_of(image)
    )
    return is_layer and "Authorization" in request.headers


async def require_no_tag(target: LocalRegistry) -> None:
    status, body = await RepositoryFixture(target.host, "app", basic()).get("tags/list")
    assert status == 404, body


async def test_a_repeatedly_cut_source_sends_each_byte_once(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", LARGE)

    async with open_proxy((source.address, source.port), cut_after_bytes=4 * MIB) as proxy:
        await copy(f"{proxy.host}/app:1", f"{target.host}/app:1", settings)

    await RepositoryFixture(target.host, "app", basic()).require("1", LARGE)
    assert LARGE.size_bytes < proxy.down_bytes < LARGE.size_bytes * 1.01
    assert proxy.connections > 6


async def test_a_source_without_progress_fails(pair: Pair, settings: ConnectionSettings) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", LARGE)

    async with open_proxy((source.address, source.port), cut_after_bytes=20 * KIB) as proxy:
        with pytest.raises(RegistryError) as caught:
            await copy(f"{proxy.host}/app:1", f"{target.host}/app:1", settings)

    assert caught.value.code == FaultCode.CONN_RESET and caught.value.retryable
    assert proxy.connections < 20
    await require_no_tag(target)


async def test_a_source_without_range_support_is_read_again_from_its_start(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)
    requested: list[str | None] = []

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if "/blobs/" not in request.path or not asks_for(request, SMALL):
            return None
        requested.append(request.headers.get("Range"))
        return await send_part(request, layer_of(SMALL), None if len(requested) > 1 else 70 * KIB)

    async with open_front(source.host, intercept) as front:
        await copy(f"{front.host}/app:1", f"{target.host}/app:1", settings)

    await RepositoryFixture(target.host, "app", basic()).require("1", SMALL)
    assert requested[0] is None and re.fullmatch(r"bytes=\d+-", requested[1] or "")


async def send_part(
    request: web.Request, content: bytes, size_bytes: int | None = None
) -> web.StreamResponse:
    """Announce the whole content and send only a part of it."""
    answer = web.StreamResponse(headers={"Content-Length": str(len(content))})
    await answer.prepare(request)
    await answer.write(content[:size_bytes])
    if size_bytes is not None and request.transport:
        request.transport.close()
    return answer


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda layer: layer[:-1], FaultCode.CONN_RESET),
        (lambda layer: layer + b"x", FaultCode.DIGEST_MISMATCH),
        (lambda layer: layer[:-1] + b"x", FaultCode.DIGEST_MISMATCH),
        (lambda layer: b"x" + layer[1:], FaultCode.DIGEST_MISMATCH),
    ],
)
async def test_a_source_with_wrong_bytes_leaves_no_tag(
    change: Callable[[bytes], bytes], code: FaultCode, pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if "/blobs/" not in request.path or not asks_for(request, SMALL):
            return None
        return web.Response(body=change(layer_of(SMALL)))

    async with open_front(source.host, intercept) as front:
        with pytest.raises(RegistryError) as caught:
            await copy(f"{front.host}/app:1", f"{target.host}/app:1", settings)

    assert caught.value.code == code and caught.value.retryable
    assert SMALL.manifests[0][1].decode() not in caught.value.message
    await require_no_tag(target)


async def test_a_truncated_blob_at_the_source_is_damaged(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if "/blobs/" not in request.path or not asks_for(request, SMALL):
            return None
        if "Range" in request.headers:
            return web.Response(status=416)
        return web.Response(body=layer_of(SMALL)[:-1])

    async with open_front(source.host, intercept) as front:
        with pytest.raises(RegistryError) as caught:
            await copy(f"{front.host}/app:1", f"{target.host}/app:1", settings)

    assert caught.value.code == FaultCode.DIGEST_MISMATCH and "damaged" in caught.value.remedy


async def test_a_manifest_with_another_digest_than_requested_is_refused(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith(SMALL.digest):
            return web.Response(body=b"{}", content_type=SMALL.manifests[0][0])
        return None

    async with open_front(source.host, intercept) as front:
        with pytest.raises(RegistryError) as caught:
            await copy(f"{front.host}/app@{SMALL.digest}", f"{target.host}/app:1", settings)

    assert caught.value.code == FaultCode.DIGEST_MISMATCH


async def test_a_target_that_stores_another_manifest_fails(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if request.method == "HEAD" and "/manifests/" in request.path:
            kind, content = SMALL.manifests[0]
            headers = {"Content-Type": kind, "Docker-Content-Digest": digest_of(content + b" ")}
            return web.Response(body=content, headers=headers)
        return None

    async with open_front(target.host, intercept) as front:
        with pytest.raises(RegistryError) as caught:
            await copy(f"{source.host}/app:1", f"{front.host}/app:1", settings)

    assert caught.value.code == FaultCode.DIGEST_MISMATCH


@pytest.mark.parametrize(
    ("status", "oci_code", "code"),
    [
        (400, "DIGEST_INVALID", FaultCode.UPLOAD_CORRUPT),
        (404, "BLOB_UPLOAD_UNKNOWN", FaultCode.UPLOAD_CORRUPT),
        (413, "", FaultCode.LAYER_TOO_LARGE),
        (503, "", FaultCode.REGISTRY_ERROR),
        (401, "UNAUTHORIZED", FaultCode.PUSH_DENIED),
        (429, "TOOMANYREQUESTS", FaultCode.RATE_LIMITED),
    ],
)
async def test_a_blob_refused_at_its_end_leaves_no_tag(
    status: int, oci_code: str, code: FaultCode, pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PUT":
            return None
        await request.content.read()
        errors = {"errors": [{"code": oci_code}]} if oci_code else {}
        return web.json_response(errors, status=status, headers={"Retry-After": "7"})

    async with open_front(target.host, intercept) as front:
        with pytest.raises(RegistryError) as caught:
            await copy(f"{source.host}/app:1", f"{front.host}/app:1", settings)

    assert caught.value.code == code and caught.value.retry_after_seconds == 7
    await require_no_tag(target)


async def test_an_upload_refused_early_is_not_sent_completely(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", LARGE)

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=413) if request.method == "PUT" else None

    async with (
        open_front(target.host, intercept) as front,
        open_proxy((source.address, source.port)) as proxy,
    ):
        with pytest.raises(RegistryError) as caught:
            await copy(f"{proxy.host}/app:1", f"{front.host}/app:1", settings)

    assert caught.value.code == FaultCode.LAYER_TOO_LARGE
    assert proxy.down_bytes < LARGE.size_bytes


@pytest.mark.parametrize(
    ("status", "oci_code"), [(409, ""), (412, "PRECONDITION"), (400, "TAG_INVALID")]
)
async def test_an_immutable_tag_is_reported(
    status: int, oci_code: str, pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PUT" and "/manifests/" in request.path:
            return web.json_response({"errors": [{"code": oci_code}]}, status=status)
        return None

    async with open_front(target.host, intercept) as front:
        with pytest.raises(RegistryError) as caught:
            await copy(f"{source.host}/app:1", f"{front.host}/app:1", settings)

    assert caught.value.code == FaultCode.TAG_IMMUTABLE


async def test_a_blob_stored_elsewhere_is_fetched_without_the_login(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def give(request: web.Request) -> web.StreamResponse:
        return web.Response(body=SMALL.blobs[request.path.rpartition("/")[2]])

    async with open_fake(give) as store:

        async def intercept(request: web.Request) -> web.StreamResponse | None:
            if request.method != "GET" or "/blobs/" not in request.path:
                return None
            if "Authorization" not in request.headers:
                return None
            digest = request.path.rpartition("/")[2]
            return web.Response(
                status=307, headers={"Location": f"http://{store.host}/signed/{digest}"}
            )

        async with open_front(source.host, intercept) as front:
            await copy(f"{front.host}/app:1", f"{target.host}/app:1", settings)

    await RepositoryFixture(target.host, "app", basic()).require("1", SMALL)
    assert len(store.requests) == len(SMALL.blobs) and store.authorizations == []


async def test_a_blob_at_the_metadata_service_is_not_fetched(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if request.method != "GET" or "/blobs/" not in request.path:
            return None
        return web.Response(status=307, headers={"Location": "http://169.254.169.254/latest"})

    async with open_front(source.host, intercept) as front:
        with pytest.raises(RefusedNetworkError):
            await copy(f"{front.host}/app:1", f"{target.host}/app:1", settings)

    await require_no_tag(target)


async def test_a_range_that_starts_too_late_is_refused(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if "/blobs/" not in request.path or not asks_for(request, SMALL):
            return None
        headers = {"Content-Range": "bytes 7-204799/204800"}
        return web.Response(status=206, body=layer_of(SMALL)[7:], headers=headers)

    async with open_front(source.host, intercept) as front:
        with pytest.raises(RegistryError) as caught:
            await copy(f"{front.host}/app:1", f"{target.host}/app:1", settings)

    assert caught.value.code == FaultCode.REGISTRY_ERROR
    await require_no_tag(target)


async def test_an_upload_to_another_host_is_sent_without_the_login(
    pair: Pair,
) -> None:
    source, target = pair
    settings = make_settings(resolver=Names({"uploads.example.test": ("127.0.0.1",)}))
    await RepositoryFixture(source.host, "app", basic()).put("1", SMALL)

    async def take(request: web.Request) -> web.StreamResponse:
        await request.content.read()
        return web.Response(status=503)

    async with open_fake(take) as store:

        async def intercept(request: web.Request) -> web.StreamResponse | None:
            if request.method == "POST":
                location = f"http://uploads.example.test:{store.port}/up"
                return web.Response(status=202, headers={"Location": location})
            return None

        async with open_front(target.host, intercept) as front:
            with pytest.raises(RegistryError):
                await copy(f"{source.host}/app:1", f"{front.host}/app:1", settings)

    assert store.lines == ["PUT /up"] and store.authorizations == []


async def test_a_cancellation_stops_the_traffic_at_once(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", LARGE)

    async with (
        open_proxy((source.address, source.port), bytes_per_second=20 * MIB) as down,
        open_proxy((target.address, target.port)) as up,
    ):
        task = asyncio.create_task(copy(f"{down.host}/app:1", f"{up.host}/app:1", settings))
        await up.wait_for(2 * MIB)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await up.wait_until_quiet()
        moved = down.down_bytes

    assert moved < 8 * MIB
    await require_no_tag(target)


@pytest.mark.parametrize("stalled", ["source", "target"])
async def test_a_stalled_copy_fails(stalled: str, pair: Pair) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", LARGE)
    settings = make_settings(deadlines=IMPATIENT)

    async with (
        open_proxy((source.address, source.port)) as down,
        open_proxy((target.address, target.port)) as up,
    ):
        (down if stalled == "source" else up).stall_after_bytes = 6 * MIB
        with pytest.raises(RegistryError) as caught:
            await copy(f"{down.host}/app:1", f"{up.host}/app:1", settings)

    assert caught.value.code == FaultCode.CONN_TIMEOUT and caught.value.retryable
    host = down.host if stalled == "source" else up.host
    assert host in caught.value.message
