"""Two hundred readers of a job: until all have an event, and what the API needs for them."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import aiohttp

from tests.bench.footprint import cpu_seconds, proportional_bytes
from tests.bench.measure import Figure
from tests.bench.scene import Scene

READERS = 200
SECONDS = 5.0


def measure(scene: Scene) -> Iterator[Figure]:
    server_id = scene.stack.call("server.create", {"name": "nobody-there"})["serverId"]
    requested = {"serverId": server_id, "image": "registry.example.com/app:1"}
    job_id = scene.stack.call("image.pull", requested)["jobId"]
    pid = scene.stack.children["api"].pid
    memory = proportional_bytes(pid)
    idle, latency, used = asyncio.run(_read(scene, job_id, pid))
    scene.stack.call("server.remove", {"serverId": server_id})
    what = f"{READERS} event readers"
    yield Figure(f"{what}: the last one has an event after", "ms", latency * 1000)
    yield Figure(f"{what}: CPU of the API while nothing happens", "%", idle)
    yield Figure(f"{what}: memory of the API for each", "kB", (used - memory) / READERS / 1000)


async def _read(scene: Scene, job_id: str, pid: int) -> tuple[float, float, int]:
    """CPU in %, seconds from a cancel to the last reader's last event, memory in bytes."""
    url = f"{scene.stack.url}/api/job.events?jobId={job_id}"
    async with AsyncExitStack() as opened:
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"x-api-key": scene.stack.admin_key}
        session = await opened.enter_async_context(
            aiohttp.ClientSession(headers=headers, connector=connector)
        )
        answers = [await opened.enter_async_context(session.get(url)) for _ in range(READERS)]
        assert {answer.status for answer in answers} == {200}
        before = cpu_seconds(pid)
        await asyncio.sleep(SECONDS)
        idle = (cpu_seconds(pid) - before) / SECONDS * 100
        memory = proportional_bytes(pid)
        begun = time.perf_counter()
        async with session.post(
            f"{scene.stack.url}/api/job.cancel", json={"jobId": job_id}
        ) as answer:
            assert answer.status == 200, await answer.text()
        texts = await asyncio.gather(*(answer.text() for answer in answers))
        latency = time.perf_counter() - begun
        assert all("cancelled" in text for text in texts)
    return idle, latency, memory
