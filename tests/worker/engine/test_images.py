"""Images on a real Engine, with real registries."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from pydantic import SecretStr

from shared.errors import EngineError, InvalidReferenceError
from shared.faults import FaultCode
from shared.reference import Reference, parse_reference, parse_registry
from tests.proxies import open_proxy
from tests.worker.engine.parts import IDLE, RegistryFixture, open_scripted_engine
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine
from worker.local.images import make_image
from worker.login import EngineLogin
from worker.progress import TransferProgress

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
FOREIGN = "s390x"


def ignore(progress: TransferProgress) -> None:
    """Ignore progress."""


async def make(local: LocalEngine, reference: Reference, *, seed: int, size: int = 300_000) -> None:
    await asyncio.to_thread(
        make_image, local.docker_host, str(reference), layer_bytes=[size, size], seed=seed
    )


async def held_digest(reference: Reference) -> str:
    url = f"http://{reference.registry}/v2/{reference.repository}/manifests/{reference.target}"
    async with (
        ClientSession() as session,
        session.head(url, headers={"Accept": MANIFEST}) as answer,
    ):
        return answer.headers["Docker-Content-Digest"]


async def codes_of_what_is_missing(engine: Engine, reference: Reference) -> list[str]:
    """Return how each use of an image that the Engine does not have fails."""
    codes = []
    for use in (
        images.push(engine, reference, None, ignore, IDLE),
        images.inspect(engine, str(reference)),
        images.tag(engine, str(reference), reference),
        images.remove(engine, str(reference)),
    ):
        with pytest.raises(EngineError) as caught:
            await use
        codes.append(caught.value.code)
    return codes


async def test_pushed_and_pulled_images_have_the_digest_of_the_registry(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture
) -> None:
    reference = registry.reference("team/round")
    await make(local_engine, reference, seed=1)
    pushing: list[TransferProgress] = []
    pulling: list[TransferProgress] = []

    pushed = await images.push(engine, reference, None, pushing.append, IDLE)
    local = await images.inspect(engine, str(reference))
    await images.remove(engine, str(reference), force=True)
    pulled = await images.pull(engine, reference, None, pulling.append, IDLE)
    again = await images.pull(
        engine, Reference(reference.registry, reference.repository, digest=pushed.digest), None,
        ignore, IDLE,
    )  # fmt: skip

    assert pushed.digest == pulled.digest == again.digest == await held_digest(reference)
    assert 300 < pushed.size_bytes < 3000
    assert local.image_id == pulled.image_id
    assert [str(name) for name in local.repo_digests] == [f"{reference.name}@{pushed.digest}"]
    assert local.size_bytes >= 600_000
    for moments in (pushing, pulling):
        assert len(moments[-1].layers) == 2
        assert moments[-1].current_bytes == moments[-1].total_bytes


async def test_a_login_gives_access_to_a_locked_registry(
    engine: Engine, local_engine: LocalEngine, locked_registry: RegistryFixture
) -> None:
    reference, login = locked_registry.reference("team/locked"), locked_registry.login()
    await make(local_engine, reference, seed=2)

    pushed = await images.push(engine, reference, login, ignore, IDLE)
    pulled = await images.pull(engine, reference, login, ignore, IDLE)
    found = await images.distribution(engine, reference, login)
    await images.authenticate(engine, parse_registry(locked_registry.host), login)

    assert pushed.digest == pulled.digest == found.digest
    assert found.platforms in (("linux/amd64",), ("linux/arm64",))
    assert found.media_type == MANIFEST
    assert found.size_bytes == pushed.size_bytes


@pytest.mark.parametrize("act", ["pull", "push", "distribution", "authenticate"])
async def test_a_wrong_password_is_reported_and_not_shown(
    engine: Engine, local_engine: LocalEngine, locked_registry: RegistryFixture, act: str
) -> None:
    reference, login = (
        locked_registry.reference("team/wrong"),
        locked_registry.login("wr0ng-secret"),
    )
    await make(local_engine, reference, seed=3, size=1000)
    host = parse_registry(locked_registry.host)
    acts: dict[str, Callable[[], Awaitable[object]]] = {
        "pull": lambda: images.pull(engine, reference, login, ignore, IDLE),
        "push": lambda: images.push(engine, reference, login, ignore, IDLE),
        "distribution": lambda: images.distribution(engine, reference, login),
        "authenticate": lambda: images.authenticate(engine, host, login),
    }

    with pytest.raises(EngineError) as caught:
        await acts[act]()

    assert caught.value.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert "wr0ng-secret" not in f"{caught.value!r} {caught.value.fault()!r}"
    assert caught.value.__context__ is None  # it would contain unredacted text
    assert not caught.value.retryable


@pytest.mark.parametrize("verb", ["pull", "push"])
@pytest.mark.parametrize("secret", [None, ""])
async def test_an_anonymous_transfer_reports_a_missing_login(
    engine: Engine,
    local_engine: LocalEngine,
    locked_registry: RegistryFixture,
    verb: str,
    secret: str | None,
) -> None:
    reference = locked_registry.reference("team/nobody")
    await make(local_engine, reference, seed=4, size=1000)
    nobody = EngineLogin(host=reference.registry, username="", secret=SecretStr(""))
    transfer = images.pull if verb == "pull" else images.push

    with pytest.raises(EngineError) as caught:
        await transfer(engine, reference, None if secret is None else nobody, ignore, IDLE)

    assert caught.value.code == FaultCode.AUTH_MISSING


async def test_a_missing_image_at_the_registry_is_not_found(
    engine: Engine, registry: RegistryFixture
) -> None:
    with pytest.raises(EngineError) as caught:
        await images.pull(engine, registry.reference("team/none"), None, ignore, IDLE)

    assert caught.value.code == FaultCode.IMAGE_NOT_FOUND


async def test_a_missing_image_at_the_engine_is_reported(
    engine: Engine, registry: RegistryFixture
) -> None:
    reference = registry.reference("team/never-built")
    codes = await codes_of_what_is_missing(engine, reference)

    assert codes == [FaultCode.LOCAL_IMAGE_MISSING] * 4


async def test_a_bad_reference_is_invalid(engine: Engine, registry: RegistryFixture) -> None:
    bad = Reference(registry.host, "UPPER/Case", "1")

    with pytest.raises(EngineError) as caught:
        await images.pull(engine, bad, None, ignore, IDLE)

    assert caught.value.code == FaultCode.REF_INVALID


async def test_an_absent_registry_refuses_the_connection(
    engine: Engine, registry: RegistryFixture
) -> None:
    nowhere = Reference(f"{registry.local.address}:9", "team/app", "1")

    with pytest.raises(EngineError) as caught:
        await images.pull(engine, nowhere, None, ignore, IDLE)

    assert caught.value.code == FaultCode.CONN_REFUSED
    assert caught.value.retryable


async def test_a_push_sends_the_named_tag_and_no_other(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture
) -> None:
    first, second = (registry.reference("team/tags", name) for name in ("t1", "t2"))
    await make(local_engine, first, seed=5, size=1000)
    await images.tag(engine, str(first), second)

    with pytest.raises(InvalidReferenceError):
        await images.push(engine, Reference(first.registry, first.repository), None, ignore, IDLE)
    await images.push(engine, second, None, ignore, IDLE)

    async with (
        ClientSession() as session,
        session.get(f"http://{registry.host}/v2/team/tags/tags/list") as answer,
    ):
        assert (await answer.json())["tags"] == ["t2"]


async def test_an_image_for_another_architecture_is_refused(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture
) -> None:
    reference = registry.reference("team/foreign")
    await asyncio.to_thread(
        make_image, local_engine.docker_host, str(reference), seed=6, architecture=FOREIGN
    )
    await images.push(engine, reference, None, ignore, IDLE)

    with pytest.raises(EngineError, match=f"for linux/{FOREIGN}") as caught:
        await images.pull(engine, reference, None, ignore, IDLE)

    assert caught.value.code == FaultCode.PLATFORM_MISSING


async def test_a_login_of_another_host_is_refused_before_anything_is_sent(
    engine: Engine, local_engine: LocalEngine, locked_registry: RegistryFixture
) -> None:
    listen = locked_registry.local.address
    async with open_proxy(locked_registry.address, listen=listen) as proxy:
        foreign = Reference(proxy.host, "team/theft", "1")
        await make(local_engine, foreign, seed=7, size=1000)
        for act in (
            images.pull(engine, foreign, locked_registry.login(), ignore, IDLE),
            images.push(engine, foreign, locked_registry.login(), ignore, IDLE),
            images.distribution(engine, foreign, locked_registry.login()),
            images.authenticate(engine, parse_registry(proxy.host), locked_registry.login()),
        ):
            with pytest.raises(EngineError) as caught:
                await act
            assert caught.value.code == FaultCode.AUTH_MISSING

        assert proxy.connections == 0


async def test_docker_hub_is_named_in_full(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.query.get("fromImage", ""), request.query.get("tag", "")))
        return web.json_response({"message": "no such host"}, status=500)

    login = EngineLogin(host="docker.io", username="alice", secret=SecretStr("x"))
    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        with pytest.raises(EngineError):
            await images.pull(engine, parse_reference("alpine"), login, ignore, IDLE)

    assert seen == [("docker.io/library/alpine", "latest")]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (b'{"status":"Pushed","id":"aa"}\n', FaultCode.ENGINE_STREAM_TRUNCATED),
        (b"", FaultCode.ENGINE_STREAM_TRUNCATED),
        (
            b'{"status":"1: digest: sha256:%b size: 5"}\n{"errorDetail":{"message":"denied"}}\n'
            % (b"a" * 64),
            FaultCode.PUSH_DENIED,
        ),
        (b'{"error":"denied"}\n', FaultCode.PUSH_DENIED),
        (b'{"aux":{"Digest":"x","Size":1}}\n', FaultCode.ENGINE_STREAM_TRUNCATED),
    ],
)
async def test_a_push_without_a_success_message_fails(
    tmp_path: Path, lines: bytes, code: FaultCode
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=lines, content_type="application/json")

    login = EngineLogin(host="r.example", username="alice", secret=SecretStr("x"))
    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        with pytest.raises(EngineError) as caught:
            await images.push(engine, parse_reference("r.example/a:1"), login, ignore, IDLE)

    assert caught.value.code == code


@pytest.mark.parametrize(
    "line",
    [
        b'{"status":"1: digest: sha256:%b size: 536"}\r\n',
        b'{"progressDetail":{},"aux":{"Tag":"1","Digest":"sha256:%b","Size":536}}\r\n',
    ],
    ids=["words of the containerd store", "receipt of the other"],
)
async def test_both_formats_of_a_push_result_are_read(tmp_path: Path, line: bytes) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=line % (b"a" * 64), content_type="application/json")

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        pushed = await images.push(engine, parse_reference("r.example/a:1"), None, ignore, IDLE)

    assert pushed == images.PushedImage(f"sha256:{'a' * 64}", 536)


async def test_another_digest_than_the_requested_one_is_a_mismatch(tmp_path: Path) -> None:
    body = b'{"status":"Digest: sha256:%b"}\n{"status":"Status: Image is up to date for x"}\n'

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body % (b"b" * 64), content_type="application/json")

    requested = parse_reference(f"r.example/a@sha256:{'a' * 64}")
    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        with pytest.raises(EngineError) as caught:
            await images.pull(engine, requested, None, ignore, timedelta(seconds=5))

    assert caught.value.code == FaultCode.DIGEST_MISMATCH
