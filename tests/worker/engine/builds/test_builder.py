"""Builds on a real Engine by both builders: successes, and the code of each failure."""

import asyncio
import base64
import gzip
import hashlib
import json
import tarfile
from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference, parse_reference
from tests.engines import is_engine, uses_containerd_store
from tests.fakes.certificates import Authority
from tests.waiting import wait_until
from tests.worker.engine.contexts import BASE, context, make_base, packed
from tests.worker.engine.parts import IDLE, PASSWORD, RegistryFixture, open_scripted_engine
from tests.worker.engine.test_images import ignore
from tests.worker.local.rooms import processes_in, room_of
from worker.engine import images
from worker.engine.builds.builder import BuildRequest, build
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine
from worker.local.namespaces import Namespace
from worker.local.registry import LocalRegistry
from worker.login import EngineLogin

TAG = parse_reference("wharf.example/team/built:1")
LONG_LINE = 2 * 1024 * 1024


@pytest.fixture(scope="module")
def engine_with_base(local_engine: LocalEngine) -> LocalEngine:
    """The shared Engine with a base image."""
    make_base(local_engine.docker_host)
    return local_engine


@dataclass
class Builder:
    """One of the two builders, and the log of its build."""

    engine: Engine
    request: BuildRequest
    lines: list[str] = field(default_factory=list)

    async def build(
        self, content: AsyncIterable[bytes], *logins: EngineLogin, idle: timedelta = IDLE
    ) -> str:
        async with packed(content) as files:
            return await build(
                self.engine, self.request, files, logins, on_line=self.lines.append, idle=idle
            )

    async def fail(self, content: AsyncIterable[bytes], *logins: EngineLogin) -> EngineError:
        with pytest.raises(EngineError) as caught:
            await self.build(content, *logins)
        return caught.value

    @property
    def log(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture(params=["classic", "buildkit"])
def builder(
    request: pytest.FixtureRequest, engine: Engine, engine_with_base: LocalEngine
) -> Builder:
    return Builder(engine, BuildRequest(TAG, use_buildkit=request.param == "buildkit"))


@pytest.fixture
def classic(engine: Engine, engine_with_base: LocalEngine) -> Builder:
    return Builder(engine, BuildRequest(TAG))


@pytest.fixture
def buildkit(engine: Engine, engine_with_base: LocalEngine) -> Builder:
    return Builder(engine, BuildRequest(TAG, use_buildkit=True))


async def test_an_image_is_built_with_arguments_and_labels_under_its_tag(builder: Builder) -> None:
    builder.request = replace(
        builder.request, build_args={"WHO": "you"}, labels={"org.example.a": "b"}
    )

    image_id = await builder.build(context(f"FROM {BASE}\nARG WHO\nRUN echo hello $WHO > /who\n"))

    local = await images.inspect(builder.engine, str(TAG))
    document = await builder.engine.request("GET", f"images/{image_id}/json")
    assert isinstance(document, dict)
    assert isinstance(document["Config"], dict)
    assert local.image_id == image_id
    assert document["Config"]["Labels"] == {"org.example.a": "b"}
    assert "RUN echo hello" in builder.log


async def test_the_output_of_a_step_is_in_the_log(builder: Builder) -> None:
    await builder.build(context(f"FROM {BASE}\nRUN echo to-out; echo to-error >&2\n"))

    assert "to-out" in builder.log
    assert "to-error" in builder.log
    assert "\x1b" not in builder.log


async def test_no_stage_after_the_requested_one_is_built(builder: Builder) -> None:
    builder.request = replace(builder.request, stage="one")

    await builder.build(context(f"FROM {BASE} AS one\nRUN echo first\nFROM one\nRUN exit 1\n"))

    assert "first" in builder.log


async def test_a_failed_step_is_named_with_its_exit_code(builder: Builder) -> None:
    error = await builder.fail(
        context(f"FROM {BASE}\nRUN echo denied 'x509: no such host'; exit 7\n")
    )

    assert error.code == FaultCode.BUILD_FAILED
    assert "exit code 7" in error.message
    assert "RUN echo denied" in error.message
    assert not error.retryable


async def test_a_failed_build_does_not_move_the_tag(builder: Builder) -> None:
    before = await builder.build(context(f"FROM {BASE}\nRUN echo good\n"))

    await builder.fail(context(f"FROM {BASE}\nRUN echo better\nRUN exit 1\n"))

    assert (await images.inspect(builder.engine, str(TAG))).image_id == before


@pytest.mark.parametrize(
    ("dockerfile", "change", "code"),
    [
        (f"FROM {BASE}\nRUNN x\n", {}, FaultCode.DOCKERFILE_INVALID),
        (f"FROM {BASE}\n", {"stage": "none"}, FaultCode.DOCKERFILE_INVALID),
        ("", {}, FaultCode.DOCKERFILE_INVALID),
        ("FROM $NONE\n", {}, FaultCode.DOCKERFILE_INVALID),
        (f"FROM {BASE}\nCOPY none /\n", {}, FaultCode.BUILD_FAILED),
        (
            f"FROM {BASE}\nRUN --mount=type=ssh,required=true true\n",
            {},
            FaultCode.BUILD_UNSUPPORTED,
        ),
        ("FROM 10.77.254.1:9/none:1\n", {}, FaultCode.CONN_REFUSED),
    ],
)
async def test_each_fault_of_a_dockerfile_has_its_code(
    builder: Builder,
    registry: RegistryFixture,
    dockerfile: str,
    change: dict[str, str],
    code: FaultCode,
) -> None:
    builder.request = replace(builder.request, **change)  # type: ignore[arg-type]
    nobody = dockerfile.replace("10.77.254.1", registry.local.address)

    assert (await builder.fail(context(nobody))).code == code


async def test_a_missing_dockerfile_is_named(classic: Builder) -> None:
    classic.request = replace(classic.request, dockerfile="none")

    error = await classic.fail(context(f"FROM {BASE}\n"))

    assert error.code == FaultCode.DOCKERFILE_INVALID


async def test_a_platform_that_only_buildkit_knows_is_named(classic: Builder) -> None:
    error = await classic.fail(context(f"FROM --platform=$BUILDPLATFORM {BASE}\n"))

    assert (error.code, error.retryable) == (FaultCode.BUILD_UNSUPPORTED, False)
    assert "BuildKit" in error.remedy


async def test_a_missing_base_image_is_not_found(
    classic: Builder, registry: RegistryFixture
) -> None:
    error = await classic.fail(context(f"FROM {registry.reference('team/none')}\n"))

    assert error.code == FaultCode.IMAGE_NOT_FOUND


async def store_base(builder: Builder, registry: RegistryFixture, repository: str) -> Reference:
    """Store a base image that a locked registry holds and the Engine does not."""
    reference, login = registry.reference(repository), registry.login()
    await images.tag(builder.engine, BASE, reference)
    await images.push(builder.engine, reference, login, ignore, IDLE)
    await images.remove(builder.engine, str(reference), force=True)
    return reference


async def test_a_private_base_image_requires_its_login(
    classic: Builder, locked_registry: RegistryFixture
) -> None:
    base = await store_base(classic, locked_registry, "team/private")

    nobody = await classic.fail(context(f"FROM {base}\n"))
    wrong = await classic.fail(context(f"FROM {base}\n"), locked_registry.login("wr0ng-secret"))
    await classic.build(context(f"FROM {base}\nRUN echo hi\n"), locked_registry.login())

    assert nobody.code == FaultCode.AUTH_MISSING
    assert wrong.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert "wr0ng-secret" not in f"{wrong!r} {wrong.fault()!r}"


async def test_a_step_reads_a_secret_that_is_in_no_layer_and_no_history(
    buildkit: Builder, tmp_path: Path
) -> None:
    secrets = {"token": SecretStr("s3cret-of-a-build"), "long": SecretStr("x" * 200_000)}
    buildkit.request = replace(buildkit.request, secrets=secrets)
    mounts = "--mount=type=secret,id=token --mount=type=secret,id=long"
    step = f"RUN {mounts} cd /run/secrets; md5sum token >/sum; wc -c <long; echo kept >/kept"

    await buildkit.build(
        context(f"FROM {BASE}\n{step}\nRUN cat /sum; test ! -s /run/secrets/token\n")
    )

    archive = tmp_path / "image.tar"
    words = ("--host", buildkit.engine.docker_host, "save", "--output", archive, str(TAG))
    saving = await asyncio.create_subprocess_exec("docker", *words)
    assert await saving.wait() == 0
    image = b"".join(_contents(archive))
    assert hashlib.md5(b"s3cret-of-a-build", usedforsecurity=False).hexdigest() in buildkit.log
    assert "200000" in buildkit.log
    assert b"kept\n" in image
    assert b"s3cret-of-a-build" not in image
    assert "s3cret-of-a-build" not in f"{buildkit.log} {buildkit.request!r}"


async def test_a_mounted_secret_that_is_missing_is_named(buildkit: Builder) -> None:
    mount = "--mount=type=secret,id=other,required=true"

    error = await buildkit.fail(context(f"FROM {BASE}\nRUN {mount} cat /run/secrets/other\n"))

    assert error.code == FaultCode.BUILD_SECRET_MISSING
    assert "other" in error.message


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, FaultCode.BUILD_UNSUPPORTED), (503, FaultCode.ENGINE_UNREACHABLE)],
)
async def test_a_build_with_secrets_needs_a_session(
    tmp_path: Path, status: int, code: FaultCode
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "not for you"}, status=status)

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        request = BuildRequest(TAG, use_buildkit=True, secrets={"a": SecretStr("b")})
        error = await Builder(engine, request).fail(context("FROM scratch\n"))

    assert error.code == code
    assert str(status) in error.message
    assert scripted.requested_paths == ["/session"]


