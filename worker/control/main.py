"""``wharf control``: release due jobs, and run the maintenance services; any number of replicas."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import redis.asyncio
import structlog

from shared.database import Pool, listening, open_pool
from shared.errors import SetupError, in_sentences
from shared.ids import make_id
from shared.logs import configure_logs
from shared.networks import RegistryNetworks, parse_networks, parse_webhook_networks
from shared.settings import (
    DEFAULT_NETWORKS,
    DEFAULT_WEBHOOK_NETWORKS,
    ControlSettings,
    load,
    read_setting,
)
from shared.vault import KeyRing
from shared.versions.broker import require_broker
from shared.versions.oldest import require_postgres
from worker.control.access.approval import APPROVE_ALL
from worker.control.access.broker_state import BrokerWatch, open_broker
from worker.control.access.broker_users import BrokerUsers
from worker.control.access.database_roles import DatabaseRoles
from worker.control.audit.archive import Archive
from worker.control.audit.chaining import CHAIN_ENTRIES
from worker.control.audit.destinations import Destination, parse_destinations
from worker.control.audit.forwarding import Forwarding
from worker.control.audit.signing import Checkpoints
from worker.control.credentials import logins_in_flight
from worker.control.credentials.google_keys import GoogleKeys
from worker.control.credentials.logins_of_tests import LoginsOfTests
from worker.control.credentials.minting import Minting
from worker.control.credentials.missing_repositories import MissingRepositories
from worker.control.credentials.rotations import Rotations
from worker.control.maintenance.accepted_logins import ACCEPT_LOGINS
from worker.control.maintenance.automatic_rollback import ROLL_BACK
from worker.control.maintenance.builds import RECONCILE_BUILDS
from worker.control.maintenance.credential_events import TELL_CREDENTIAL_EVENTS
from worker.control.maintenance.deployments import RECONCILE_DEPLOYMENTS
from worker.control.maintenance.expired_rows import EXPIRED_ROWS
from worker.control.maintenance.heartbeat import Heartbeat
from worker.control.maintenance.job_statistics import COUNT_ENDED_JOBS
from worker.control.maintenance.retention import Retention
from worker.control.maintenance.rollback_points import RECONCILE_POINTS, WRITE_POINTS
from worker.control.maintenance.signature_checks import SignatureChecks
from worker.control.maintenance.verification import Verification
from worker.control.providers.aws.machine import MachineIdentity
from worker.control.providers.mint import Mint
from worker.control.providers.provider import HttpClient
from worker.control.scheduling.publish import Publisher
from worker.control.scheduling.release import Releases
from worker.control.scheduling.sweep import Sweep
from worker.control.service import Runner, Service, Statistics
from worker.control.webhooks.deliveries import CHANNEL as NEW_DELIVERY
from worker.control.webhooks.deliveries import Deliveries
from worker.oci.transport.settings import ConnectionSettings

POOL_CONNECTIONS = 8
"""One for each runner."""

JOB_TO_RELEASE = "wharf_release"
JOB_OF_DEPLOYMENT_ENDED = "wharf_deployment"
LOGIN_DUE = "wharf_credential"
ROTATION_DUE = "wharf_rotation"
CHANNELS = (JOB_TO_RELEASE, JOB_OF_DEPLOYMENT_ENDED, NEW_DELIVERY, LOGIN_DUE, ROTATION_DUE)
"""Channels of LISTEN/NOTIFY. Any role can notify, so a notification only starts a round early."""

REGISTRY_NETWORKS = parse_networks(DEFAULT_NETWORKS)
WEBHOOK_NETWORKS = parse_webhook_networks(DEFAULT_WEBHOOK_NETWORKS)

log = structlog.get_logger()


@dataclass
class Control:
    """One control process: concurrent runners, each of which runs its services in order."""

    pool: Pool
    vault: KeyRing
    publisher: Publisher
    retention: Retention = field(default_factory=Retention)
    broker_users: BrokerUsers | None = None
    broker: "redis.asyncio.Redis | None" = None
    webhook_networks: RegistryNetworks = WEBHOOK_NETWORKS
    registry_networks: RegistryNetworks = REGISTRY_NETWORKS
    auto_approve: bool = False
    machine: MachineIdentity = field(default_factory=MachineIdentity)
    audit_archive: Archive | None = None
    audit_destinations: Sequence[Destination] = ()
    control_id: str = field(default_factory=make_id)

    def __post_init__(self) -> None:
        settings = ConnectionSettings(self.webhook_networks)
        self._deliveries = Deliveries(self.pool, self.vault, settings)
        providers = HttpClient(ConnectionSettings(self.registry_networks))
        mint = Mint(providers, self.machine)
        self._minting = Minting(self.pool, self.vault, mint)
        self._logins_of_tests = LoginsOfTests(self.pool, self.vault, mint)
        self._repositories = MissingRepositories(self.pool, self.vault, mint)
        self._rotations = Rotations(self.vault, mint)
        self._runners: dict[str, Runner] = {}

    @property
    def runners(self) -> dict[str, Runner]:
        """Return the runners by name; they are made at first use, after all fields are set."""
        if not self._runners:
            self._runners = {
                "release": Runner(
                    self.pool,
                    [
                        GoogleKeys(self.vault).service(),
                        Releases(self.vault, self.publisher).service(),
                    ],
                ),
                "outcomes": Runner(self.pool, self._outcomes()),
                "access": Runner(self.pool, self._access()),
                "retention": Runner(
                    self.pool, [RECONCILE_POINTS, EXPIRED_ROWS, self.retention.service()]
                ),
                "deliveries": Runner(
                    self.pool, [self._deliveries.service()], self._deliveries.notification
                ),
                "minting": Runner(
                    self.pool,
                    [
                        self._minting.service(),
                        logins_in_flight.make_service(self.vault),
                        self._logins_of_tests.service(),
                        self._repositories.service(),
                    ],
                    self._minting.notification,
                ),
                "rotations": Runner(self.pool, [self._rotations.service()]),
                "verification": Runner(self.pool, [self._verification()]),
                "signature_checks": Runner(self.pool, [self._signature_checks()]),
                "statistics": Runner(self.pool, [COUNT_ENDED_JOBS]),
                "accepted_logins": Runner(self.pool, [ACCEPT_LOGINS]),
                "credential_events": Runner(self.pool, [TELL_CREDENTIAL_EVENTS]),
                "audit": Runner(self.pool, self._audit()),
            }
            if self.audit_destinations:
                forwarding = Forwarding(self.audit_destinations).service()
                self._runners["audit_forwarding"] = Runner(self.pool, [forwarding])
        return self._runners

    async def run(self) -> None:
        """Run all services until `stop` is called."""
        try:
            async with asyncio.TaskGroup() as group:
                for runner in self.runners.values():
                    group.create_task(runner.run())
        finally:
            await self._logins_of_tests.tasks.close()
            await self._repositories.tasks.close()
            await self._minting.close()
            await self._deliveries.close()

    def stop(self) -> None:
        for runner in self.runners.values():
            runner.stop()

    def on_notification(self, channel: str, _payload: str) -> None:
        """Start a round; an empty channel means that notifications may have been missed."""
        runners = {
            "release": JOB_TO_RELEASE,
            "signature_checks": JOB_TO_RELEASE,
            "outcomes": JOB_OF_DEPLOYMENT_ENDED,
            "deliveries": NEW_DELIVERY,
            "minting": LOGIN_DUE,
            "rotations": ROTATION_DUE,
        }
        for name, known in runners.items():
            if channel in {known, ""}:
                self.runners[name].notification.set()

    def statistics(self) -> dict[str, Statistics]:
        """Return the statistics of each service, by its name."""
        return {
            name: statistics
            for runner in self.runners.values()
            for name, statistics in runner.statistics.items()
        }

    def _outcomes(self) -> list[Service]:
        return [
            Heartbeat(self.control_id, self.statistics).service(),
            Sweep(self.publisher).service(),
            RECONCILE_BUILDS,
            RECONCILE_DEPLOYMENTS,
            ROLL_BACK,
            WRITE_POINTS,
        ]

    def _access(self) -> list[Service]:
        services = [DatabaseRoles().service()]
        if self.broker_users is not None:
            # First: a worker connects to the broker as soon as its role exists.
            services.insert(0, self.broker_users.service())
        if self.auto_approve:
            services.append(APPROVE_ALL)
        if self.broker is not None:
            services.append(BrokerWatch(self.broker, self.control_id).service())
        return services

    def _audit(self) -> list[Service]:
        archive = [] if self.audit_archive is None else [self.audit_archive.service()]
        return [CHAIN_ENTRIES, Checkpoints(self.vault).service(), *archive]

    def _signature_checks(self) -> Service:
        return SignatureChecks(self.vault, ConnectionSettings(self.registry_networks)).service()

    def _verification(self) -> Service:
        return Verification(self.vault, ConnectionSettings(self.registry_networks)).service()


async def run(settings: ControlSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        SetupError: PostgreSQL or the broker is too old.
    """
    vault = KeyRing.parse(
        settings.vault_private_key.get_secret_value(),
        partial(read_setting, "WHARF_VAULT_PRIVATE_KEY", dict(os.environ)),
    )
    token = settings.audit_forward_token
    destinations = parse_destinations(
        settings.audit_forward, None if token is None else token.get_secret_value()
    )
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
            control = Control(
                pool,
                vault,
                publisher,
                _retention(settings),
                BrokerUsers(broker) if admin_url is not None else None,
                broker,
                parse_webhook_networks(settings.webhook_networks),
                parse_networks(settings.registry_networks),
                auto_approve=settings.auto_approve,
                machine=MachineIdentity(
                    is_allowed=settings.machine_identity, environment=dict(os.environ)
                ),
                audit_archive=_audit_archive(settings, vault, destinations),
                audit_destinations=destinations,
            )
            for stop_signal in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(stop_signal, control.stop)
            async with listening(settings.direct_url, CHANNELS, control.on_notification):
                log.info("control_started", control=control.control_id)
                await control.run()
    finally:
        publisher.close()


def _retention(settings: ControlSettings) -> Retention:
    return Retention(
        jobs=timedelta(days=settings.job_retention_days),
        events=timedelta(days=settings.event_retention_days),
    )


def _audit_archive(
    settings: ControlSettings, vault: KeyRing, destinations: Sequence[Destination]
) -> Archive | None:
    """Return the archive of old entries.

    Raises:
        SetupError: its directory cannot be written.
    """
    directory = settings.audit_archive_dir
    if directory is None:
        return None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise SetupError(
            f"WHARF_AUDIT_ARCHIVE_DIR cannot be written: {directory}",
            remedy="Make the directory, and give it to the user that runs wharf control.",
        )
    names = [one.name for one in destinations]
    return Archive(vault, directory, timedelta(days=settings.audit_retention_days), names)


def main() -> None:
    configure_logs("control")
    try:
        asyncio.run(run(load(ControlSettings, os.environ)))
    except SetupError as error:
        sys.exit(f"wharf control: {in_sentences(error.message, error.remedy)}")


if __name__ == "__main__":
    main()
