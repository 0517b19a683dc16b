"""A reader of server-sent events on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette

from api.__main__ import Server
from tests.api.asking import ADMIN_KEY
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.waiting import wait_until
from worker.local.processes import free_port, is_listening

PATH = "/api/job.events"


@dataclass(frozen=True)
class ReceivedEvent:
    """One event of a stream; a comment has the name ``:``."""

    name: str
    id: int | None = None
    data: Any = None


@dataclass
class Reader:
    """An open stream and what came of it so far."""

    response: httpx2.Response
    seen: list[ReceivedEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        # One iterator for the whole response: it cannot be begun twice.
        self._lines = self.response.aiter_lines()

    @property
    def ids(self) -> list[int]:
        return [event.id for event in self.seen if event.id is not None]

    @property
    def snapshots(self) -> list[Any]:
        return [event.data for event in self.seen if event.name == "snapshot"]

    async def until(self, name: str, **data: Any) -> ReceivedEvent:
        """Read up to the next event of that name whose data hold these values."""
        async with asyncio.timeout(15):
            async for event in self._events():
                if event.name == name and data.items() <= (event.data or {}).items():
                    return event
        raise AssertionError(f"the stream ended without {name} {data}: {self.seen}")

    async def to_the_end(self) -> None:
        async with asyncio.timeout(15):
            async for _ in self._events():
                pass

    async def _events(self) -> AsyncIterator[ReceivedEvent]:
        lines: dict[str, str] = {}
        async for line in self._lines:
            if line:
                name, _, value = line.partition(":")
                lines[name] = value.removeprefix(" ")
            elif lines:
                event = _parse(lines)
                lines = {}
                self.seen.append(event)
                yield event


def _parse(lines: dict[str, str]) -> ReceivedEvent:
    if "data" not in lines:
        return ReceivedEvent("retry" if "retry" in lines else ":")
    number = lines.get("id")
    return ReceivedEvent(lines["event"], int(number) if number else None, json.loads(lines["data"]))


@asynccontextmanager
async def open_reader(
    url: str, job_id: str, *, last: int | None = None, key: str = ADMIN_KEY, path: str = PATH
) -> AsyncIterator[Reader]:
    headers = {"x-api-key": key} | ({"last-event-id": str(last)} if last is not None else {})
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client,
        client.stream("GET", path, params={"jobId": job_id}) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield Reader(response)


@asynccontextmanager
async def serving(app: Starlette, front: Any = None) -> AsyncIterator[tuple[Server, str]]:
    """The application, already in its lifespan, on a socket; stopped as a signal would.

    ``front`` is what answers in its place, if there is something before it.
    """
    port = free_port()
    config = uvicorn.Config(
        front or app, port=port, lifespan="off", log_config=None, timeout_graceful_shutdown=5
    )
    server = Server(config, app)
    task = asyncio.create_task(server.serve())
    try:
        await wait_until(lambda: is_listening("127.0.0.1", port))
        yield server, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def heartbeat(server: TestServer, job_id: str, attempt: int, *at_bytes: int) -> None:
    """Report the layers of a pull, as a worker does."""
    layers = [
        {"id": f"layer-{index}", "state": "moving", "current_bytes": count, "total_bytes": 1000}
        for index, count in enumerate(at_bytes)
    ]
    progress = {"current_bytes": sum(at_bytes), "total_bytes": 1000, "layers": layers}
    job = {"job_id": job_id, "attempt": attempt, "progress": progress}
    await server.call("heartbeat", {"incarnation": server.incarnation, "jobs": [job]})


def add_logs(database: Database, job_id: str, count: int, *, size_bytes: int = 10) -> None:
    """Many lines at once, as a worker's calls would have added them one by one."""
    database.execute(
        "WITH job AS (UPDATE job SET event_seq = event_seq + %s WHERE job_id = %s"
        " RETURNING job_id, event_seq, attempt)"
        " INSERT INTO job_event (job_id, seq, attempt, kind, data)"
        " SELECT job_id, event_seq - %s + number, attempt, 'log',"
        " jsonb_build_object('line', repeat('x', %s)) FROM job, generate_series(1, %s) number",
        count,
        job_id,
        count,
        size_bytes,
        count,
    )
    database.execute("SELECT pg_notify('wharf_job', %s)", job_id)
