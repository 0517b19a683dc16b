"""Resolve endpoints' names in separate threads, because their name servers may be slow.

A name resolution cannot be cancelled: it occupies its thread until it ends, and its delivery counts
as running until then. So no delivery waits for another one's thread.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future

LookUp = Callable[[str], tuple[str, ...]]
"""A blocking function that returns the addresses of a name; raises `socket.gaierror`."""


class OwnNames:
    """The resolver of one delivery."""

    def __init__(self, threads: Executor, look_up: LookUp) -> None:
        self._threads = threads
        self._look_up = look_up
        self._begun: list[Future[tuple[str, ...]]] = []

    async def resolve(self, hostname: str) -> tuple[str, ...]:
        look_up = self._threads.submit(self._look_up, hostname)
        self._begun.append(look_up)
        return await asyncio.wrap_future(look_up)

    async def end(self) -> None:
        """Wait until all of its threads have ended."""
        running = (asyncio.wrap_future(look_up) for look_up in self._begun)
        await asyncio.gather(*running, return_exceptions=True)
