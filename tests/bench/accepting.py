"""Accepted jobs a second with 32 clients, against a bare INSERT of the same row."""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import aiohttp
import psycopg

from tests.bench.measure import Figure
from tests.bench.scene import Scene
from worker.local.processes import Child, free_port, is_listening

BARE = ("-m", "uvicorn", "tests.bench.bare:app", "--log-level=warning")
CLIENTS = 32
SECONDS = 5.0
TABLE = "CREATE TABLE IF NOT EXISTS bare_job (LIKE job INCLUDING DEFAULTS INCLUDING INDEXES)"


def measure(scene: Scene) -> Iterator[Figure]:
    server_id = scene.stack.call("server.create", {"name": "nobody-there"})["serverId"]
    ours = asyncio.run(
        _load(
            f"{scene.stack.url}/api/image.pull",
            {"serverId": server_id, "image": "registry.example.com/app:%d"},
            {"x-api-key": scene.stack.admin_key},
        )
    )
    assert scene.stack.postgres is not None
    with psycopg.connect(scene.stack.postgres.url("wharf_owner"), autocommit=True) as connection:
        connection.execute(TABLE)
        connection.execute("GRANT ALL ON bare_job TO wharf_api")
    port = free_port()
    child = Child.start(
        "bare",
        [sys.executable, *BARE, f"--port={port}"],
        log=scene.directory / "bare.log",
        env={"WHARF_DATABASE_URL": scene.stack.postgres.url("wharf_api")},
    )
    try:
        child.wait_until(lambda: is_listening("127.0.0.1", port), deadline=timedelta(seconds=30))
        body = {"server_id": server_id, "image": "registry.example.com/app:%d"}
        bare = asyncio.run(_load(f"http://127.0.0.1:{port}/job", body, {}))
    finally:
        child.stop()
    scene.stack.call("server.remove", {"serverId": server_id})
    yield Figure("accepted jobs, 32 clients", "/s", ours, bare, "bare INSERT", "≥ 0.8")


async def _load(url: str, body: dict[str, str], headers: dict[str, str]) -> float:
    """Requests a second that were answered with 200."""
    done = 0
    until = time.perf_counter() + SECONDS
    async with aiohttp.ClientSession(headers=headers) as session:

        async def client(number: int) -> None:
            nonlocal done
            count = 0
            while time.perf_counter() < until:
                count += 1
                asked = body | {"image": body["image"] % (number * 1_000_000 + count)}
                async with session.post(url, json=asked) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()
                done += 1

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return done / SECONDS
