"""Logins that end after seconds: control renews them, and transfers go on through every fault.

Control runs as it does in production, with AWS as a fake on its real names in front of a real
registry. The server's worker has no Engine and no Celery: it finds its jobs in the database.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from shared.credentials.ecr import EcrSource
from shared.database import listening, open_pool
from shared.ids import make_id
from shared.jobs.commands import Command, ImageCopy
from shared.jobs.results import ImageResult
from shared.reference import parse_registry
from shared.vault import KeyRing
from tests.fakes import ecr
from tests.fakes.certificates import Authority
from tests.fakes.named import NamedHosts, open_named
from tests.journeys.canary import broker_keys, leaks, spellings
from tests.waiting import wait_until
from tests.worker.control.plane import Plane
from tests.worker.oci.sample_images import RepositoryFixture, make_image
from tests.world import EnrolledServer, World
from worker.control.credentials.minting import Minting
from worker.control.main import CHANNELS, Control
from worker.control.providers.mint import Mint
from worker.control.scheduling.publish import Publisher
from worker.jobs.attempt import Attempt, StopReason
from worker.local.registry import LocalRegistry
from worker.login import Grants
from worker.oci.copy import copy_image
from worker.oci.registry.client import RegistryClient
from worker.server.heartbeat import Presence
from worker.server.runtime import Runtime

SOURCE = EcrSource.model_validate(
    {"kind": "ecr", "accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET}
)
LAYERS = tuple(bytes([number]) * 50_000 for number in range(12))
DISPATCHED = "SELECT job_id, attempt FROM job WHERE state = 'dispatched'"
ENDED = "SELECT count(*) FILTER (WHERE finished_at IS NULL) AS open FROM job"


@dataclass
class Worker:
    """The worker of one server, but for its Engine. ``seen`` are the logins that it was given."""

    server: EnrolledServer
    world: World
    named: NamedHosts
    seen: list[str] = field(default_factory=list)

    async def run(self) -> None:
        enrolment, functions = self.server.enrolment, self.server.functions("first")
        runtime = Runtime(enrolment, KeyRing([self.server.key]), functions, self._work)
        presence = Presence(enrolment, functions, runtime.attempts, runtime.stop_all, lambda: None)
        try:
            async with presence.sending_heartbeats(), asyncio.TaskGroup() as attempts:
                while True:
                    for row in await self.world.rows(DISPATCHED):
                        attempts.create_task(runtime.run(row["job_id"], row["attempt"]))
                    await asyncio.sleep(0.05)
        finally:
            runtime.stop_all(StopReason.LEASE_LOST)

    async def _work(self, command: Command, grants: Grants, _: Attempt) -> ImageResult:
        assert isinstance(command, ImageCopy)
        self.seen.append(grants.to_sealable_json())
        origin, target = command.origin, command.target
        settings = self.named.settings
        async with (
            RegistryClient(
                parse_registry(origin.registry), grants.login_for(origin, "pull"), settings
            ) as source,
            RegistryClient(
                parse_registry(target.registry), grants.login_for(target, "push"), settings
            ) as destination,
        ):
            held = await copy_image(source, origin, destination, target, lambda _: None)
        self.seen += [grant.login.newest.secret.get_secret_value() for grant in grants.grants]
        return ImageResult(reference=str(target), digest=held.digest)


@dataclass
class Scenario:
    plane: Plane
    aws: ecr.Aws
    named: NamedHosts
    registry: LocalRegistry
    worker: Worker
    registry_id: str = ""

    @property
    def world(self) -> World:
        return self.plane.world

    async def submit(self, target: str, target_id: str | None = None) -> str:
        """Submit a copy from ECR to ``target``, there or at the registry ``target_id``."""
        command = ImageCopy(
            source=f"{ecr.HOST}/team/app:1",
            source_registry_id=self.registry_id,
            reference=target,
            registry_id=target_id or self.registry_id,
        )
        return await self.world.submit(
            self.worker.server, command, registry_id=target_id or self.registry_id
        )

    async def copy_slowly(self) -> str:
        """Submit a copy to another registry that takes some lives of a token."""

        async def slowly(request: web.Request) -> web.StreamResponse:
            if request.method == "GET" and "/blobs/" in request.path:
                await asyncio.sleep(2.5)
            return await self.aws.distribution(request)

        self.named.hosts[ecr.HOST] = slowly
        self.registry_id = await self.world.add_source(SOURCE, host=ecr.HOST)
        elsewhere = await self.world.add_registry(host=self.registry.host)
        return await self.submit(f"{self.registry.host}/team/long:1", elsewhere)

    async def attempts(self, job_id: str) -> list[tuple[str, str | None]]:
        """Return the outcome of each attempt, and the code of its error."""
        rows = await self.world.rows(
            "SELECT outcome, error->>'code' AS code FROM job_attempt WHERE job_id = %s"
            " ORDER BY attempt",
            job_id,
        )
        return [(row["outcome"], row["code"]) for row in rows]

    async def have_ended(self) -> bool:
        [row] = await self.world.rows(ENDED)
        return int(row["open"]) == 0

    async def outcomes(self) -> list[tuple[str, int]]:
        """Return each job's state and failures; of failed attempts also their errors."""
        failed = await self.world.rows(
            "SELECT job_id, error FROM job_attempt WHERE outcome IN ('failed', 'lost')"
        )
        assert failed == []
        rows = await self.world.rows("SELECT state, failures FROM job")
        return [(row["state"], row["failures"]) for row in rows]

    @asynccontextmanager
    async def control(self) -> AsyncIterator[asyncio.Task[None]]:
        """Control, with AWS at the fake; it dies with the block, in the midst of its work."""
        url = self.world.database.url("wharf_control")
        publisher = Publisher(self.plane.broker.url("control"))
        try:
            async with open_pool(url) as pool:
                control = Control(pool, self.world.keys, publisher)
                control._minting = Minting(pool, self.world.keys, Mint(self.named.client))
                async with listening(url, CHANNELS, control.on_notification):
                    running = asyncio.create_task(control.run())
                    yield running
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
        finally:
            publisher.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LocalRegistry]:
    if shutil.which("docker-registry") is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("there is no docker-registry here")
    started = LocalRegistry.start(tmp_path / "registry")
    yield started
    started.stop()


