"""What every handler works with: the server's Engine, and how it may reach registries."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from shared.errors import RegistryError, WharfError
from shared.networks import RegistryNetworks
from shared.reference import Reference, parse_registry
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.jobs.joblog import Send
from worker.jobs.workspaces import Workspaces
from worker.login import EngineLogin, Login
from worker.oci.copy import ABSENT
from worker.oci.destinations import Destinations
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.transport.settings import ConnectionSettings, EngineProxy
from worker.progress import TransferProgress

IDLE = timedelta(seconds=60)
"""A transfer in which no byte moves for so long is stalled: the Engine itself retries for 25 s."""

LOOK_SECONDS = 1.8
LOOKS = (0.0, 0.2, 0.3, 0.5)
"""Pauses between looks at the registry after a cancel, which has to be over within five.

An Engine that was let go may just have sent the tag, and a registry takes a moment to write it.
"""


def sender(attempt: Attempt) -> Send:
    """Stores pieces of a log as events of the attempt's job."""

    async def send(number: int, piece: Mapping[str, str]) -> None:
        if attempt.say is not None:
            await attempt.say(number, "log", piece)

    return send


@dataclass(frozen=True)
class Tools:
    """What works on this server and where: its Engine, registries' networks, builds' folders.

    ``api_url`` is where uploaded contexts are fetched; ``destinations`` decides which logins the
    Engine may be given.
    """

    engine: Engine
    networks: RegistryNetworks
    workspaces: Workspaces
    api_url: str | None = None
    destinations: Destinations = field(default_factory=Destinations)

    async def connection_settings(self) -> ConnectionSettings:
        """How registries are reached: plain HTTP only where this server's Engine lists it.

        Raises:
            EngineError: the Engine does not answer, so its list is not known.
        """
        info = await self.engine.info()
        return ConnectionSettings(
            self.networks,
            frozenset(info.insecure_registries),
            proxy=EngineProxy(info.https_proxy, info.no_proxy),
        )

    async def for_engine(self, login: Login | None, target: Reference) -> EngineLogin | None:
        """The login for the Engine, once it was seen where a pull or push of ``target`` sends it.

        Raises:
            RefusedNetworkError: an address that a registry may not have here.
            RegistryError: ``auth_unsafe_realm``, or why the registry cannot be asked.
        """
        if login is None or not (login.username or login.secret.get_secret_value()):
            return None
        try:
            return await self.destinations.require_safe(login, target, self.connection_settings)
        except RegistryError as error:
            raise error.within("the Docker Engine is given no login") from error

    async def confirm(self, reference: Reference, login: Login | None) -> Descriptor:
        """What the registry itself holds under this reference."""
        settings = await self.connection_settings()
        async with RegistryClient(parse_registry(reference.registry), login, settings) as registry:
            return await registry.head_manifest(reference.repository, reference.target)

    async def find(self, reference: Reference, login: Login | None, image_id: str) -> str | None:
        """The digest of just that image at the registry; ``None``: not there, or not to be asked.

        Takes `LOOK_SECONDS` at most.
        """
        with contextlib.suppress(WharfError, TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                settings = await self.connection_settings()
                host = parse_registry(reference.registry)
                async with RegistryClient(host, login, settings) as registry:
                    for pause in LOOKS:
                        await asyncio.sleep(pause)
                        held = await _look(registry, reference)
                        if held is not None:
                            return held.descriptor.digest if held.is_of(image_id) else None
        return None


async def _look(registry: RegistryClient, reference: Reference) -> Manifest | None:
    try:
        return await registry.get_manifest(reference.repository, reference.target)
    except RegistryError as error:
        if error.code not in ABSENT:
            raise
        return None


def tell(attempt: Attempt) -> Callable[[TransferProgress], None]:
    """Keep the newest progress with the attempt; the next beat carries it."""

    def on_progress(progress: TransferProgress) -> None:
        attempt.progress = progress.as_json()

    return on_progress
