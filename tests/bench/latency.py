"""From accepted to started at 50 jobs a second, and how many no-op jobs a second go end to end."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from tests.bench.measure import Figure, percentile
from tests.bench.peers.bare_celery import make_app
from tests.bench.scene import Scene
from worker.broker_users import ADMIN
from worker.local.images import make_image
from worker.local.processes import Child

RATE_PER_SECOND = 50
SECONDS = 10
BURST = 1000
BEGAN = "began "

STARTED = """
SELECT extract(epoch FROM started_at - created_at) * 1000 FROM job
 WHERE kind = 'image.tag' AND job_id > %s AND started_at IS NOT NULL
"""


def measure(scene: Scene) -> Iterator[Figure]:
    make_image(scene.fleet.hosts[0].docker_host, "bench/small:1")
    first = asyncio.run(_ask(scene, RATE_PER_SECOND * SECONDS, 1 / RATE_PER_SECOND))
    _settle(scene)
    waits = [float(row[0]) for row in _rows(scene, STARTED, first)]
    bare = _bare_celery(scene)
    for share, name, goal in ((0.5, "p50", "≤ 15 ms"), (0.99, "p99", "≤ 60 ms")):
        ours, theirs = percentile(waits, share), percentile(bare, share)
        what = f"accepted → started at 50/s, {name}"
        yield Figure(what, "ms", ours, theirs, "bare Celery", goal)
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
                requested = body | {"target": f"bench/small:{number}"}
                async with session.post(
                    f"{scene.stack.url}/api/image.tag", json=requested
                ) as answer:
                    assert answer.status == 202, await answer.text()
                    return str((await answer.json())["jobId"])

        started = time.perf_counter()
        tasks = []
        for number in range(jobs):
            tasks.append(asyncio.create_task(one(number)))
            ahead = started + (number + 1) * pause_seconds - time.perf_counter()
            await asyncio.sleep(max(ahead, 0))
        return min(await asyncio.gather(*tasks))


def _bare_celery(scene: Scene) -> list[float]:
    """Milliseconds from ``send_task`` to the task, at the same pace, broker, pool and settings."""
    assert scene.stack.valkey is not None
    log = scene.directory / "bare-celery.log"
    words = ("-m", "celery", "-A", "tests.bench.peers.bare_celery", "worker", "--pool=threads")
    options = ("--concurrency=38", "--queues=server.bare", "--without-gossip", "--without-mingle")
    child = Child.start(
        "bare celery",
        [sys.executable, *words, *options, "--loglevel=WARNING"],
        log=log,
        env={"BENCH_BROKER_URL": scene.stack.valkey.url(ADMIN)},
    )
    app = make_app(scene.stack.valkey.url("control"), "control")
    try:
        app.send_task("begin", args=[time.time()], queue="server.bare")
        child.wait_until(lambda: len(_began(log)) > 0, deadline=timedelta(seconds=30))
        _at_pace(lambda: app.send_task("begin", args=[time.time()], queue="server.bare"))
        wanted = RATE_PER_SECOND * SECONDS + 1
        child.wait_until(lambda: len(_began(log)) == wanted, deadline=timedelta(seconds=30))
    finally:
        app.close()
        child.stop()
    return [seconds * 1000 for seconds in _began(log)[1:]]


def _at_pace(act: Callable[[], object]) -> None:
    begun = time.perf_counter()
    for number in range(RATE_PER_SECOND * SECONDS):
        act()
        time.sleep(max(begun + (number + 1) / RATE_PER_SECOND - time.perf_counter(), 0))


def _began(log: Path) -> list[float]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [float(line.rpartition(BEGAN)[2]) for line in lines if BEGAN in line]


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
