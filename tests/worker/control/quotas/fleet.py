"""A fleet of simulated servers: real control, real workers' code, simulated Engines."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel

from api.jobs import wait_reasons
from api.jobs.wait_reasons import Facts, choose_reason
from shared.database import listening, open_pool
from shared.jobs.commands import Command, ImagePull
from shared.jobs.store.sweep import AttemptMessage
from shared.networks import parse_networks
from shared.vault import KeyRing
from tests.worker.control.endpoints import ANYWHERE
from tests.worker.control.quotas.engines import SimulatedEngine, open_simulated_engine
from tests.world import EnrolledServer, World
from worker.control.main import CHANNELS, Control
from worker.control.scheduling.publish import Publisher
from worker.deployments.recovery import RecoveryJournal
from worker.deployments.tools import DeploymentTools
from worker.engine.transport.connection import Engine
from worker.images.pull_push_tag import pull
from worker.jobs.attempt import Attempt, run_attempt
from worker.jobs.functions import AttemptHeartbeat, Functions
from worker.jobs.workspaces import Workspaces
from worker.login import Grants
from worker.oci.transport.settings import ConnectionSettings

HEARTBEAT_SECONDS = 3.0
FACTS = str(wait_reasons.FACTS).replace(":job_ids", "%s").encode()


@dataclass(frozen=True)
class SimulatedTools(DeploymentTools):
    """A worker's tools that find the fakes of registries under their own names."""

    settings: ConnectionSettings = field(kw_only=True)

    async def connection_settings(self) -> ConnectionSettings:
        return replace(self.settings, quotas=self.quotas)


@dataclass
class SimulatedServer:
    """A server whose worker runs in this process."""

    enrolled: EnrolledServer
    functions: Functions
    tools: SimulatedTools
    engine: SimulatedEngine
    attempts: dict[str, Attempt] = field(default_factory=dict)

    async def run(self, message: AttemptMessage) -> None:
        """Run an attempt as a worker does."""
        attempt = self.attempts[message.job_id] = Attempt(message.job_id, message.attempt)
        try:
            await run_attempt(
                attempt,
                self.functions,
                KeyRing([self.enrolled.key]),
                self.enrolled.server_id,
                self._work,
            )
        finally:
            del self.attempts[message.job_id]

    async def send_heartbeats(self) -> None:
        while True:
            await self.functions.heartbeat(
                [
                    AttemptHeartbeat(job_id=one.job_id, attempt=one.number)
                    for one in self.attempts.values()
                ]
            )
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _work(self, command: Command, grants: Grants, attempt: Attempt) -> BaseModel:
        assert isinstance(command, ImagePull)
        return await pull(command, grants, attempt, replace(self.tools, quotas=attempt.quotas))


class HandingPublisher(Publisher):
    """A publisher that hands attempts to simulated servers, without a broker."""

    def __init__(self, group: asyncio.TaskGroup, servers: dict[str, SimulatedServer]) -> None:
        self._group = group
        self._servers = servers

    async def publish(self, messages: Sequence[AttemptMessage]) -> None:
        for message in messages:
            server = self._servers[message.server_id]
            if message.job_id not in server.attempts:
                self._group.create_task(server.run(message))


@dataclass
class Fleet:
    """The simulated servers of a world."""

    world: World
    servers: list[SimulatedServer]
    reasons: set[str] = field(default_factory=set)

    async def count(self, state: str) -> int:
        [row] = await self.world.rows("SELECT count(*) AS n FROM job WHERE state = %s", state)
        return int(row["n"])

    async def has_ended(self) -> bool:
        """Return whether all jobs have; keep the reason why the last one waits."""
        rows = await self.world.rows(
            "SELECT job_id FROM job WHERE finished_at IS NULL ORDER BY job_id DESC LIMIT 1"
        )
        if rows:
            cursor = await self.world.api.execute(FACTS, ([rows[0]["job_id"]],))
            for facts in await cursor.fetchall():
                del facts["job_id"]
                reason = choose_reason(Facts(**facts), None)
                self.reasons |= {reason.code} if reason else set()
        return not rows


@asynccontextmanager
async def open_fleet(
    world: World, number: int, settings: ConnectionSettings, directory: Path
) -> AsyncIterator[Fleet]:
    """Run control and so many servers during the block."""
    async with AsyncExitStack() as stack:
        for n in range(number):
            (directory / str(n)).mkdir(parents=True)
        servers = [
            await _open_server(stack, world, settings, directory / str(n)) for n in range(number)
        ]
        url = world.database.url("wharf_control")
        pool = await stack.enter_async_context(open_pool(url))
        async with asyncio.TaskGroup() as group:
            by_id = {server.enrolled.server_id: server for server in servers}
            control = Control(
                pool, world.keys, HandingPublisher(group, by_id), webhook_networks=ANYWHERE
            )
            running = group.create_task(control.run())
            beating = [group.create_task(server.send_heartbeats()) for server in servers]
            async with listening(url, CHANNELS, control.on_notification):
                yield Fleet(world, servers)
            for task in beating:
                task.cancel()
            control.stop()
            await running


async def _open_server(
    stack: AsyncExitStack, world: World, settings: ConnectionSettings, directory: Path
) -> SimulatedServer:
    enrolled = await world.add_server()
    simulated, scripted = await stack.enter_async_context(
        open_simulated_engine(directory, settings)
    )
    engine = await stack.enter_async_context(Engine.open(scripted.docker_host))
    tools = SimulatedTools(
        engine,
        parse_networks("loopback"),
        Workspaces.open(directory / "builds"),
        journal=RecoveryJournal(engine, directory / "begun.json"),
        settings=settings,
    )
    return SimulatedServer(enrolled, enrolled.functions("first"), tools, simulated)
