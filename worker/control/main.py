"""``wharf control``: release what is due, ring its server, sweep; any number of replicas."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version

import psycopg
import redis.asyncio
import structlog
from psycopg_pool import PoolTimeout

from shared.coroutines import heard
from shared.database import Connection, Pool, listening, open_pool
from shared.errors import SetupError, WharfError
from shared.faults import Fault
from shared.ids import make_id
from shared.jobs.store.pin import pin
from shared.jobs.store.release import Released, give_login, refuse, release
from shared.jobs.store.sweep import Ring, sweep
from shared.logs import configure_logs
from shared.networks import RegistryNetworks, parse_webhook_networks
from shared.settings import DEFAULT_WEBHOOK_NETWORKS, ControlSettings, load
from shared.vault import KeyRing
from shared.versions import require_postgres
from worker.broker import require_broker
from worker.control.approval import approve_all
from worker.control.broker_users import BrokerUsers, read_servers
from worker.control.broker_watch import look_at_broker, open_broker
from worker.control.builds import settle_builds
from worker.control.claims import recheck
from worker.control.context_tokens import keep_token, make_token
from worker.control.deliveries import HINT, Deliveries
from worker.control.deployments import settle_deployments
from worker.control.grants import seal_grants
from worker.control.prune import prune
from worker.control.publish import Publisher
from worker.control.put_back import put_back
from worker.control.retention import Retention, forget
from worker.control.roles import Roles
from worker.control.rollbacks import tend_points, write_points
from worker.oci.settings import ConnectionSettings

POOL_CONNECTIONS = 5
"""One for each thing that `Control` does beside the others."""

SWEEP_SECONDS = 1.0
GATE_SECONDS = 0.02
SHORTEST_SECONDS = 0.01
"""Between two looks, however many hints there are: anybody with a role can send them."""
RELEASE = "wharf_release"
"""There is a job to be released."""

SETTLE = "wharf_settle"
"""A job of a deployment has ended, and so may the deployment have."""

HINTS = (RELEASE, SETTLE, HINT)
WEBHOOK_NETWORKS = parse_webhook_networks(DEFAULT_WEBHOOK_NETWORKS)
SEEN = """
INSERT INTO control (control_id, version) VALUES (%s, %s)
ON CONFLICT (control_id) DO UPDATE SET seen_at = now()
"""
BROKER = "UPDATE control SET broker_error = %s, broker_memory = %s WHERE control_id = %s"
UNREADABLE = Fault(
    code="command_unreadable",
    message="the stored command is not one that this version of control knows",
    remedy="Update control, then ask again.",
)

log = structlog.get_logger()


@dataclass
class Control:
    """One control process: a hint or a second passing makes it look at everything again."""

    pool: Pool
    vault: KeyRing
    publisher: Publisher
    retention: Retention = field(default_factory=Retention)
    broker_users: BrokerUsers | None = None
    broker: "redis.asyncio.Redis | None" = None
    webhook_networks: RegistryNetworks = WEBHOOK_NETWORKS
    auto_approve: bool = False
    control_id: str = field(default_factory=make_id)
    _roles: Roles = field(default_factory=Roles)
    _stopping: bool = False
    _hinted: asyncio.Event = field(default_factory=asyncio.Event)
    _swept: asyncio.Event = field(default_factory=asyncio.Event)
    _tended: asyncio.Event = field(default_factory=asyncio.Event)
    _pruned: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        settings = ConnectionSettings(self.webhook_networks)
        self._deliveries = Deliveries(self.pool, self.vault, settings)

    async def run(self) -> None:
        """Release, settle and deliver on hints; sweep and tend every second; prune."""
        try:
            await self._run()
        finally:
            await self._deliveries.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self._release, self._hinted))
            group.create_task(self._repeat(self._sweep, self._swept))
            group.create_task(self._repeat(self._tend, self._tended))
            group.create_task(self._repeat(self._prune, self._pruned))
            group.create_task(self._repeat(self._deliveries.look, self._deliveries.news))

    def stop(self) -> None:
        self._stopping = True
        for event in (self._hinted, self._swept, self._tended, self._pruned):
            event.set()
        self._deliveries.news.set()

    def hear(self, channel: str, _payload: str) -> None:
        """A hint is untrusted: it only says that there may be something to see."""
        if channel in {RELEASE, ""}:
            self._hinted.set()
        if channel in {SETTLE, ""}:
            self._swept.set()
        if channel in {HINT, ""}:
            self._deliveries.news.set()

    async def _repeat(self, step: Callable[[], Awaitable[float]], hint: asyncio.Event) -> None:
        while not self._stopping:
            try:
                pause = await step()
            except (psycopg.Error, PoolTimeout, OSError) as error:
                log.warning("database_away", error=type(error).__name__)
                pause = SWEEP_SECONDS
            await asyncio.sleep(SHORTEST_SECONDS)
            await heard(hint, pause)
            hint.clear()

    async def _release(self) -> float:
        async with self.pool.connection() as connection, connection.transaction():
            jobs = await release(connection)
            # One round trip for all of them: others wait at the gate meanwhile.
            async with connection.pipeline():
                given = [job for job in jobs or () if await self._give(connection, job)]
        for job in given:
            log.info("released", job_id=job.job_id, attempt=job.attempt, server=job.server_id)
        await self.publisher.ring(
            [Ring(job.job_id, job.server_id, job.kind, job.attempt) for job in given]
        )
        # Where something was released there may be more that had no room in this look.
        return SWEEP_SECONDS if jobs == [] else GATE_SECONDS

    async def _give(self, connection: Connection, job: Released) -> bool:
        """Whether the job has what it needs now; one that cannot get it ends here, alone."""
        try:
            job = await recheck(connection, await pin(connection, job))
            token = make_token(job)
            sealed = seal_grants(self.vault, job, token)
        except (WharfError, ValueError) as error:
            fault = error.fault() if isinstance(error, WharfError) else UNREADABLE
            log.warning("no_login", job_id=job.job_id, code=fault.code)
            await refuse(connection, job, fault)
            return False
        if sealed is not None:
            await give_login(connection, job, sealed)
        if token is not None:
            await keep_token(connection, job, token)
        return True

    async def _sweep(self) -> float:
        async with self.pool.connection() as connection:
            await connection.execute(SEEN, (self.control_id, version("wharfinger")))
            rings = await sweep(connection)
            await settle_builds(connection)
            await settle_deployments(connection)
            await put_back(connection)
            await write_points(connection)
        await self.publisher.ring(rings)
        return SWEEP_SECONDS

    async def _tend(self) -> float:
        if self.broker_users is not None:
            # First: a worker whose role is made goes to the broker next.
            async with self.pool.connection() as connection:
                servers = await read_servers(connection)
            await self.broker_users.tend(servers)
        async with self.pool.connection() as connection:
            await self._roles.tend(connection)
            if self.auto_approve:
                await approve_all(connection)
        if self.broker is not None:
            state = await look_at_broker(self.broker)
            async with self.pool.connection() as connection:
                values = (state.error, state.memory, self.control_id)
                await connection.execute(BROKER, values)
        return SWEEP_SECONDS

    async def _prune(self) -> float:
        async with self.pool.connection() as connection:
            await tend_points(connection)
            await prune(connection)
            return await forget(connection, self.retention)


async def run(settings: ControlSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        SetupError: PostgreSQL or the broker is too old.
    """
    vault = KeyRing.parse(settings.vault_private_key.get_secret_value())
    networks = parse_webhook_networks(settings.webhook_networks)
    publisher = Publisher(settings.broker_url.get_secret_value())
    try:
        admin_url = settings.broker_admin_url
        broker_url = (admin_url or settings.broker_url).get_secret_value()
        async with (
            open_pool(settings.url, size=POOL_CONNECTIONS) as pool,
            open_broker(broker_url) as broker,
        ):
            async with pool.connection() as connection:
                require_postgres(connection)
            await require_broker(settings.broker_url.get_secret_value())
            users = BrokerUsers(broker) if admin_url is not None else None
            control = Control(
                *(pool, vault, publisher, _retention(settings), users, broker, networks),
                auto_approve=settings.auto_approve,
            )
            for sign in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(sign, control.stop)
            async with listening(settings.direct_url, HINTS, control.hear):
                log.info("control_started", control=control.control_id)
                await control.run()
    finally:
        publisher.close()


def _retention(settings: ControlSettings) -> Retention:
    return Retention(
        jobs=timedelta(days=settings.job_retention_days),
        events=timedelta(days=settings.event_retention_days),
    )


def main() -> None:
    configure_logs("control")
    try:
        asyncio.run(run(load(ControlSettings, os.environ)))
    except SetupError as error:
        sys.exit(f"wharf control: {error.message}. {error.remedy}".rstrip())


if __name__ == "__main__":
    main()