async def test_a_login_is_found_under_the_name_with_the_default_port(tmp_path: Path) -> None:
    """The classic builder looks for the host as the Dockerfile has it: ``host:443``."""
    configs = list[str]()

    async def answer(request: web.Request) -> web.StreamResponse:
        configs.append(request.headers["X-Registry-Config"])
        return web.json_response({"message": "dockerfile parse error"}, status=500)

    login = EngineLogin(host="registry.example", username="alice", secret=SecretStr("canary"))
    other = login.model_copy(update={"host": "registry.example:5000"})
    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        await Builder(engine, BuildRequest(TAG)).fail(context("FROM scratch\n"), login, other)

    hosts = json.loads(base64.urlsafe_b64decode(configs[0]))
    assert list(hosts) == ["registry.example", "registry.example:443", "registry.example:5000"]


async def test_a_build_without_secrets_continues_without_a_refused_session(
    tmp_path: Path,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/session":
            return web.json_response({"message": "not for you"}, status=403)
        error = '{"errorDetail":{"message":"dockerfile parse error"}}'
        return web.Response(text=error, content_type="application/json")

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        builder = Builder(engine, BuildRequest(TAG, use_buildkit=True))
        error = await builder.fail(context("FROM scratch\n"))

    assert error.code == FaultCode.DOCKERFILE_INVALID
    assert "no session" in builder.log


async def test_buildkit_builds_on_a_private_base_image_that_was_pulled_before(
    buildkit: Builder, locked_registry: RegistryFixture
) -> None:
    base = await store_base(buildkit, locked_registry, "team/private-kit")
    await images.pull(buildkit.engine, base, locked_registry.login(), ignore, IDLE)

    await buildkit.build(context(f"FROM {base}\nRUN echo on private ground\n"))

    assert "on private ground" in buildkit.log


async def test_buildkit_distinguishes_missing_and_private_base_images(
    own_engine: LocalEngine, tmp_path: Path
) -> None:
    assert own_engine.namespace is not None
    address, authority = own_engine.namespace.our_address, Authority(tmp_path)
    certificate = authority.files("registry", address)
    opened = LocalRegistry.start(tmp_path / "o", address=address, certificate=certificate)
    locked = LocalRegistry.start(
        tmp_path / "l",
        address=address,
        certificate=certificate,
        users={"alice": PASSWORD},
        bcrypt_rounds=4,
    )
    known = EngineLogin(host=locked.host, username="alice", secret=SecretStr(PASSWORD))
    foreign = EngineLogin(host="r.example", username="eve", secret=SecretStr("wr0ng-secret"))
    for local in (opened, locked):
        own_engine.trust(local.host, authority.file.read_bytes())
    own_engine.kill()  # BuildKit of 20.10 reads certificates only at the Engine's start
    restarted = LocalEngine.start(own_engine.directory, namespace=own_engine.namespace)
    try:
        async with Engine.open(restarted.docker_host) as engine:
            builder = Builder(engine, BuildRequest(TAG, use_buildkit=True))
            errors = [
                await builder.fail(context(f"FROM {local.host}/a:1\n"), *logins)
                for local, logins in ((opened, ()), (locked, ()), (locked, (known, foreign)))
            ]
    finally:
        restarted.kill()
        opened.stop()
        locked.stop()

    assert [error.code for error in errors] == [
        FaultCode.IMAGE_NOT_FOUND,
        FaultCode.AUTH_MISSING,
        FaultCode.IMAGE_NOT_FOUND,
    ]


@pytest.mark.parametrize("platform", ["", "linux/s390x"])
async def test_a_build_for_the_wrong_platform_fails(
    classic: Builder, engine_with_base: LocalEngine, platform: str
) -> None:
    make_base(engine_with_base.docker_host, "foreign:1", architecture="s390x")
    classic.request = replace(classic.request, platform=platform)
    base = BASE if platform else "foreign:1"

    error = await classic.fail(context(f"FROM {base}\nRUN echo hi\n"))

    # These Engines ask the registry for an image of that platform, if theirs is for another one.
    asks_registry = bool(platform) and (uses_containerd_store() or is_engine("26.1"))
    assert error.code == (FaultCode.CONN_REFUSED if asks_registry else FaultCode.PLATFORM_MISSING)


async def test_cancelling_a_build_ends_its_processes(
    builder: Builder, engine_with_base: LocalEngine
) -> None:
    marker = f"7{builder.request.use_buildkit:d}7777"
    namespace_id = room_of(engine_with_base.dockerd)
    building = asyncio.create_task(
        builder.build(context(f"FROM {BASE}\nRUN /bin/busybox sleep {marker}\n"))
    )
    await wait_until(lambda: _is_running(namespace_id, marker), seconds=20)

    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building

    await wait_until(lambda: not _is_running(namespace_id, marker), seconds=2.5)


async def test_a_line_of_two_megabytes_is_truncated_and_does_not_end_the_build(
    builder: Builder,
) -> None:
    command = (
        f"/bin/busybox head -c {LONG_LINE} /dev/zero | /bin/busybox tr '\\000' y; echo; echo end"
    )

    await builder.build(context(f"FROM {BASE}\nRUN {command}\n"))

    longest = max(builder.lines, key=len)
    assert 60_000 < len(longest) < 70_000
    assert "characters left out" in longest


async def test_a_build_without_output_beyond_the_limit_is_stalled(builder: Builder) -> None:
    with pytest.raises(EngineError) as caught:
        await builder.build(
            context(f"FROM {BASE}\nRUN /bin/busybox sleep 77\n"), idle=timedelta(seconds=2)
        )

    assert caught.value.code == FaultCode.ENGINE_STALLED


@pytest.mark.parametrize("use_buildkit", [False, True])
@pytest.mark.parametrize(
    "step", ["COPY big /big", "RUN /bin/busybox dd if=/dev/urandom of=/x bs=1000000 count=50"]
)
async def test_a_full_disk_is_reported(
    small_engine: LocalEngine, step: str, *, use_buildkit: bool
) -> None:
    make_base(small_engine.docker_host)
    async with Engine.open(small_engine.docker_host) as engine:
        builder = Builder(engine, BuildRequest(TAG, use_buildkit=use_buildkit))
        error = await builder.fail(context(f"FROM {BASE}\n{step}\n", {"big": b"x" * 20_000_000}))

    assert error.code == FaultCode.DISK_FULL


async def test_an_engine_killed_during_a_build_is_a_retryable_error(
    own_engine: LocalEngine,
) -> None:
    make_base(own_engine.docker_host)
    async with Engine.open(own_engine.docker_host) as engine:
        builder = Builder(engine, BuildRequest(TAG))
        building = asyncio.create_task(
            builder.fail(context(f"FROM {BASE}\nRUN echo begun; /bin/busybox sleep 77\n"))
        )
        await wait_until(lambda: "begun" in builder.lines, seconds=20)
        await asyncio.to_thread(own_engine.kill)

        died = await building
        away = await builder.fail(context(f"FROM {BASE}\n"))

    assert (died.code, died.retryable) == (FaultCode.ENGINE_STREAM_TRUNCATED, True)
    assert (away.code, away.retryable) == (FaultCode.ENGINE_UNREACHABLE, True)


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b'{"stream":"Successfully built 1\\n"}\n',
        b'{"aux":{"ID":"sha256:other"}}\n{"stream":"Successfully tagged x\\n"}\n',
    ],
)
async def test_a_response_without_the_built_image_is_a_failure(
    tmp_path: Path, lines: bytes
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/build"):
            await request.read()
            return web.Response(body=lines, content_type="application/json")
        return web.json_response({"Id": "sha256:here"})

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        error = await Builder(engine, BuildRequest(TAG)).fail(context("FROM scratch\n"))

    assert error.code == FaultCode.ENGINE_STREAM_TRUNCATED


@pytest.fixture
def small_engine(namespace: Namespace, tmp_path: Path) -> Iterator[LocalEngine]:
    """An Engine with a disk of 30 MB."""
    own = Namespace.create("small")
    running = LocalEngine.start(tmp_path / "small", namespace=own, disk_bytes=30_000_000)
    yield running
    running.kill()
    own.remove()


def _is_running(namespace_id: int, marker: str) -> bool:
    return any(
        marker in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        for pid in processes_in(namespace_id)
        if Path(f"/proc/{pid}/cmdline").exists()
    )


def _contents(archive: Path) -> Iterator[bytes]:
    """Yield the files of a saved image; an Engine with the containerd store compresses layers."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if file := tar.extractfile(member):
                content = file.read()
                yield gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
