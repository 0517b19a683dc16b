"""A DNS resolver with a fixed table, so that no test depends on the machine's DNS."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Names:
    """A resolver with a table; every other name does not exist."""

    table: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)

    async def resolve(self, hostname: str) -> tuple[str, ...]:
        self.queries.append(hostname)
        try:
            return self.table[hostname]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "unknown") from None


class SilentNames:
    """A resolver that never responds."""

    async def resolve(self, hostname: str) -> tuple[str, ...]:  # noqa: ARG002 - the interface
        await asyncio.Event().wait()
        return ()


class FailingNames:
    """A resolver that reports a temporary failure."""

    async def resolve(self, hostname: str) -> tuple[str, ...]:  # noqa: ARG002 - the interface
        raise socket.gaierror(socket.EAI_AGAIN, "try again")
