"""One pipeline, with either client: a test says once what it does."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.api.asking import ADMIN_KEY
from wharfinger import AsyncWharfinger, Options, Retries, Wharfinger

PAUSE_SECONDS = 0.02


@dataclass
class Pipeline:
    """A client of each kind; ``pauses`` are the seconds that it waited between attempts."""

    kind: str
    client: Any
    pauses: list[float] = field(default_factory=list)

    async def do(self, action: Callable[[Any], Any]) -> Any:
        """Do something with the client: in a thread of its own if it blocks."""
        if self.kind == "sync":
            return await asyncio.to_thread(action, self.client)
        done = action(self.client)
        return await done if inspect.isawaitable(done) else [each async for each in done]


@asynccontextmanager
async def open_pipeline(
    kind: str, url: str, key: str = ADMIN_KEY, options: Options | None = None
) -> AsyncIterator[Pipeline]:
    """Open a client whose pauses are short."""
    options = options or Options(retries=Retries(attempts=4, random=lambda: 0.0))
    pauses: list[float] = []

    def block(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(PAUSE_SECONDS)

    async def wait(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(PAUSE_SECONDS)

    if kind == "sync":
        with Wharfinger(url, key, options=options, sleep=block) as client:
            yield Pipeline(kind, client, pauses)
        return
    async with AsyncWharfinger(url, key, options=options, sleep=wait) as waiting:
        yield Pipeline(kind, waiting, pauses)
