"""The Engine's view of registries: its insecure list and its proxy, as last known."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import EngineError
from shared.networks import RegistryNetworks
from worker.engine.transport.connection import Engine
from worker.engine.transport.information import EngineInfo
from worker.oci.transport.settings import ConnectionSettings, EngineProxy

FIRST_SECONDS = 5.0
AGAIN_SECONDS = 1.0
"""The wait for an Engine: before and after it has answered once.

An Engine may answer only after ten seconds while a name server of its own is silent.
"""

RECENT_SECONDS = 10.0


@dataclass
class EngineView:
    """The last known configuration of one Engine, as far as traffic to registries needs it."""

    first_seconds: float = FIRST_SECONDS
    again_seconds: float = AGAIN_SECONDS
    known: EngineInfo | None = None
    clock: Callable[[], float] = time.monotonic
    _known_at: float = 0.0
    _asking: "asyncio.Task[None] | None" = None

    async def settings(self, engine: Engine, networks: RegistryNetworks) -> ConnectionSettings:
        """Return the settings of connections to registries. A silent Engine is no error.

        Its list is then the last known one. If there is none, the settings say so, and a registry
        that needs to be on the list fails with ``engine_unreachable``.
        """
        problem = ""
        seconds = self.again_seconds if self.known else self.first_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._ask(engine)
        except TimeoutError:
            problem = f"the Docker Engine did not answer within {seconds:g} s"
        except EngineError as error:
            problem = f"the Docker Engine did not tell its settings ({error.code})"
        if self.known is None:
            return ConnectionSettings(networks, engine_problem=problem)
        return _make_settings(self.known, networks)

    def recent(self, networks: RegistryNetworks) -> ConnectionSettings | None:
        """Return how registries were reached some seconds ago, without asking the Engine."""
        if self.known is None or self.clock() - self._known_at > RECENT_SECONDS:
            return None
        return _make_settings(self.known, networks)

    async def _ask(self, engine: Engine) -> None:
        """Ask the Engine; all who ask at the same moment share one answer, also one that is late.

        Raises:
            EngineError: it refuses, or does not answer at all.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._read(engine))
            self._asking.add_done_callback(self._end)
        await asyncio.shield(self._asking)

    async def _read(self, engine: Engine) -> None:
        # Kept before the task ends: who asks between its end and its callback returns at once.
        self.known = await engine.info()
        self._known_at = self.clock()

    def _end(self, asked: "asyncio.Task[None]") -> None:
        self._asking = None
        if not asked.cancelled():
            asked.exception()  # seen, also if nobody waits for it any more


def _make_settings(info: EngineInfo, networks: RegistryNetworks) -> ConnectionSettings:
    return ConnectionSettings(
        networks,
        frozenset(info.insecure_registries),
        proxy=EngineProxy(info.https_proxy, info.no_proxy, info.http_proxy),
        mirrors=info.mirrors,
    )
