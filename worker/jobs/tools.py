"""The tools of every handler: the server's Engine, and the way to registries."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from shared.errors import EngineError, RefusedNetworkError, RegistryError, WharfError
from shared.faults import FaultCode
from shared.jobs.diagnosis import Right
from shared.networks import RegistryNetworks
from shared.reference import HUB, Reference, parse_registry
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.jobs.clean_ups import CleanUps
from worker.jobs.engine_certificates import EngineCertificates
from worker.jobs.engine_view import EngineView
from worker.jobs.joblog import LogSender
from worker.jobs.verdicts import PLACE_CODES
from worker.jobs.workspaces import Workspaces
from worker.login import EngineLogin, Login
from worker.oci.destinations import Destinations
from worker.oci.images.attached_manifests import ABSENT
from worker.oci.providers.quotas import QuotaLog
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.transport.settings import ConnectionSettings
from worker.progress import TransferProgress

IDLE = timedelta(seconds=60)
"""A transfer without progress for this time is stalled; the Engine itself retries for 25 s."""

ENGINE_PAUSE_SECONDS = 0.5
LOOKUP_SECONDS = 1.8
LOOKUP_PAUSES = (0.0, 0.2, 0.3, 0.5)
"""The pauses between lookups at the registry after a cancel, which ends within five seconds.

An abandoned Engine request may have sent the tag, and a registry takes a moment to write it.
"""

ENGINE_SECONDS = 30.0
"""The longest wait of a cancelled push for an Engine that does not answer."""


def log_sender(attempt: Attempt) -> LogSender:
    """Return a function that stores pieces of a log as events of the attempt's job."""

    async def send(number: int, piece: Mapping[str, str]) -> None:
        if attempt.write_event is not None:
            await attempt.write_event(number, "log", piece)

    return send


@dataclass
class TransferCount:
    """The number of transfers that the Engine is busy with, by right.

    It sends five layers at a time and fetches three, and repeats a failed one for a minute: a good
    transfer may wait for failing ones.
    """

    running: Counter[Right] = field(default_factory=Counter)

    def others(self, right: Right) -> int:
        """Return how many run beside the one that asks."""
        return max(self.running[right] - 1, 0)

    @contextlib.contextmanager
    def counting(self, right: Right) -> Iterator[None]:
        """Count one more within the block."""
        self.running[right] += 1
        try:
            yield
        finally:
            self.running[right] -= 1


@dataclass(frozen=True)
class Tools:
    """The Engine of this server, the networks of registries and the folders of builds.

    Uploaded contexts are fetched from ``api_url``, which ``ca_file`` verifies. ``destinations``
    decides which logins the Engine may be given, ``engine_certificates`` stores those of registries
    for it. One scanner runs at a time, with ``scanner_lock``: they lock their database, which they
    may also download. ``quotas`` is the log of the attempt that uses the tools.
    """

    engine: Engine
    networks: RegistryNetworks
    workspaces: Workspaces
    api_url: str | None = None
    ca_file: Path | None = None
    destinations: Destinations = field(default_factory=Destinations)
    engine_view: EngineView = field(default_factory=EngineView)
    transfers: TransferCount = field(default_factory=TransferCount)
    clean_ups: CleanUps = field(default_factory=CleanUps)
    quotas: QuotaLog = field(default_factory=QuotaLog)
    engine_certificates: EngineCertificates = field(default_factory=EngineCertificates)
    scanner_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def connection_settings(self) -> ConnectionSettings:
        """Return how registries are reached, as the Engine is configured."""
        settings = await self.engine_view.settings(self.engine, self.networks)
        return replace(settings, quotas=self.quotas)

    def recent_settings(self) -> ConnectionSettings | None:
        """Return how registries were reached some seconds ago, if that is known."""
        recent = self.engine_view.recent(self.networks)
        return recent and replace(recent, quotas=self.quotas)

    async def engine_login(self, login: Login | None, target: Reference) -> EngineLogin | None:
        """Return the login for the Engine after checking where ``target``'s registry sends it.

        Certificates of the registry are stored for the Engine first, if the registry says so.
        If Docker Hub cannot be reached and the Engine has mirrors, it gets no login: it pulls from
        a mirror, for which the login is not.

        Raises:
            RefusedNetworkError: the registry's address is not allowed here.
            RegistryError: ``auth_unsafe_realm``, or the registry cannot be asked.
        """
        if login is None or not (login.username or login.secret.get_secret_value()):
            return None
        await self.engine_certificates.install(login)
        try:
            return await self.destinations.require_safe(login, target, self.connection_settings)
        except RegistryError as error:
            if error.code in PLACE_CODES and await self._has_mirrors_of(target.registry):
                return None
            raise error.within("the Docker Engine is given no login") from error

    async def _has_mirrors_of(self, registry: str) -> bool:
        return registry == HUB and bool((await self.connection_settings()).mirrors)

    async def confirm(self, reference: Reference, login: Login | None) -> Descriptor:
        """Return the descriptor that the registry itself holds under this reference.

        If only the Engine reaches the registry, by its proxy for example, the Engine asks it.
        """
        settings = await self.connection_settings()
        try:
            async with RegistryClient(
                parse_registry(reference.registry), login, settings
            ) as registry:
                return await manifests.describe(registry, reference.repository, reference.target)
        except (RegistryError, RefusedNetworkError) as error:
            if error.code not in PLACE_CODES:
                raise
        found = await images.distribution(
            self.engine, reference, await self.engine_login(login, reference)
        )
        return Descriptor(found.media_type, found.digest, found.size_bytes)

    async def wait_for_engine(self, operation: str) -> None:
        """Return once the Engine answers: it has then ended the requests that were cancelled.

        An Engine that stands still goes on with such a request until it notices the cancel.

        Raises:
            EngineError: ``engine_unreachable``, no answer within `ENGINE_SECONDS`.
        """
        try:
            async with asyncio.timeout(ENGINE_SECONDS):
                while True:
                    with contextlib.suppress(EngineError):
                        return await self.engine.ping()
                    await asyncio.sleep(ENGINE_PAUSE_SECONDS)
        except TimeoutError as error:
            raise EngineError(
                FaultCode.ENGINE_UNREACHABLE,
                f"{operation} was cancelled, but the Docker Engine at {self.engine.docker_host} "
                "does not answer and may still complete it",
            ) from error

    async def find_image_digest(
        self, reference: Reference, login: Login | None, image_id: str
    ) -> str | None:
        """Return the digest if the registry holds exactly that image, else ``None``.

        It is ``None`` too if the registry does not answer. The lookup takes `LOOKUP_SECONDS`
        at most.
        """
        with contextlib.suppress(WharfError, TimeoutError):
            async with asyncio.timeout(LOOKUP_SECONDS):
                settings = await self.connection_settings()
                host = parse_registry(reference.registry)
                async with RegistryClient(host, login, settings) as registry:
                    for pause in LOOKUP_PAUSES:
                        await asyncio.sleep(pause)
                        held = await _find_manifest(registry, reference)
                        if held is not None:
                            return held.descriptor.digest if held.is_of(image_id) else None
        return None


async def _find_manifest(registry: RegistryClient, reference: Reference) -> Manifest | None:
    try:
        return await manifests.fetch(registry, reference.repository, reference.target)
    except RegistryError as error:
        if error.code not in ABSENT:
            raise
        return None


def progress_recorder(attempt: Attempt) -> Callable[[TransferProgress], None]:
    """Return a function that keeps the newest progress for the next heartbeat."""

    def on_progress(progress: TransferProgress) -> None:
        attempt.progress = progress.as_json()

    return on_progress
