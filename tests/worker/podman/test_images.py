"""Pulls, pushes and the test of a login on a real Podman."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import RegistryTest
from shared.jobs.diagnosis import Outcome, Stage
from shared.reference import Reference
from tests.proxies import open_proxy
from tests.worker.engine.parts import ALLOWED, IDLE, PASSWORD, USER, RegistryFixture
from tests.worker.engine.test_images import (
    codes_of_what_is_missing,
    held_digest,
    ignore,
    make,
)
from tests.worker.parts import make_tools
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine
from worker.login import Grant, Grants, Login
from worker.machine import SYSTEMD, describe_machine
from worker.progress import TransferProgress
from worker.registries.diagnosis import run_test


async def test_podman_is_named_and_says_that_it_runs_no_health_checks(engine: Engine) -> None:
    described = await describe_machine(engine)

    assert described["engine_version"].startswith("Podman 5.")
    assert "refused_calls" not in described
    assert described.get("health_checks", True) is SYSTEMD.is_dir()


async def test_a_pushed_image_is_pulled_by_its_tag_and_by_its_digest(
    engine: Engine, local_engine: LocalEngine, locked_registry: RegistryFixture
) -> None:
    reference, login = locked_registry.reference("team/round"), locked_registry.login()
    await make(local_engine, reference, seed=1)
    moments: list[TransferProgress] = []

    pushed = await images.push(engine, reference, login, ignore, IDLE)
    await images.remove(engine, str(reference), force=True)
    pulled = await images.pull(engine, reference, login, moments.append, IDLE)
    again = await images.pull(engine, reference, login, ignore, IDLE)
    by_digest = replace(reference, tag=None, digest=pushed.digest)
    fixed = await images.pull(engine, by_digest, login, ignore, IDLE)
    local = await images.inspect(engine, str(by_digest))

    assert pushed.digest == pulled.digest == again.digest == fixed.digest
    assert local.image_id == pulled.image_id
    assert local.size_bytes >= 600_000
    assert moments


async def test_a_push_has_the_digest_of_the_registry(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture
) -> None:
    reference = registry.reference("team/pushed")
    await make(local_engine, reference, seed=2, size=1000)

    pushed = await images.push(engine, reference, None, ignore, IDLE)

    assert pushed.digest == await held_digest(reference)


async def test_a_pull_that_breaks_off_has_failed(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture
) -> None:
    reference = registry.reference("team/cut")
    await make(local_engine, reference, seed=3, size=3_000_000)
    await images.push(engine, reference, None, ignore, IDLE)
    await images.remove(engine, str(reference), force=True)
    async with open_proxy(registry.address, listen=registry.local.address) as proxy:
        proxy.stall_after_bytes = 1_000_000
        through = replace(reference, registry=proxy.host)
        with pytest.raises(EngineError) as caught:
            await images.pull(engine, through, None, ignore, timedelta(seconds=3))

    assert caught.value.retryable
    assert await images.find(engine, str(through)) is None


@pytest.mark.parametrize("transfer", [images.pull, images.push])
@pytest.mark.parametrize(
    ("secret", "code"),
    [("wr0ng", FaultCode.AUTH_BAD_CREDENTIALS), (None, FaultCode.AUTH_MISSING)],
)
async def test_a_login_that_is_wrong_or_missing_is_named(
    local_engine: LocalEngine,
    locked_registry: RegistryFixture,
    transfer: Callable[..., Awaitable[object]],
    secret: str | None,
    code: FaultCode,
) -> None:
    reference = locked_registry.reference("team/refused")
    await make(local_engine, reference, seed=4, size=1000)
    login = locked_registry.login(secret) if secret else None

    async with Engine.open(local_engine.docker_host) as engine:
        with pytest.raises(EngineError) as caught:
            await transfer(engine, reference, login, ignore, IDLE)

    assert caught.value.code == code
    assert "wr0ng" not in f"{caught.value!r} {caught.value.fault()!r}"


async def test_what_is_missing_is_known_by_the_status(
    engine: Engine, registry: RegistryFixture
) -> None:
    reference = registry.reference("team/never")

    codes = await codes_of_what_is_missing(engine, reference)
    with pytest.raises(EngineError) as caught:
        await images.pull(engine, reference, None, ignore, IDLE)

    assert codes == [FaultCode.LOCAL_IMAGE_MISSING] * 4
    assert caught.value.code == FaultCode.IMAGE_NOT_FOUND


async def test_an_absent_registry_refuses_the_connection(
    engine: Engine, registry: RegistryFixture
) -> None:
    nowhere = Reference(f"{registry.local.address}:9", "team/app", "1")

    with pytest.raises(EngineError) as caught:
        await images.pull(engine, nowhere, None, ignore, IDLE)

    assert caught.value.code == FaultCode.CONN_REFUSED


async def test_the_login_of_a_test_is_not_asked_over_plain_http(
    engine: Engine, locked_registry: RegistryFixture, tmp_path: Path
) -> None:
    host = locked_registry.host
    login = Login(host=host, username=USER, secret=SecretStr(PASSWORD), tls=ALLOWED)
    grant = Grant(login=login, repository="team/app", rights=frozenset({"pull", "push"}))
    tools = make_tools(engine, "private", tmp_path)

    report = await run_test(
        RegistryTest(host=host, username=USER, repository="team/app"),
        Grants(grants=(grant,)),
        tools,
    )
    await tools.clean_ups.finish()

    [asked] = [result for result in report.stages if result.stage is Stage.ENGINE]
    assert report.fault() is None
    assert asked.outcome is Outcome.SKIPPED
    assert "registries.conf" in asked.evidence
