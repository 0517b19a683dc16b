"""Failed transfers of a real Engine, whose cause the registry tells the worker."""

import asyncio
import io
import tarfile
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ComposeImage, ComposePull, ImagePull, ImagePush
from shared.jobs.results import ComposeResult, ImageResult
from shared.reference import Reference
from tests.engines import is_before_23
from tests.fakes.front import open_front
from tests.fakes.web import Answer, open_fake
from tests.worker.engine.parts import RegistryFixture
from tests.worker.oci.parts import ALLOWED
from tests.worker.oci.sample_images import (
    LAYER,
    Image,
    RepositoryFixture,
    digest_of,
    make_index,
)
from tests.worker.oci.sample_images import make_image as make_sample
from tests.worker.parts import make_tools
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.images import compose
from worker.images.pull_push_tag import pull, push
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.local.engines import LocalEngine
from worker.local.images import HERE, make_image
from worker.login import Grant, Grants, Login

REPOSITORY = "team/app"
ZSTD = f"{LAYER}+zstd"


@dataclass
class Server:
    """A server whose Engine is asked for transfers of a faulty registry."""

    tools: Tools
    local: LocalEngine
    listen: str

    async def fail(self, host: str, right: str, *, tag: str = "1") -> WharfError:
        """Return the error of a pull or push."""
        reference = f"{host}/{REPOSITORY}:{tag}"
        login = Login(host=host, username="alice", secret=SecretStr("wr0ng-secret"), tls=ALLOWED)
        grant = Grant(login=login, repository=REPOSITORY, rights=frozenset({"pull", "push"}))
        grants, attempt = Grants(grants=(grant,)), Attempt("job", 1)
        work: Awaitable[ImageResult]
        if right == "push":
            source = "second-opinions:1"
            await asyncio.to_thread(make_image, self.local.docker_host, source, seed=701)
            pushing = ImagePush(source=source, reference=reference, registry_id="registry")
            work = push(pushing, grants, attempt, self.tools)
        else:
            pulling = ImagePull(reference=reference, registry_id="registry")
            work = pull(pulling, grants, attempt, self.tools)
        with pytest.raises(WharfError) as caught:
            await work
        assert "wr0ng-secret" not in f"{caught.value.fault()!r}"
        return caught.value

    async def fail_to_pull(self, target: Reference) -> WharfError:
        """Return the error of an anonymous pull."""
        with pytest.raises(WharfError) as caught:
            await pull(ImagePull(reference=str(target)), Grants(), Attempt("job", 1), self.tools)
        return caught.value


@pytest.fixture
def server(engine: Engine, local_engine: LocalEngine, tmp_path: Path) -> Server:
    tools = make_tools(engine, "private,loopback", tmp_path)
    assert local_engine.namespace is not None
    return Server(tools, local_engine, local_engine.namespace.our_address)


def refuse(status: int, code: str, text: str = "", **headers: str) -> web.Response:
    body = {"errors": [{"code": code, "message": text}]}
    return web.json_response(body, status=status, headers=headers)


