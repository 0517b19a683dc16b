"""Several pieces of work side by side, but never too many."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from shared.coroutines import end

LANES = 4

Piece = TypeVar("Piece")


async def in_lanes(pieces: Iterable[Piece], work: Callable[[Piece], Awaitable[None]]) -> None:
    """Do the work for every piece, four at a time; the first failure ends the others."""
    waiting = iter(pieces)

    async def lane() -> None:
        for piece in waiting:
            await work(piece)

    tasks = [asyncio.create_task(lane()) for _ in range(LANES)]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end(*tasks)
