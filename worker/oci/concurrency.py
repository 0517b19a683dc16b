"""Bounded concurrency: process several items at once, but never too many."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from shared.coroutines import end

CONCURRENCY = 4

Item = TypeVar("Item")


async def run_concurrently(items: Iterable[Item], work: Callable[[Item], Awaitable[None]]) -> None:
    """Process every item, four at a time; the first failure cancels the others."""
    waiting = iter(items)

    async def process() -> None:
        for item in waiting:
            await work(item)

    tasks = [asyncio.create_task(process()) for _ in range(CONCURRENCY)]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end(*tasks)
