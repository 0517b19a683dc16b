"""Waiting and ending that no cancel gets lost in.

``asyncio.wait_for`` of Python 3.11 swallows a cancel that comes as its inner future is done
(python/cpython#86296, mended in 3.12). So it is not used here; but libraries do, redis-py among
them, and whoever cancels a task once and then waits for its end may wait for ever.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

CANCEL_AGAIN_SECONDS = 0.5
"""Longer than tasks need to tidy up, which the second cancel would break off."""


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, so long at the most; return whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def uninterrupted(work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of ``work`` despite any cancel meanwhile; it has to bound its own time."""
    task = asyncio.create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks, again where that was swallowed, and return once all have ended.

    How they ended is nobody's matter any more: what they raise is dropped.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
