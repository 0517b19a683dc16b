"""Accepted jobs a second with 32 clients, against a bare INSERT and what most people write."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import aiohttp
import psycopg

from tests.bench.measure import Figure, median
from tests.bench.scene import Scene
from worker.local.processes import Child, free_port, is_listening

BARE = ("-m", "uvicorn", "tests.bench.peers.bare:app", "--log-level=warning")
CLIENTS = 32
SECONDS = 3.0
ROUNDS = 3
IMAGE = "registry.example.com/app:%d"
TABLE = "CREATE TABLE IF NOT EXISTS bare_job (LIKE job INCLUDING DEFAULTS INCLUDING INDEXES)"


def measure(scene: Scene) -> Iterator[Figure]:
    server_id = scene.stack.call("server.create", {"name": "nobody-there"})["serverId"]
    body = {"server_id": server_id, "image": IMAGE}
    ours_body = {"serverId": server_id, "image": IMAGE}
    key = {"x-api-key": scene.stack.admin_key}
    rates: dict[str, list[float]] = {"ours": [], "bare": [], "naive": []}
    with _peers(scene) as peers:
        for _ in range(ROUNDS):
            ours = _load(f"{scene.stack.url}/api/image.pull", ours_body, key)
            rates["ours"].append(asyncio.run(ours))
            for peer in ("bare", "naive"):
                rates[peer].append(asyncio.run(_load(f"{peers}/{peer}", body, {})))
    scene.stack.call("server.remove", {"serverId": server_id})
    ours_rate, bare, naive = (median(rates[name]) for name in ("ours", "bare", "naive"))
    what = f"accepted jobs, {CLIENTS} clients"
    yield Figure(what, "/s", ours_rate, bare, "bare INSERT", "≥ 0.8")
    yield Figure(what, "/s", ours_rate, naive, "SQLModel + send_task")


@contextmanager
def _peers(scene: Scene) -> Iterator[str]:
    """The URL of the two peers, in one process of their own."""
    assert scene.stack.postgres is not None
    assert scene.stack.valkey is not None
    with psycopg.connect(scene.stack.postgres.url("wharf_owner"), autocommit=True) as connection:
        connection.execute(TABLE)
        connection.execute("GRANT ALL ON bare_job TO wharf_api")
    port = free_port()
    child = Child.start(
        "bare",
        [sys.executable, *BARE, f"--port={port}"],
        log=scene.directory / "bare.log",
        env={
            "WHARF_DATABASE_URL": scene.stack.postgres.url("wharf_api"),
            "BENCH_BROKER_URL": scene.stack.valkey.url("control"),
        },
    )
    try:
        child.wait_until(lambda: is_listening("127.0.0.1", port), deadline=timedelta(seconds=30))
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()


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
                requested = body | {"image": body["image"] % (number * 1_000_000 + count)}
                async with session.post(url, json=requested) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()
                done += 1

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return done / SECONDS
