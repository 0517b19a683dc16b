"""Asynchronous servers and clients beside synchronous code: a loop in a thread of its own."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

from worker.server.runtime import LoopThread

Served = TypeVar("Served")


@contextmanager
def open_loop() -> Iterator[LoopThread]:
    """A running loop; ended when the block is left."""
    thread = LoopThread()
    try:
        yield thread
    finally:
        thread.close()


@contextmanager
def serving(thread: LoopThread, context: AbstractAsyncContextManager[Served]) -> Iterator[Served]:
    """Return the value of an asynchronous context that is open on the loop during the block."""

    async def enter() -> Served:
        return await context.__aenter__()

    async def leave() -> None:
        await context.__aexit__(None, None, None)

    served = thread.run(enter())
    try:
        yield served
    finally:
        thread.run(leave())
