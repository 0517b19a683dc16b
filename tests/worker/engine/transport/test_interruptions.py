"""Transfers that are cancelled, cut, stalled or killed; a real Engine behind a counting proxy."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference
from tests.proxies import Proxy, open_proxy
from tests.worker.engine.parts import IDLE, RegistryFixture
from tests.worker.engine.test_images import ignore, make
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine
from worker.local.namespaces import Namespace

SLOW = 4_000_000
LAYER_BYTES = 24_000_000
"""A transfer that is not stopped takes longer than `QUIET_WITHIN_SECONDS` for it."""

QUIET_WITHIN_SECONDS = 4.0
UNDER_WAY = 1_500_000


@pytest.fixture
async def slow_link(registry: RegistryFixture) -> AsyncIterator[Proxy]:
    """The registry behind a link of 4 MB/s."""
    listen = registry.local.address
    async with open_proxy(registry.address, listen=listen, bytes_per_second=SLOW) as proxy:
        yield proxy


async def store(
    engine: Engine, local: LocalEngine, registry: RegistryFixture, repository: str, seed: int
) -> Reference:
    """Store an image of 24 MB that the registry holds and the Engine does not."""
    reference = registry.reference(repository)
    await make(local, reference, seed=seed, size=LAYER_BYTES)
    await images.push(engine, reference, None, ignore, IDLE)
    await images.remove(engine, str(reference), force=True)
    return reference


async def test_cancelling_a_pull_stops_the_download(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture, slow_link: Proxy
) -> None:
    stored = await store(engine, local_engine, registry, "team/cancel-pull", 11)
    slow = Reference(slow_link.host, stored.repository, stored.tag)
    transfer = asyncio.create_task(images.pull(engine, slow, None, ignore, IDLE))
    await slow_link.wait_for(UNDER_WAY)

    transfer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await transfer

    await slow_link.wait_until_quiet(seconds=QUIET_WITHIN_SECONDS)
    assert slow_link.total_bytes < LAYER_BYTES


async def test_cancelling_a_push_stops_the_upload(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture, slow_link: Proxy
) -> None:
    slow = Reference(slow_link.host, "team/cancel-push", "1")
    await make(local_engine, slow, seed=12, size=LAYER_BYTES)
    transfer = asyncio.create_task(images.push(engine, slow, None, ignore, IDLE))
    await slow_link.wait_for(UNDER_WAY)

    transfer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await transfer

    await slow_link.wait_until_quiet(seconds=QUIET_WITHIN_SECONDS)
    assert slow_link.total_bytes < LAYER_BYTES
    with pytest.raises(EngineError) as missing:
        await images.distribution(engine, registry.reference("team/cancel-push"), None)
    assert missing.value.code == FaultCode.IMAGE_NOT_FOUND


async def test_a_stalled_pull_has_failed(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture, slow_link: Proxy
) -> None:
    stored = await store(engine, local_engine, registry, "team/stall", 13)
    slow = Reference(slow_link.host, stored.repository, stored.tag)
    slow_link.stall_after_bytes = UNDER_WAY

    with pytest.raises(EngineError) as caught:
        await images.pull(engine, slow, None, ignore, timedelta(seconds=1))

    assert caught.value.code == FaultCode.ENGINE_STALLED
    assert caught.value.retryable


async def test_a_cut_link_is_retried_by_the_engine_itself(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture, slow_link: Proxy
) -> None:
    stored = await store(engine, local_engine, registry, "team/cut", 14)
    slow = Reference(slow_link.host, stored.repository, stored.tag)
    slow_link.cut_after_bytes = 8_000_000

    pulled = await images.pull(engine, slow, None, ignore, IDLE)

    assert slow_link.connections >= 3
    assert pulled.digest


async def test_an_engine_killed_during_a_pull_is_a_retryable_error(
    engine: Engine,
    local_engine: LocalEngine,
    own_engine: LocalEngine,
    registry: RegistryFixture,
    slow_link: Proxy,
) -> None:
    stored = await store(engine, local_engine, registry, "team/killed", 15)
    slow = Reference(slow_link.host, stored.repository, stored.tag)
    async with Engine.open(own_engine.docker_host) as mine:
        transfer = asyncio.create_task(images.pull(mine, slow, None, ignore, IDLE))
        await slow_link.wait_for(UNDER_WAY)

        await asyncio.to_thread(own_engine.kill)
        with pytest.raises(EngineError) as caught:
            await transfer
        with pytest.raises(EngineError) as caught_while_away:
            await mine.ping()
        restarted = await asyncio.to_thread(_restart, own_engine)
        try:
            pulled = await images.pull(mine, stored, None, ignore, IDLE)
        finally:
            await asyncio.to_thread(restarted.kill)

    assert caught.value.code == FaultCode.ENGINE_STREAM_TRUNCATED
    assert caught_while_away.value.code == FaultCode.ENGINE_UNREACHABLE
    assert caught.value.retryable
    assert pulled.digest


async def test_a_full_disk_is_reported(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture, small_engine: LocalEngine
) -> None:
    stored = await store(engine, local_engine, registry, "team/full", 16)
    async with Engine.open(small_engine.docker_host) as small:
        with pytest.raises(EngineError) as caught:
            await images.pull(small, stored, None, ignore, IDLE)

    assert caught.value.code == FaultCode.DISK_FULL
    assert not caught.value.retryable


async def test_a_disconnected_server_reports_its_engines_error(
    engine: Engine, local_engine: LocalEngine, own_engine: LocalEngine, registry: RegistryFixture
) -> None:
    stored = await store(engine, local_engine, registry, "team/cable", 17)
    assert own_engine.namespace is not None
    own_engine.namespace.cut()

    async with Engine.open(own_engine.docker_host) as mine:
        with pytest.raises(EngineError) as caught:
            await images.pull(mine, stored, None, ignore, IDLE)
        own_engine.namespace.mend()
        pulled = await images.pull(mine, stored, None, ignore, IDLE)

    assert caught.value.code == FaultCode.NO_ROUTE
    assert pulled.digest


@pytest.fixture
def small_engine(namespace: Namespace, tmp_path: Path) -> Iterator[LocalEngine]:
    """An Engine with a disk of 30 MB."""
    own = Namespace.create("small")
    running = LocalEngine.start(
        tmp_path / "small",
        namespace=own,
        insecure_registries=("10.77.0.0/16",),
        disk_bytes=30_000_000,
    )
    yield running
    running.kill()
    own.remove()


def _restart(engine: LocalEngine) -> LocalEngine:
    return LocalEngine.start(
        engine.directory, namespace=engine.namespace, insecure_registries=("10.77.0.0/16",)
    )
