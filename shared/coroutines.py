"""Wait for events and end tasks without losing a cancellation.

``asyncio.wait_for`` of Python 3.11 swallows a cancellation that arrives when its inner future is
done (python/cpython#86296, fixed in 3.12). We do not use it, but libraries do, redis-py among them.
So one ``cancel`` of a task may have no effect, and waiting for its end may never return.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

CANCEL_AGAIN_SECONDS = 0.5
"""Longer than tasks need to clean up, which a second cancellation would interrupt."""


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most ``seconds``; return whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def uninterrupted(work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of ``work`` despite cancellations; it needs its own timeout."""
    task = asyncio.create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()


async def within(seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of ``work``; end it after ``seconds``.

    After one cancellation psycopg waits up to 10 s for a silent server. After the second one, by
    `end`, it closes the connection.

    Raises:
        TimeoutError: the time is over.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise TimeoutError
        return task.result()
    finally:
        await end(task)


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks, repeatedly if necessary, and return once all have ended.

    Their exceptions are ignored.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
