"""Waiting on a condition, with a deadline, in the test's own loop."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def wait_until(
    condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 10
) -> None:
    """Return once the condition holds; fail when it does not in time."""
    until = time.monotonic() + seconds
    while not await _holds(condition):
        assert time.monotonic() < until, f"not within {seconds} s"
        await asyncio.sleep(0.01)


async def _holds(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    found = condition()
    return await found if inspect.isawaitable(found) else found
