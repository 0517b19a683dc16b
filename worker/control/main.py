"""``wharf control``: release what is due, ring its server, sweep; any number of replicas."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version

import redis.asyncio
import structlog

from shared.coroutines import heard
from shared.database import Connection, Pool, listening, open_pool
from shared.errors import SetupError
from shared.ids import make_id
from shared.jobs.store.sweep import sweep
from shared.logs import configure_logs
from shared.networks import RegistryNetworks, parse_networks, parse_webhook_networks
from shared.settings import DEFAULT_NETWORKS, DEFAULT_WEBHOOK_NETWORKS, ControlSettings, load
from shared.vault import KeyRing
from shared.versions import require_postgres
from worker.broker import require_broker
from worker.control.access.approval import approve_all
from worker.control.access.broker_state import BrokerState, look_at_broker, open_broker
from worker.control.access.broker_users import BrokerUsers
from worker.control.access.database_roles import Roles
from worker.control.maintenance.automatic_rollback import put_back
from worker.control.maintenance.builds import settle_builds
from worker.control.maintenance.deployments import settle_deployments
from worker.control.maintenance.expired_rows import prune
from worker.control.maintenance.retention import IDLE_SECONDS, Retention, forget
from worker.control.maintenance.rollback_points import tend_points, write_points
from worker.control.maintenance.service import Service, Services, Work, with_connection
from worker.control.maintenance.verification import SERVICE as VERIFY_DIGESTS
from worker.control.maintenance.verification import Verification
from worker.control.scheduling.publish import Publisher
from worker.control.scheduling.release import Releases
from worker.control.webhooks.deliveries import HINT, Deliveries
from worker.oci.transport.settings import ConnectionSettings

POOL_CONNECTIONS = 6
"""One for each thing that `Control` does beside the others."""

SECOND = 1.0
SHORTEST_SECONDS = 0.01
"""Between two looks, however many hints there are: anybody with a role can send them."""
RELEASE = "wharf_release"
"""There is a job to be released."""

SETTLE = "wharf_settle"
"""A job of a deployment has ended, and so may the deployment have."""

HINTS = (RELEASE, SETTLE, HINT)
WEBHOOK_NETWORKS = parse_webhook_networks(DEFAULT_WEBHOOK_NETWORKS)
REGISTRY_NETWORKS = parse_networks(DEFAULT_NETWORKS)
# What a restore is noticed by: see restore.sql.
RAISE = """
UPDATE database_epoch SET counter = counter + 1, raised_at = now()
 WHERE ended_at IS NULL AND raised_at < now() - interval '10 seconds'
"""
SEEN = (
    f"WITH raised AS ({RAISE})"  # noqa: S608 - ours
    """
INSERT INTO control (control_id, version) VALUES (%s, %s)
ON CONFLICT (control_id) DO UPDATE SET seen_at = now()
"""
)
BROKER = "UPDATE control SET broker_error = %s, broker_memory = %s WHERE control_id = %s"

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
    registry_networks: RegistryNetworks = REGISTRY_NETWORKS
    auto_approve: bool = False
    control_id: str = field(default_factory=make_id)
    _roles: Roles = field(default_factory=Roles)
    _broker_state: BrokerState | None = None
    _stopping: bool = False
    _hinted: asyncio.Event = field(default_factory=asyncio.Event)
    _swept: asyncio.Event = field(default_factory=asyncio.Event)
    _tended: asyncio.Event = field(default_factory=asyncio.Event)
    _pruned: asyncio.Event = field(default_factory=asyncio.Event)
    _verified: asyncio.Event = field(default_factory=asyncio.Event)

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
            for services, event in self.services():
                group.create_task(self._repeat(services, event))

    def stop(self) -> None:
        self._stopping = True
        for event in (self._hinted, self._swept, self._tended, self._pruned, self._verified):
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

    async def _repeat(self, services: Services, hint: asyncio.Event) -> None:
        while not self._stopping:
            pause = await services.look()
            await asyncio.sleep(SHORTEST_SECONDS)
            await heard(hint, pause)
            hint.clear()

    def services(self) -> list[tuple[Services, asyncio.Event]]:
        """What runs beside each other, each with the event that says to look at once."""
        return [
            (self._releasing(), self._hinted),
            (self._sweeping(), self._swept),
            (self._tending(), self._tended),
            (self._pruning(), self._pruned),
            (self._delivering(), self._deliveries.news),
            (self._verifying(), self._verified),
        ]

    def _releasing(self) -> Services:
        releases = Releases(self.pool, self.vault, self.publisher)
        return Services(self.pool, [Service("release", releases.look)])

    def _sweeping(self) -> Services:
        return self._services(
            SECOND,
            seen=self._seen,
            sweep=self._sweep,
            settle_builds=settle_builds,
            settle_deployments=settle_deployments,
            put_back=put_back,
            write_points=write_points,
        )

    def _tending(self) -> Services:
        works: dict[str, Work] = {}
        if self.broker_users is not None:
            # First: a worker whose role is made goes to the broker next.
            works["broker_users"] = self.broker_users.tend_servers
        works["roles"] = self._roles.tend
        if self.auto_approve:
            works["approve"] = approve_all
        if self.broker is not None:
            works["broker"] = self._look_at_broker
        return self._services(SECOND, **works)

    def _pruning(self) -> Services:
        works = {"tend_points": tend_points, "prune": prune, "retention": self._forget}
        return self._services(IDLE_SECONDS, **works)

    def _delivering(self) -> Services:
        return Services(self.pool, [Service("deliveries", self._deliveries.look)])

    def _verifying(self) -> Services:
        settings = ConnectionSettings(self.registry_networks)
        verification = Verification(self.pool, self.vault, settings)
        return Services(self.pool, [Service(VERIFY_DIGESTS, verification.look)])

    def _services(self, interval: float, **works: Work) -> Services:
        services = [
            Service(name, with_connection(self.pool, work), timedelta(seconds=interval))
            for name, work in works.items()
        ]
        return Services(self.pool, services)

    async def _seen(self, connection: Connection) -> None:
        await connection.execute(SEEN, (self.control_id, version("wharfinger")))

    async def _look_at_broker(self, connection: Connection) -> None:
        assert self.broker is not None  # noqa: S101 - else this is no service
        state = await look_at_broker(self.broker)
        if state != self._broker_state:
            values = (state.error, state.memory, self.control_id)
            if (await connection.execute(BROKER, values)).rowcount:
                self._broker_state = state

    async def _sweep(self, connection: Connection) -> None:
        await self.publisher.ring(await sweep(connection))

    async def _forget(self, connection: Connection) -> float:
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
                registry_networks=parse_networks(settings.registry_networks),
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
