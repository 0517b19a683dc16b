"""Look endpoints' names up in threads of their own: whoever has such a name may answer slowly.

A look-up cannot be broken off. One that nobody waits for any more keeps its thread until it ends,
and so it keeps the place of the delivery that it was for: no delivery waits for another one's.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future

LookUp = Callable[[str], tuple[str, ...]]
"""The addresses of a name; blocks, and raises `socket.gaierror`."""


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
        """Wait until no thread is busy with it."""
        left = (asyncio.wrap_future(look_up) for look_up in self._begun)
        await asyncio.gather(*left, return_exceptions=True)
