"""A pull with a preflight, on real Engines and registries: an early failure changes nothing."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import EngineError, RegistryError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePull
from shared.jobs.results import ImageResult
from shared.networks import parse_networks
from shared.reference import Reference
from tests.engines import needs_loopback, uses_containerd_store
from tests.worker.engine.parts import IDLE, RegistryFixture, open_scripted_engine
from tests.worker.engine.test_images import ignore
from tests.worker.oci.sample_images import (
    INDEX,
    MANIFEST,
    Image,
    RepositoryFixture,
    describe,
    digest_of,
)
from tests.worker.parts import make_tools
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.images.preflight import UNPACKED_TIMES, Preflight, count_shared, find_held
from worker.images.pull_push_tag import pull
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.local.engines import LocalEngine
from worker.local.images import HERE, make_image
from worker.local.namespaces import Namespace
from worker.local.registry import LocalRegistry
from worker.login import EngineLogin, Grant, Grants

LARGE = 300_000
DISK_BYTES = 30_000_000


@dataclass
class PullScenario:
    """An Engine that pulls images that it or another Engine has pushed."""

    engine: Engine
    local: LocalEngine
    tools: Tools
    lines: list[str] = field(default_factory=list)

    async def push(
        self, target: Reference, login: EngineLogin | None = None, **made: Any
    ) -> Reference:
        """Make and push an image; return its reference by digest."""
        await asyncio.to_thread(make_image, self.local.docker_host, str(target), **made)
        pushed = await images.push(self.engine, target, login, ignore, IDLE)
        return Reference(target.registry, target.repository, digest=pushed.digest)

    async def remove_locally(self, pushed: Reference) -> None:
        found = await images.inspect(self.engine, str(pushed))
        await images.remove(self.engine, found.image_id, force=True)

    async def pull(
        self,
        target: Reference,
        login: EngineLogin | None = None,
        *,
        platform: str | None = None,
        preflight: bool = True,
    ) -> tuple[ImageResult, Attempt]:
        attempt = Attempt("job", 1, write_event=self._add_event)
        command = ImagePull(
            reference=str(target),
            registry_id="registry" if login else None,
            preflight=preflight,
            platform=platform,
        )
        given = (
            (Grant(login=login, repository=target.repository, rights={"pull"}),) if login else ()
        )
        return await pull(command, Grants(grants=given), attempt, self.tools), attempt

    async def refuse(self, target: Reference, *login: EngineLogin, **changes: Any) -> WharfError:
        """Return the error of a failed pull that has changed nothing."""
        before = sorted(await images.list_ids(self.engine))
        with pytest.raises(WharfError) as caught:
            await self.pull(target, *login, **changes)
        assert sorted(await images.list_ids(self.engine)) == before
        return caught.value

    async def _add_event(self, _: int, __: str, data: Any) -> None:
        self.lines.extend(data["text"].splitlines())


@pytest.fixture
def scenario(engine: Engine, local_engine: LocalEngine, tmp_path: Path) -> PullScenario:
    return make_scenario(engine, local_engine, tmp_path)


def make_scenario(engine: Engine, local: LocalEngine, directory: Path) -> PullScenario:
    return PullScenario(engine, local, make_tools(engine, "private", directory))


async def test_all_layers_are_fetched_if_none_is_here(
    scenario: PullScenario, registry: RegistryFixture
) -> None:
    pushed = await scenario.push(
        registry.reference("fly/none"), layer_bytes=[LARGE, LARGE], seed=501
    )
    await scenario.remove_locally(pushed)

    result, attempt = await scenario.pull(pushed)

    assert (result.reference, result.digest) == (str(pushed), pushed.digest)
    assert result.verified_by == "server"
    assert attempt.progress is not None
    [line] = scenario.lines
    assert line.startswith("0 of 2 layers are on this server, 0.6 MB to fetch, ")
    assert line.endswith("B free")
    _require_progress(attempt, ["done", "done"], 0.6)


async def test_layers_that_another_image_has_are_not_counted(
    scenario: PullScenario, registry: RegistryFixture
) -> None:
    base, target = registry.reference("fly/base"), registry.reference("fly/app")
    await scenario.push(base, layer_bytes=[LARGE, LARGE], seed=502)
    pushed = await scenario.push(target, layer_bytes=[LARGE, LARGE, 400_000, 500_000], seed=502)
    await scenario.remove_locally(pushed)

    _, attempt = await scenario.pull(pushed)

    assert scenario.lines[0].startswith("2 of 4 layers are on this server, 0.9 MB to fetch, ")
    present = [] if uses_containerd_store() else ["present", "present"]
    _require_progress(attempt, [*present, "done", "done"], 0.9)


async def test_a_local_image_needs_no_registry(
    scenario: PullScenario, namespace: Namespace, tmp_path: Path
) -> None:
    mine = RegistryFixture.start(tmp_path / "registry", namespace.our_address)
    try:
        pushed = await scenario.push(mine.reference("fly/kept"), seed=503)
    finally:
        mine.local.stop()
    local = await images.inspect(scenario.engine, str(pushed))

    result, _ = await scenario.pull(pushed, platform=f"linux/{HERE}")

    assert result == ImageResult(
        reference=str(pushed),
        digest=pushed.digest,
        image_id=local.image_id,
        size_bytes=local.size_bytes,
        verified_by=None,
    )
    assert scenario.lines == [f"{pushed} is already on this server"]


async def test_a_missing_image_needs_its_registry(
    scenario: PullScenario, namespace: Namespace, tmp_path: Path
) -> None:
    mine = RegistryFixture.start(tmp_path / "registry", namespace.our_address)
    try:
        pushed = await scenario.push(mine.reference("fly/away"), seed=504)
        await scenario.remove_locally(pushed)
    finally:
        mine.local.stop()

    error = await scenario.refuse(pushed)

    assert (error.code, error.retryable) == (FaultCode.CONN_REFUSED, True)


async def test_an_image_that_the_registry_does_not_have_is_named(
    scenario: PullScenario, registry: RegistryFixture
) -> None:
    pushed = await scenario.push(registry.reference("fly/missing"), seed=505)
    other = Reference(pushed.registry, pushed.repository, digest=f"sha256:{'0' * 64}")

    error = await scenario.refuse(other)

    assert (type(error), error.code) == (RegistryError, FaultCode.IMAGE_NOT_FOUND)


@pytest.mark.parametrize(
    ("secret", "code"),
    [("wr0ng-secret", FaultCode.AUTH_BAD_CREDENTIALS), (None, FaultCode.AUTH_MISSING)],
)
async def test_a_login_that_the_registry_refuses_is_named(
    scenario: PullScenario, locked_registry: RegistryFixture, secret: str | None, code: FaultCode
) -> None:
    target, login = locked_registry.reference("fly/locked"), locked_registry.login()
    pushed = await scenario.push(target, login, seed=506)
    await scenario.remove_locally(pushed)

    error = await scenario.refuse(pushed, *([locked_registry.login(secret)] if secret else []))

    assert (error.code, error.retryable) == (code, False)
    assert "wr0ng-secret" not in f"{error!r} {scenario.lines}"
    result, _ = await scenario.pull(pushed, login)
    assert result.digest == pushed.digest


@pytest.mark.parametrize("is_index", [True, False])
async def test_an_image_for_other_platforms_is_refused_before_it_is_fetched(
    scenario: PullScenario, registry: RegistryFixture, *, is_index: bool
) -> None:
    foreign = await scenario.push(registry.reference("fly/foreign"), architecture="s390x", seed=507)
    await scenario.remove_locally(foreign)
    target = await _put_index(foreign, "s390x", "riscv64") if is_index else foreign

    error = await scenario.refuse(target)

    offered = "linux/riscv64, linux/s390x" if is_index else "linux/s390x"
    assert (error.code, error.retryable) == (FaultCode.PLATFORM_MISSING, False)
    assert f"{target} is for {offered}, not for linux/{HERE}" in error.message


@pytest.mark.parametrize("preflight", [True, False])
async def test_a_chart_fails_as_not_an_image(
    scenario: PullScenario, registry: RegistryFixture, *, preflight: bool
) -> None:
    target, depot = registry.reference("fly/chart"), RepositoryFixture(registry.host, "fly/chart")
    config, layer = b'{"name": "chart", "version": "1.0.0"}', b"chart"
    parts = [
        {"mediaType": f"application/vnd.cncf.helm.{kind}", "digest": digest_of(blob), "size": size}
        for kind, blob, size in (
            ("config.v1+json", config, len(config)),
            ("chart.content.v1.tar+gzip", layer, len(layer)),
        )
    ]
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": parts[1:]}
    blobs = {digest_of(blob): blob for blob in (config, layer)}
    await depot.put("1", Image(blobs, [(MANIFEST, json.dumps(document).encode())]))

    error = await scenario.refuse(target, preflight=preflight)

    assert (error.code, error.retryable) == (FaultCode.NOT_AN_IMAGE, False)


@pytest.mark.parametrize("platform", [None, f"linux/{HERE}"])
async def test_the_image_for_the_server_s_platform_is_pulled_from_an_index(
    scenario: PullScenario, registry: RegistryFixture, platform: str | None
) -> None:
    seed = 508 if platform else 514  # the containerd store keeps the other index
    pushed = await scenario.push(registry.reference("fly/index"), seed=seed)
    await scenario.remove_locally(pushed)
    index = await _put_index(pushed, "s390x", HERE)

    result, _ = await scenario.pull(index, platform=platform)
    again, _ = await scenario.pull(index, platform=platform)

    assert (result.digest, result.verified_by) == (index.digest, "server")
    assert (again.image_id, again.verified_by) == (result.image_id, None)


@needs_loopback
@pytest.mark.parametrize("networks", ["loopback", "private"])
@pytest.mark.parametrize("architecture", [HERE, "s390x"])
async def test_the_engine_asks_a_registry_that_only_it_can_reach(
    scenario: PullScenario, namespace: Namespace, tmp_path: Path, architecture: str, networks: str
) -> None:
    scenario.tools = replace(scenario.tools, networks=parse_networks(networks))
    inner = LocalRegistry.start(tmp_path / "registry", wrapper=namespace.wrapper)
    try:
        target = Reference(inner.host, "fly/inner", "1")
        pushed = await scenario.push(target, architecture=architecture, seed=512)
        await scenario.remove_locally(pushed)
        if architecture == HERE:
            result, _ = await scenario.pull(pushed)
            assert result.verified_by == "server"
            assert "but the Engine reaches the registry" in scenario.lines[0]
        else:
            error = await scenario.refuse(pushed)
            assert error.code == FaultCode.PLATFORM_MISSING
    finally:
        inner.stop()


async def test_an_image_without_an_index_is_pulled_for_its_own_platform(
    scenario: PullScenario, registry: RegistryFixture
) -> None:
    pushed = await scenario.push(registry.reference("fly/single"), seed=513)
    await scenario.remove_locally(pushed)

    result, _ = await scenario.pull(pushed, platform=f"linux/{HERE}")

    assert (result.digest, result.verified_by) == (pushed.digest, "server")


async def test_a_platform_that_the_server_does_not_run_is_refused(
    scenario: PullScenario, registry: RegistryFixture
) -> None:
    pushed = await scenario.push(registry.reference("fly/asked"), seed=509)

    error = await scenario.refuse(pushed, platform="linux/s390x")

    assert (type(error), error.code) == (EngineError, FaultCode.PLATFORM_MISSING)
    assert f"linux/s390x is requested, but this server is linux/{HERE}" in error.message


async def test_an_image_that_does_not_fit_is_refused_before_it_is_fetched(
    scenario: PullScenario, registry: RegistryFixture, small_engine: LocalEngine, tmp_path: Path
) -> None:
    tight, small = registry.reference("fly/tight"), registry.reference("fly/small")
    large = await scenario.push(tight, layer_bytes=[DISK_BYTES // 3], seed=510)
    fitting = await scenario.push(small, layer_bytes=[DISK_BYTES // 10], seed=511)
    async with Engine.open(small_engine.docker_host) as engine:
        little = make_scenario(engine, small_engine, tmp_path)

        error = await little.refuse(large)
        result, _ = await little.pull(fitting)

    assert (type(error), error.code, error.retryable) == (EngineError, FaultCode.DISK_FULL, False)
    needed = DISK_BYTES / 3 * (1 + UNPACKED_TIMES) / 10**6
    assert f"needs up to {needed:.0f} MB, " in error.message
    assert re.search(r" (29|30) MB are free$", error.message)
    assert error.remedy
    assert result.digest == fitting.digest


@pytest.mark.parametrize(
    ("free_bytes", "shown"),
    [
        (5_120_000_000, "12 of 15 layers are on this server, 34 MB to fetch, 5.1 GB free"),
        (999_400, "12 of 15 layers are on this server, 34 MB to fetch, 1.0 MB free"),
        (None, "12 of 15 layers are on this server, 34 MB to fetch"),
    ],
)
def test_a_preflight_is_shown_on_one_line(free_bytes: int | None, shown: str) -> None:
    found = Preflight(15, 12, 400_000_000, 34_000_000, free_bytes)

    assert str(found) == shown
    assert found.needed_bytes == 34_000_000 * (1 + UNPACKED_TIMES)


@given(
    st.lists(st.sampled_from("abc"), max_size=6),
    st.lists(st.lists(st.sampled_from("abc"), max_size=6), max_size=6),
)
def test_a_layer_is_shared_only_together_with_all_below_it(
    requested: list[str], held: list[list[str]]
) -> None:
    chains = {"/".join(layers[: n + 1]) for layers in held for n in range(len(layers))}
    shared = [n for n in range(1, len(requested) + 1) if "/".join(requested[:n]) in chains]

    assert count_shared(requested, held) == max(shared, default=0)


def _require_progress(attempt: Attempt, states: list[str], megabytes: float) -> None:
    """Compare the progress with the layers that an Engine reports.

    With the containerd store it names no layers that it has, and no size of those that arrive
    within a tenth of a second.
    """
    assert attempt.progress is not None
    assert [layer["state"] for layer in attempt.progress["layers"]] == states
    if not uses_containerd_store():
        assert f"{attempt.progress['total_bytes'] / 10**6:.1f}" == str(megabytes)


async def _put_index(image: Reference, *architectures: str) -> Reference:
    """Push an index that names one image for each of these architectures."""
    depot = RepositoryFixture(image.registry, image.repository)
    status, content = await depot.get(f"manifests/{image.digest}")
    assert status == 200
    found = describe(json.loads(content)["mediaType"], content)
    entry = {"mediaType": found.media_type, "digest": found.digest, "size": found.size_bytes}
    named = [
        {**entry, "platform": {"os": "linux", "architecture": architecture}}
        for architecture in architectures
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": named}).encode()
    await depot.put_manifest("index", INDEX, index)
    return Reference(image.registry, image.repository, digest=describe(INDEX, index).digest)


@pytest.fixture
def small_engine(namespace: Namespace, tmp_path: Path) -> Iterator[LocalEngine]:
    """Run an Engine with a disk of 30 MB that is visible to the worker."""
    disk = tmp_path / "small" / "data"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    own = Namespace.create("small")
    try:
        running = LocalEngine.start(
            tmp_path / "small", namespace=own, insecure_registries=("10.77.0.0/16",)
        )
        yield running
        running.kill()
    finally:
        own.remove()
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize(("status", "is_raised"), [(404, False), (500, False), (None, True)])
async def test_images_that_cannot_be_listed_share_no_layers(
    tmp_path: Path, status: int | None, *, is_raised: bool
) -> None:
    """The containerd store fails to list its images while one of them is removed."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if status is None:
            assert request.transport
            request.transport.abort()
        text = "failed to read config content: NotFound: content digest sha256:0cea: not found"
        return web.json_response({"message": text}, status=status or 500)

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        if is_raised:
            with pytest.raises(EngineError):
                await find_held(engine)
        else:
            assert await find_held(engine) == []