@pytest.fixture
async def scenario(
    plane: Plane, registry: LocalRegistry, tmp_path: Path
) -> AsyncIterator[Scenario]:
    aws = ecr.Aws(registry=registry.host)
    await RepositoryFixture(registry.host, "team/app").put("1", make_image(*LAYERS))
    server = await plane.world.add_server(transfer_limit=8)
    hosts = {ecr.API: aws.api, ecr.STS: aws.sts, ecr.HOST: aws.distribution}
    async with open_named(Authority(tmp_path), hosts) as named:
        worker = Worker(server, plane.world, named)
        running = asyncio.create_task(worker.run())
        found = Scenario(plane, aws, named, registry, worker)
        try:
            yield found
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await aws.close()


async def test_tokens_of_ten_seconds_fail_no_transfer_through_deaths_and_outages(
    scenario: Scenario,
) -> None:
    """A transfer every half second; AWS's API is down twice, control dies in between."""
    scenario.aws.life = timedelta(seconds=10)
    scenario.registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    begun = time.monotonic()

    async def submit_until(second: float) -> None:
        while time.monotonic() - begun < second:
            # Each to a repository of its own: the registry's storage is not safe for more at once.
            await scenario.submit(f"{ecr.HOST}/team/{make_id()}:1")
            await asyncio.sleep(0.5)

    async with scenario.control():
        await submit_until(6)
        scenario.aws.failure = lambda: web.Response(status=503)
        await submit_until(9)
        scenario.aws.failure = None
        await submit_until(14)
    await submit_until(16)
    async with scenario.control():
        await submit_until(20)
        scenario.aws.failure = lambda: web.Response(status=500)
        await submit_until(22.5)
        scenario.aws.failure = None
        await submit_until(28)
        await wait_until(scenario.have_ended, seconds=90)

    outcomes = await scenario.outcomes()
    assert len(outcomes) >= 20  # over all three lives of a token
    assert set(outcomes) == {("succeeded", 0)}
    assert scenario.aws.logins >= 4


async def test_a_transfer_that_outlives_its_tokens_gets_fresh_ones_and_goes_on(
    scenario: Scenario,
) -> None:
    scenario.aws.life = timedelta(seconds=8)
    job_id = await scenario.copy_slowly()
    async with scenario.control():
        await wait_until(scenario.have_ended, seconds=60)

    assert await scenario.outcomes() == [("succeeded", 0)]
    assert await scenario.attempts(job_id) == [("succeeded", None)]
    assert scenario.aws.ended == 0
    assert len(set(scenario.worker.seen)) > 1


async def test_a_transfer_whose_token_ends_while_control_is_dead_is_repeated(
    scenario: Scenario,
) -> None:
    scenario.aws.life = timedelta(seconds=4)
    job_id = await scenario.copy_slowly()
    async with scenario.control():
        await wait_until(lambda: bool(scenario.worker.seen))

    await wait_until(lambda: scenario.aws.ended > 0, seconds=30)
    async with scenario.control():
        await wait_until(scenario.have_ended, seconds=60)

    assert await scenario.outcomes() == [("succeeded", 0)]
    *earlier, last = await scenario.attempts(job_id)
    assert earlier
    assert set(earlier) == {("returned", "auth_expired")}
    assert last == ("succeeded", None)
    # A layer that has arrived is not fetched again.
    blobs = [line for line in scenario.named.requests if "GET" in line and "/blobs/" in line]
    assert len(blobs) < (len(earlier) + 1) * len(LAYERS)


async def test_a_stolen_server_holds_tokens_and_nowhere_is_the_secret(
    scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    wrong = SOURCE.model_copy(update={"access_key_id": "AKIAUNKNOWNEXAMPLE00"})
    await scenario.world.add_source(wrong, host=ecr.HOST)
    async with scenario.control():
        for number in range(3):
            await scenario.submit(f"{ecr.HOST}/team/copy-{number}:1")
        await wait_until(scenario.have_ended, seconds=90)

    assert set(await scenario.outcomes()) == {("succeeded", 0)}
    secret, tokens = spellings(ecr.SECRET, ecr.KEY_ID), set(scenario.aws.tokens)
    seen = "\n".join(scenario.worker.seen)
    assert any(token in seen for token in tokens)
    logged = "".join(capsys.readouterr())
    assert "login_not_renewed" in logged
    places = {
        "what the server saw": seen.encode(),
        "the log": logged.encode(),
        **broker_keys(scenario.plane.broker),
        **await dump(scenario.world),
    }
    assert leaks(places.items(), secret) == []
    del places["what the server saw"]
    clear = {token.encode() for token in tokens}
    assert leaks(places.items(), clear) == []


async def dump(world: World) -> dict[str, bytes]:
    """Every row of every table as text, by the table's name."""
    names = await world.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        row["tablename"]: repr(
            await world.rows(f"SELECT t::text FROM {row['tablename']} t")
        ).encode()
        for row in names
    }
