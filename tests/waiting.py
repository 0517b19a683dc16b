"""Waiting on a condition, with a deadline, in the test's own loop.

Conditions ask real parts, which costs them time: so the pauses grow with the time that has passed.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def wait_until(
    condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 10
) -> None:
    """Return once the condition holds; fail when it does not in time."""
    begun = time.monotonic()
    while not await _holds(condition):
        waited = time.monotonic() - begun
        assert waited < seconds, f"not within {seconds} s"
        await asyncio.sleep(pause_after(waited))


def pause_after(waited: float, *, longest: float = 0.1) -> float:
    """Return the seconds until the next question: a tenth of what was waited, within limits."""
    return min(max(waited / 10, 0.01), longest)


async def _holds(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    found = condition()
    return await found if inspect.isawaitable(found) else found
