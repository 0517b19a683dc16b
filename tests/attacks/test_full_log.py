"""A disk without room for logs: the processes go on, and no answer depends on a line."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from shared.ids import make_id
from shared.vault import PrivateKey
from tests.attacks.test_slow_client import ADD_KEY, ADMIN_KEY, is_alive
from tests.waiting import wait_until
from tests.world import World
from worker.local.processes import free_port
from worker.local.valkey import LocalValkey

OpenLog = Callable[[], AbstractContextManager[int]]

START_SECONDS = 120


@contextmanager
def open_full_device() -> Iterator[int]:
    with Path("/dev/full").open("wb") as full:
        yield full.fileno()


@contextmanager
def open_full_pipe() -> Iterator[int]:
    """A pipe that is full, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    try:
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def running(
    argv: Sequence[str], env: dict[str, str], log: OpenLog = open_full_device
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose standard error takes nothing."""
    with log() as full:
        process = subprocess.Popen(
            [sys.executable, *argv], env={**os.environ, **env}, stderr=full, stdout=full
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


async def ended(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    return await asyncio.to_thread(process.wait, 20)


@pytest.mark.parametrize("log", [open_full_device, open_full_pipe])
async def test_the_api_answers_as_ever_and_counts_what_it_lost(world: World, log: OpenLog) -> None:
    await world.owner.execute(ADD_KEY, (make_id(), world.organization_id, ADMIN_KEY.encode()))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        "WHARF_DATABASE_URL": world.database.url("wharf_api"),
        "WHARF_VAULT_PUBLIC_KEY": str(PrivateKey.generate().public),
    }
    with running(("-m", "api", "--port", str(port)), env, log) as process:
        await wait_until(lambda: is_alive(url) or process.poll() is not None, seconds=START_SECONDS)
        async with httpx2.AsyncClient(
            base_url=url, headers={"x-api-key": ADMIN_KEY}, timeout=20
        ) as client:
            created = await client.post("/api/apiKey.create", json={"name": "stored"})
            unknown = await client.get("/api/nothing")
            metrics = (await client.get("/metrics")).text
        code = await ended(process)

    assert (created.status_code, unknown.status_code) == (200, 404)
    [row] = await world.rows("SELECT name FROM api_key WHERE name = 'stored'")
    assert row["name"] == "stored"
    lines = [line for line in metrics.splitlines() if line.startswith("wharf_log_lines_lost_total")]
    assert float(lines[0].split()[1]) >= 2
    assert code == 0


async def test_control_releases_jobs_as_ever(world: World, tmp_path: Path) -> None:
    valkey = LocalValkey.start(tmp_path / "valkey")
    try:
        server = await world.add_server()
        env = {
            "WHARF_DATABASE_URL": world.database.url("wharf_control"),
            "WHARF_BROKER_URL": valkey.url("control"),
            "WHARF_VAULT_PRIVATE_KEY": world.vault.text(),
        }
        with running(("-m", "worker.control.main"), env) as process:
            for _ in range(2):
                job_id = await world.submit(server)
                begun = time.monotonic()
                while await world.state(job_id) == "queued":
                    assert time.monotonic() < begun + START_SECONDS
                    assert process.poll() is None, "control ended"
                    # Nothing is released to a server that is away.
                    await server.call("heartbeat", "first", jobs=[])
                    await asyncio.sleep(0.05)
            code = await ended(process)
    finally:
        valkey.stop()

    assert await world.state(job_id) == "dispatched"
    assert code == 0