def challenge(host: str) -> web.Response:
    bearer = f'Bearer realm="http://{host}/token",service="registry"'
    return refuse(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": bearer})


def open_registry(refusal: web.Response) -> Answer:
    """Answer the ping of a registry without a login, and refuse the rest."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/":
            return web.json_response(
                {}, headers={"Docker-Distribution-Api-Version": "registry/2.0"}
            )
        return web.Response(
            status=refusal.status, body=refusal.body, headers=refusal.headers.copy()
        )

    return answer


@pytest.mark.parametrize("right", ["pull", "push"])
async def test_a_token_server_that_issues_no_tokens_is_named(server: Server, right: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        page = web.Response(status=404, text="<html></html>", content_type="text/html")
        return page if request.path == "/token" else challenge(request.host)

    async with open_fake(answer, listen=server.listen) as fake:
        error = await server.fail(fake.host, right)

    assert (error.code, error.retryable) == (FaultCode.AUTH_SERVER_UNREACHABLE, True)
    assert error.fault().stage == "auth"


@pytest.mark.parametrize(
    ("right", "code"), [("pull", FaultCode.PULL_DENIED), ("push", FaultCode.PUSH_DENIED)]
)
async def test_a_token_server_that_refuses_a_right_is_told_by_the_right(
    server: Server, right: str, code: FaultCode
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return refuse(403, "DENIED") if request.path == "/token" else challenge(request.host)

    async with open_fake(answer, listen=server.listen) as fake:
        error = await server.fail(fake.host, right)

    assert (error.code, error.retryable) == (code, False)
    assert error.message.startswith(f"cannot {right} {fake.host}/{REPOSITORY}:1: ")


@pytest.mark.parametrize("right", ["pull", "push"])
async def test_an_expired_login_is_told_where_nothing_is_answered_without_one(
    server: Server, right: str
) -> None:
    text = "Your authorization token has expired. Reauthenticate and try again."

    async def answer(_: web.Request) -> web.StreamResponse:
        return refuse(403, "DENIED", text)

    async with open_fake(answer, listen=server.listen) as fake:
        error = await server.fail(fake.host, right)

    assert (error.code, error.retryable) == (FaultCode.AUTH_EXPIRED, False)


async def test_a_wrong_password_fails_a_push_before_the_engine_is_asked(
    server: Server, locked_registry: RegistryFixture
) -> None:
    lines: list[str] = []

    async def watch(request: web.Request) -> None:
        lines.append(request.headers.get("User-Agent", ""))

    async with open_front(locked_registry.host, watch, listen=server.listen) as front:
        error = await server.fail(front.host, "push")

    assert (error.code, error.retryable) == (FaultCode.AUTH_BAD_CREDENTIALS, False)
    assert not [agent for agent in lines if "docker" in agent]
    assert len(lines) <= 3


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (refuse(405, "UNSUPPORTED"), FaultCode.REGISTRY_READ_ONLY),
        (refuse(404, "NAME_UNKNOWN"), FaultCode.REPO_MISSING),
        (refuse(503, "UNAVAILABLE"), FaultCode.REGISTRY_ERROR),
    ],
)
async def test_a_registry_that_takes_no_uploads_does_not_occupy_the_engine(
    server: Server, refusal: web.Response, code: FaultCode
) -> None:
    async with open_fake(open_registry(refusal), listen=server.listen) as fake:
        error = await server.fail(fake.host, "push")

    assert error.code == code
    assert len(fake.requests) <= 3


@pytest.mark.parametrize("right", ["pull", "push"])
async def test_the_wait_that_a_registry_asks_for_is_kept(server: Server, right: str) -> None:
    refusal = refuse(429, "TOOMANYREQUESTS", "slow down", **{"Retry-After": "77"})

    async with open_fake(open_registry(refusal), listen=server.listen) as fake:
        error = await server.fail(fake.host, right)

    assert (error.code, error.fault().retry_after_seconds) == (FaultCode.RATE_LIMITED, 77.0)
    assert "pull with a login" not in error.remedy
    assert ("copy the image" in error.remedy) is (right == "pull")


async def test_a_web_page_is_not_taken_for_a_missing_image(server: Server) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="<html></html>", content_type="text/html")

    async with open_fake(answer, listen=server.listen) as fake:
        error = await server.fail_to_pull(Reference(fake.host, REPOSITORY, "1"))

    assert (error.code, error.fault().stage) == (FaultCode.NOT_A_REGISTRY, "ping")
    assert "HTTP 404, a web page; the Docker Engine reports: " in error.fault().evidence


async def test_a_missing_layer_is_named(server: Server, registry: RegistryFixture) -> None:
    layer = _tar(b"layer")
    image = make_sample(layer, architecture=HERE)
    await RepositoryFixture(registry.host, REPOSITORY).put("gone", image)
    gone = digest_of(layer)

    async def lose(request: web.Request) -> web.StreamResponse | None:
        return refuse(404, "BLOB_UNKNOWN") if request.path.endswith(gone) else None

    async with open_front(registry.host, lose, listen=server.listen) as front:
        error = await server.fail_to_pull(Reference(front.host, REPOSITORY, "gone"))

    assert (error.code, error.retryable) == (FaultCode.IMAGE_INCOMPLETE, False)
    assert gone in error.message
    assert f"{front.host}/{REPOSITORY}:gone" in error.message


@pytest.mark.parametrize("way", ["pull", "deploy", "compose"])
async def test_only_an_engine_that_can_unpack_them_is_asked_for_zstd_layers(
    server: Server, registry: RegistryFixture, way: str
) -> None:
    image = _packed_by_zstd()
    await RepositoryFixture(registry.host, REPOSITORY).put("zstd", image)
    fetched: list[str] = []

    async def watch(request: web.Request) -> None:
        fetched.extend(one for one in image.blobs if request.path.endswith(one))

    async with open_front(registry.host, watch, listen=server.listen) as front:
        target = f"{front.host}/{REPOSITORY}:zstd"
        attempt = Attempt("job", 1, write_event=_ignore)
        work: Awaitable[ImageResult | ComposeResult]
        if way == "compose":
            file = f"services:\n  web:\n    image: {target}\n"
            services = ComposeImage(services=("web",), reference=target)
            command = ComposePull(compose=file, images=(services,))
            work = compose.pull(command, Grants(), attempt, server.tools)
        else:
            pulling = ImagePull(reference=target, preflight=way == "deploy")
            work = pull(pulling, Grants(), attempt, server.tools)
        if not is_before_23():
            await work
            assert await images.find(server.tools.engine, target)
            return
        with pytest.raises(WharfError) as caught:
            await work

    assert (caught.value.code, caught.value.retryable) == (
        FaultCode.COMPRESSION_UNSUPPORTED,
        False,
    )
    assert f"cannot pull {target}: 1 of its 1 layers" in caught.value.message
    assert not [digest for digest in fetched if image.blobs[digest][:1] != b"{"]


async def test_the_missing_image_of_an_index_is_named(
    server: Server, registry: RegistryFixture
) -> None:
    child = make_sample(_tar(b"child"), architecture="amd64")
    depot = RepositoryFixture(registry.host, REPOSITORY)
    await depot.put("childless", make_index(child))

    async def lose(request: web.Request) -> web.StreamResponse | None:
        is_lost = request.path.endswith(child.digest)
        return refuse(404, "MANIFEST_UNKNOWN") if is_lost else None

    async with open_front(registry.host, lose, listen=server.listen) as front:
        error = await server.fail_to_pull(Reference(front.host, REPOSITORY, "childless"))

    assert (error.code, error.retryable) == (FaultCode.IMAGE_INCOMPLETE, False)
    assert child.digest in error.message


async def test_an_index_within_an_index_is_pulled_or_not_called_another_platform(
    server: Server, registry: RegistryFixture
) -> None:
    inner = make_index(make_sample(_tar(b"nested"), architecture="amd64"))
    outer = make_index(inner)
    await RepositoryFixture(registry.host, REPOSITORY).put("nested", outer)

    target = registry.reference(REPOSITORY, "nested")

    if not is_before_23():
        command = ImagePull(reference=str(target))
        result = await pull(command, Grants(), Attempt("job", 1), server.tools)
        assert result.digest == outer.digest
        return
    error = await server.fail_to_pull(target)
    assert error.code == FaultCode.ENGINE_REFUSED
    assert "index" in error.remedy


async def _ignore(_: int, __: str, ___: object) -> None:
    await asyncio.sleep(0)


def _tar(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def _packed_by_zstd() -> Image:
    """Return an image whose layer claims to be packed by zstd."""
    plain = make_sample(_tar(b"packed"), architecture=HERE)
    [(kind, content)] = plain.manifests
    return Image(plain.blobs, [(kind, content.replace(LAYER.encode(), ZSTD.encode()))])
