"""A client without a key, and one with too much zeal, against a process with few open files.

All of it goes to one real `wharf api` on loopback, whose log goes to a file; a good caller and
`/healthz` are served all the time, and the log stays small.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from shared.ids import make_id
from shared.tls import tls_context
from shared.vault import PrivateKey
from tests.world import World
from worker.local.processes import Child, free_port

OPEN_FILES = 256
ATTACKERS = 300
"""As many as stopped it once: more than it may have open files."""

CALLS = 5
ADMIN_KEY = "wharf_an-admin-key-of-the-attacked-0123456789"
ADD_KEY = """
INSERT INTO api_key (api_key_id, organization_id, name, role, start, key_hash)
VALUES (%s, %s, 'x', 'admin', '', sha256(sha256(%s::bytea)))
"""

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Target:
    """The attacked process; ``key`` is good, and so is ``greedy``."""

    port: int
    log: Path
    key: str
    greedy: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def connect(self) -> Line:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, client: httpx2.AsyncClient) -> set[int]:
        """The statuses of a few good calls, each on a connection of its own."""
        key = {"x-api-key": self.key, "connection": "close"}
        statuses = set()
        for _ in range(CALLS):
            statuses.add((await client.get("/healthz", headers=key)).status_code)
            statuses.add((await client.get("/api/registry.all", headers=key)).status_code)
            body = {"registryName": "x" * 70_000}
            # Refused for what is in it, and so it was read.
            large = await client.post("/api/registry.create", headers=key, json=body)
            assert large.status_code == 400, large.text
        return statuses


def is_alive(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", verify=tls_context()).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture
async def target(world: World, tmp_path: Path) -> AsyncIterator[Target]:
    greedy = "a key that takes all there is 0123456789"
    await world.owner.execute(ADD_KEY, (make_id(), world.organization_id, greedy.encode()))
    await world.owner.execute(ADD_KEY, (make_id(), world.organization_id, ADMIN_KEY.encode()))
    port = free_port()
    child = Child.start(
        "api",
        (sys.executable, "-m", "api", "--port", str(port)),
        log=tmp_path / "api.log",
        env={
            "WHARF_DATABASE_URL": world.database.url("wharf_api"),
            "WHARF_VAULT_PUBLIC_KEY": str(PrivateKey.generate().public),
        },
        wrapper=("prlimit", f"--nofile={OPEN_FILES}"),
    )
    target = Target(port, child.log, ADMIN_KEY, greedy)
    try:
        ready = timedelta(seconds=120)
        await asyncio.to_thread(child.wait_until, lambda: is_alive(target.url), deadline=ready)
        yield target
    finally:
        await asyncio.to_thread(child.stop)


@asynccontextmanager
async def attacking(target: Target, *sent: bytes, count: int = ATTACKERS) -> AsyncIterator[None]:
    """Connections that send something in turn, and then nothing more."""
    async with AsyncExitStack() as stack:
        for number in range(count):
            _, writer = await target.connect()
            stack.callback(writer.close)
            writer.write(sent[number % len(sent)])
        yield


HEAD = b"GET /api/registry.all HTTP/1.1\r\nHost: api.test\r\n"
BODY = (
    b"POST /api/registry.create HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/json\r\n"
    b"Content-Length: 900000\r\n\r\n"
)
PAGE = b"GET /openapi.json HTTP/1.1\r\nHost: api.test\r\n\r\n"


async def test_a_good_caller_is_served_whatever_slow_and_greedy_clients_do(
    world: World, target: Target
) -> None:
    server = await world.add_server()
    job_id = await world.submit(server)
    # Fewer connections than one address may have: so each of its guesses is answered.
    limits = httpx2.Limits(max_connections=20)
    async with httpx2.AsyncClient(base_url=target.url, timeout=20, limits=limits) as client:
        async with attacking(target, b"", HEAD[:30], HEAD):
            assert await target.ask(client) == {200}, "half-sent heads"
        async with attacking(target, BODY, BODY + b" " * 1000):
            assert await target.ask(client) == {200}, "half-sent bodies"
        # The first one to ask has it made, which takes a moment. Not kept open: a connection of
        # ours that waits for its next request may make room for another one.
        closing = {"connection": "close"}
        assert (await client.get("/openapi.json", headers=closing)).status_code == 200
        async with attacking(target, PAGE * 10, count=100):
            assert await target.ask(client) == {200}, "slow readers"

        # A key that was good lately is asked for, whatever else comes from its address.
        greedy = {"x-api-key": target.greedy, "connection": "close"}
        assert (await client.get("/api/registry.all", headers=greedy)).status_code == 200
        wrong = await asyncio.gather(*(guess(client, number) for number in range(100)))
        assert await target.ask(client) == {200}, "wrong keys"
        assert wrong.count(429) >= 50 and set(wrong) == {401, 429}

        async with AsyncExitStack() as stack:
            streams = [await stream(stack, target, job_id) for _ in range(100)]
            assert await target.ask(client) == {200}, "streams"
            assert set(streams) == {200, 429}
            metrics = (await client.get("/metrics")).text

    assert counted(metrics, "wharf_connections_evicted_total") > 0
    assert counted(metrics, "wharf_guesses_refused_total") >= 50
    message = target.log.read_bytes()
    assert b"Traceback" not in message and len(message) < 500_000


async def guess(client: httpx2.AsyncClient, number: int) -> int:
    headers = {"x-api-key": f"guess-{number}", "connection": "close"}
    answer = await client.get("/api/registry.all", headers=headers)
    return answer.status_code


async def stream(stack: AsyncExitStack, target: Target, job_id: str) -> int:
    """Open a stream of the greedy key, and keep it; gives its status."""
    reader, writer = await target.connect()
    stack.callback(writer.close)
    writer.write(
        f"GET /api/job.events?jobId={job_id} HTTP/1.1\r\nHost: api.test\r\n"
        f"x-api-key: {target.greedy}\r\n\r\n".encode()
    )
    return int((await reader.readline()).split()[1])


def counted(metrics: str, name: str) -> float:
    [line] = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])
