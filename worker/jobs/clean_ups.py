"""Work that changes no result, so that no attempt waits for it."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any


@dataclass
class CleanUps:
    """The clean-up work of this worker; each piece has a time limit of its own."""

    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Return once all of it has ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)
