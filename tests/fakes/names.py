"""Names that this test knows, so that none depends on the machine's DNS."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Names:
    """A resolver with a table; every other name does not exist."""

    table: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def resolve(self, hostname: str) -> tuple[str, ...]:
        self.asked.append(hostname)
        try:
            return self.table[hostname]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "unknown") from None


class SilentNames:
    """A resolver that never answers."""

    async def resolve(self, hostname: str) -> tuple[str, ...]:  # noqa: ARG002 - the interface
        await asyncio.Event().wait()
        return ()


class FailingNames:
    """A resolver that says it has a problem of its own."""

    async def resolve(self, hostname: str) -> tuple[str, ...]:  # noqa: ARG002 - the interface
        raise socket.gaierror(socket.EAI_AGAIN, "try again")
