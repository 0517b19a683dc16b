"""A hundred open consoles: each shows the overview anew every five seconds, and follows a job.

Each is a session of its own, as a browser holds it: the page with its live regions, and the stream
of the events of a push that runs meanwhile.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from html import unescape

import aiohttp

from tests.bench.footprint import cpu_seconds, proportional_bytes
from tests.bench.measure import Figure, percentile
from tests.bench.scene import Scene
from worker.local.images import make_image

CONSOLES = 100
REFRESH_SECONDS = 5.0
"""What ``data-live`` of the overview says."""

SECONDS = 30.0
PASSWORD = "correct horse battery"
CSRF = re.compile(r'name="csrf" value="([^"]+)"')
IMAGE = "bench/watched:1"
LAYERS = (60_000_000,) * 4


@dataclass
class Seen:
    """What the consoles saw: milliseconds of each refresh, and lines of the stream."""

    times: list[float] = field(default_factory=list)
    lines: int = 0


@dataclass(frozen=True)
class Load:
    """The API while some consoles were open: its memory, its CPU, and what the consoles saw."""

    memory_bytes: int
    cpu_percent: float
    seen: Seen


def measure(scene: Scene) -> Iterator[Figure]:
    _, registry_id = scene.registry()
    make_image(scene.fleet.hosts[0].docker_host, IMAGE, layer_bytes=LAYERS)
    namespace = scene.fleet.hosts[0].namespace
    assert namespace is not None
    with namespace.slow_link("16mbit"):
        one, many = asyncio.run(_watch(scene, registry_id))
    what = f"{CONSOLES} open consoles"
    grown = (many.memory_bytes - one.memory_bytes) / (CONSOLES - 1)
    yield Figure("memory of the API, one open console", "MB", one.memory_bytes / 1e6)
    yield Figure(f"memory of the API, {what}", "MB", many.memory_bytes / 1e6)
    yield Figure("memory of the API for each console more", "kB", grown / 1000)
    yield Figure("CPU of the API, one open console", "%", one.cpu_percent)
    yield Figure(f"CPU of the API, {what}", "%", many.cpu_percent)
    yield Figure(
        f"refresh of the overview, p95, {what}",
        *("ms", percentile(many.seen.times, 0.95), percentile(one.seen.times, 0.95)),
        *("one console", "< 200 ms"),
    )
    yield Figure(f"lines of the stream a second, {what}", "1/s", many.seen.lines / SECONDS)


async def _watch(scene: Scene, registry_id: str) -> tuple[Load, Load]:
    """Return what one console costs, and what all of them do."""
    pid = scene.stack.children["api"].pid
    async with AsyncExitStack() as opened:
        consoles = [
            await opened.enter_async_context(_join(scene, number)) for number in range(CONSOLES)
        ]
        wanted = {"serverId": scene.servers[0].server_id, "registryId": registry_id}
        loads = []
        for chosen in (consoles[:1], consoles):
            job_id = scene.call("image.push", {**wanted, "image": IMAGE})["jobId"]
            loads.append(await _measure(pid, chosen, job_id))
            scene.call("job.cancel", {"jobId": job_id})
            scene.ended("job.one", {"jobId": job_id})
        one, many = loads
        return one, many


@asynccontextmanager
async def _join(scene: Scene, number: int) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the browser of a person who accepts an invitation."""
    path = scene.call("organization.inviteMember", {"role": "viewer"})["path"]
    origin = scene.stack.url
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(origin, cookie_jar=jar, headers={"origin": origin}) as browser:
        form = {
            "name": f"Viewer {number}",
            "email": f"viewer-{number}@example.com",
            "password": PASSWORD,
        }
        async with browser.get(path) as answer:
            found = CSRF.search(await answer.text())
        token = {"csrf": unescape(found[1])} if found else {}
        async with browser.post(path, data=form | token) as answer:
            assert answer.status == 200, await answer.text()
        yield browser


async def _measure(pid: int, consoles: list[aiohttp.ClientSession], job_id: str) -> Load:
    seen = Seen()
    tasks = [
        asyncio.create_task(work)
        for number, each in enumerate(consoles)
        for work in (
            _refresh(each, seen, number * REFRESH_SECONDS / len(consoles)),
            _follow(each, seen, job_id),
        )
    ]
    await asyncio.sleep(REFRESH_SECONDS)
    seen.times.clear()
    seen.lines, before = 0, cpu_seconds(pid)
    await asyncio.sleep(SECONDS)
    used = (cpu_seconds(pid) - before) / SECONDS * 100
    memory = proportional_bytes(pid)
    for task in tasks:
        # A task that ended before failed, and raises why.
        assert not task.done(), task.exception()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return Load(memory, used, seen)


async def _refresh(browser: aiohttp.ClientSession, seen: Seen, after: float) -> None:
    """Load the overview as its script does; the consoles are spread over the period."""
    await asyncio.sleep(after)
    while True:
        begun = time.perf_counter()
        async with browser.get("/console", headers={"hx-request": "true"}) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        seen.times.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(REFRESH_SECONDS)


async def _follow(browser: aiohttp.ClientSession, seen: Seen, job_id: str) -> None:
    """Follow the events of the job, as its page does."""
    path = f"/console/jobs/{job_id}/events?lastEventId=0"
    timeout = aiohttp.ClientTimeout(total=None)
    async with browser.get(path, timeout=timeout) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            seen.lines += line.startswith(b"event:")
    raise AssertionError("the job ended too early")
