"""The bases of the groups of procedures: one blocks, one waits in an event loop.

The synchronous client runs the same coroutines as the asynchronous one. Its connection blocks
instead of waiting, so they never suspend, and need no event loop.
"""

from collections.abc import AsyncGenerator, Awaitable, Iterator
from typing import TypeVar

from wharfinger.caller import Caller
from wharfinger.calls import Call

Answer = TypeVar("Answer")


class Group:
    """The procedures of one noun, for a thread that may block."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def _call(self, call: Call[Answer]) -> Answer:
        return complete(self._caller.perform(call))

    def _complete(self, work: Awaitable[Answer]) -> Answer:
        return complete(work)

    def _iterate(self, items: AsyncGenerator[Answer, None]) -> Iterator[Answer]:
        return iterate(items)


class AsyncGroup:
    """The procedures of one noun, for an event loop."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def _call(self, call: Call[Answer]) -> Answer:
        return await self._caller.perform(call)


def complete(work: Awaitable[Answer]) -> Answer:
    """Run a coroutine that never suspends, and return its result."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: Answer = end.value
        return result
    raise RuntimeError("a coroutine of the synchronous client suspended")


def iterate(items: AsyncGenerator[Answer, None]) -> Iterator[Answer]:
    """Iterate over an asynchronous generator that never suspends."""
    try:
        while True:
            try:
                item = complete(anext(items))
            except StopAsyncIteration:
                return
            yield item
    finally:
        complete(items.aclose())
