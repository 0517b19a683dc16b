"""From accepted to started at 50 jobs a second, and how many no-op jobs a second go end to end."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import psycopg

from tests.bench.measure import Figure, percentile
from tests.bench.scene import Scene
from worker.local.images import make_image

RATE_PER_SECOND = 50
SECONDS = 10
BURST = 1000
BARE_CELERY_MS = {0.5: 2.6, 0.99: 10.0}
"""Measured for a stock worker of the same pool and settings (celery-facts, section 1)."""

STARTED = """
SELECT extract(epoch FROM started_at - created_at) * 1000 FROM job
 WHERE kind = 'image.tag' AND job_id > %s AND started_at IS NOT NULL
"""


def measure(scene: Scene) -> Iterator[Figure]:
    make_image(scene.fleet.hosts[0].docker_host, "bench/small:1")
    first = asyncio.run(_ask(scene, RATE_PER_SECOND * SECONDS, 1 / RATE_PER_SECOND))
    _settle(scene)
    waits = [float(row[0]) for row in _rows(scene, STARTED, first)]
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        goal = "≤ 15 ms" if share == 0.5 else "≤ 60 ms"
        yield Figure(
            f"accepted → started at 50/s, {name}",
            "ms",
            percentile(waits, share),
            BARE_CELERY_MS[share],
            "bare Celery",
            goal,
        )
    begun = time.perf_counter()
    asyncio.run(_ask(scene, BURST, 0))
    _settle(scene)
    yield Figure("no-op jobs end to end", "/s", BURST / (time.perf_counter() - begun))


async def _ask(scene: Scene, jobs: int, pause_seconds: float) -> str:
    """Submit quick jobs at a steady pace; gives the id of the first."""
    headers = {"x-api-key": scene.stack.admin_key, "prefer": "respond-async"}
    body = {"source": "bench/small:1", "serverId": scene.servers[0].server_id}
    slots = asyncio.Semaphore(32)
    async with aiohttp.ClientSession(headers=headers) as session:

        async def one(number: int) -> str:
            async with slots:
                asked = body | {"target": f"bench/small:{number}"}
                async with session.post(f"{scene.stack.url}/api/image.tag", json=asked) as answer:
                    assert answer.status == 202, await answer.text()
                    return str((await answer.json())["jobId"])

        started = time.perf_counter()
        tasks = []
        for number in range(jobs):
            tasks.append(asyncio.create_task(one(number)))
            ahead = started + (number + 1) * pause_seconds - time.perf_counter()
            await asyncio.sleep(max(ahead, 0))
        return min(await asyncio.gather(*tasks))


def _settle(scene: Scene) -> None:
    until = time.perf_counter() + 120
    waiting = "SELECT count(*) FROM job WHERE kind = 'image.tag' AND finished_at IS NULL"
    while _rows(scene, waiting)[0][0]:
        assert time.perf_counter() < until, "jobs are stuck"
        time.sleep(0.05)


def _rows(scene: Scene, query: str, *values: str) -> list[tuple[Any, ...]]:
    assert scene.stack.postgres is not None
    with psycopg.connect(scene.stack.postgres.url("wharf_control")) as connection:
        return connection.execute(query.encode(), values or None).fetchall()
