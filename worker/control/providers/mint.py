"""Choose the minter for a source."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.credentials.acr import AcrSource
from shared.credentials.ecr import EcrSource
from shared.credentials.google import GoogleSource
from shared.credentials.kinds import AnySource
from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.control.providers.acr import AcrMinter
from worker.control.providers.aws.machine import MachineIdentity
from worker.control.providers.ecr import EcrMinter
from worker.control.providers.google import GoogleMinter
from worker.control.providers.provider import HttpClient, Minted

LONGEST = timedelta(days=7)
RESOLUTION = timedelta(seconds=1)
"""Precision of a ``Date`` header: a login may end earlier by it."""


@dataclass(frozen=True)
class Mint:
    """All minters; ``machine`` is the identity of control's machine."""

    client: HttpClient
    machine: MachineIdentity = field(default_factory=MachineIdentity)

    async def mint(self, source: AnySource, host: str, now: datetime) -> Minted:
        """Return a login for the registry ``host``.

        Raises:
            RegistryError: the provider refuses or cannot be reached; or its login has ended
                already.
        """
        minted = await self._mint(source, host, now)
        lifetime = minted.lifetime - RESOLUTION
        if lifetime <= timedelta():
            raise RegistryError(
                FaultCode.REGISTRY_ERROR,
                f"the provider gave a login for {host} that has expired already",
                remedy="Nothing is to be done: wharf control asks again.",
            )
        return Minted(minted.password, min(lifetime, LONGEST))

    async def create_repository(self, source: AnySource, target: Reference, now: datetime) -> None:
        """Create the repository of ``target`` at a provider that creates none by itself.

        Raises:
            RegistryError: the provider refuses or cannot be reached.
        """
        if isinstance(source, EcrSource):
            ecr = EcrMinter(self.machine)
            await ecr.create_repository(source, target, self.client, now)

    async def _mint(self, source: AnySource, host: str, now: datetime) -> Minted:
        match source:
            case EcrSource():
                return await EcrMinter(self.machine).mint(source, host, self.client, now)
            case GoogleSource():
                minter = GoogleMinter(self.machine.is_allowed)
                return await minter.mint(source, host, self.client, now)
            case AcrSource():
                acr = AcrMinter(self.machine.is_allowed)
                return await acr.mint(source, host, self.client, now)
