"""What every handler works with: the server's Engine, and how it may reach registries."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from shared.errors import WharfError
from shared.networks import RegistryNetworks
from shared.reference import Reference, parse_registry
from worker.engine.connection import Engine
from worker.login import Login
from worker.oci.client import RegistryClient
from worker.oci.manifest import Descriptor
from worker.oci.settings import ConnectionSettings
from worker.progress import TransferProgress
from worker.server.attempt import Attempt
from worker.server.workspaces import Workspaces

IDLE = timedelta(seconds=60)
"""A transfer in which no byte moves for so long is stalled: the Engine itself retries for 25 s."""

LOOK_SECONDS = 1.5
"""For a look at the registry after a cancel, which has to be over within five."""


@dataclass(frozen=True)
class Tools:
    """What works on this server and where: its Engine, registries' networks, builds' folders.

    ``api_url`` is where uploaded contexts are fetched.
    """

    engine: Engine
    networks: RegistryNetworks
    workspaces: Workspaces
    api_url: str | None = None

    async def connection_settings(self) -> ConnectionSettings:
        """How registries are reached: plain HTTP only where this server's Engine lists it.

        Raises:
            EngineError: the Engine does not answer, so its list is not known.
        """
        info = await self.engine.info()
        return ConnectionSettings(self.networks, frozenset(info.insecure_registries))

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
                    held = await registry.get_manifest(reference.repository, reference.target)
                    return held.descriptor.digest if held.is_of(image_id) else None
        return None


def tell(attempt: Attempt) -> Callable[[TransferProgress], None]:
    """Keep the newest progress with the attempt; the next beat carries it."""

    def on_progress(progress: TransferProgress) -> None:
        attempt.progress = progress.as_json()

    return on_progress
