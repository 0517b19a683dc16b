"""How often a key may ask, with a real Valkey beside the API, and with one that fails."""

import asyncio
import json
import math
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from api.errors import RateLimitedError
from api.limits.rate_limit import TIMEOUT, RateLimiter, Usage
from api.main import create_app
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY, open_client
from tests.waiting import wait_until
from worker.broker_users import ADMIN
from worker.local.valkey import LocalValkey

LIMIT = 20


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalValkey]:
    server = LocalValkey.start(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def admin(broker: LocalValkey) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(broker.url(ADMIN), decode_responses=True) as client:
        client.flushall()
        yield client


@dataclass
class Clock:
    """A clock that advances only when the test says so; it begins with a minute."""

    now: float = 60_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def limited(
    settings: ApiSettings, url: str, limit: int = LIMIT, organization: int = 0, address: int = 0
) -> AsyncIterator[Starlette]:
    """An API process with a limit."""
    limits = {
        "api_rate_per_minute": limit,
        "api_rate_per_organization": organization,
        "api_rate_per_address": address,
    }
    changed = {**settings.model_dump(), "broker_url": url, **limits}
    app = create_app(ApiSettings.model_validate(changed))
    async with app.router.lifespan_context(app):
        app.state.resources.limiter.clock = Clock()
        yield app


async def ask(client: httpx2.AsyncClient, times: int) -> list[int]:
    return [(await client.get("/api/registry.all")).status_code for _ in range(times)]


async def test_a_call_too_many_gets_a_time_to_retry(
    settings: ApiSettings, broker: LocalValkey, admin: "redis.Redis"
) -> None:
    async with limited(settings, broker.url("api")) as app, open_client(app, ADMIN_KEY) as client:
        statuses = await ask(client, LIMIT + 2)
        late = await client.get("/api/registry.all")
        strict = await client.get('/api/trpc/registry.all?input={"json":null}')
        batch = await client.get(
            "/api/trpc/registry.all,server.all",
            params={"batch": "1", "input": json.dumps({"0": {"json": None}, "1": {"json": None}})},
        )
        app.state.resources.limiter.clock.now += float(late.headers["retry-after"])
        again = await ask(client, 1)

    assert statuses == [200] * LIMIT + [429] * 2
    assert late.json()["code"] == "TOO_MANY_REQUESTS"
    assert late.json()["data"]["cause"]["code"] == "rate_limited"
    assert late.headers["retry-after"] == strict.headers["retry-after"] == "63"
    assert batch.headers["retry-after"] == "66"
    assert strict.json()["error"]["json"]["code"] == -32029
    assert (batch.status_code, len(batch.json())) == (429, 2)
    assert again == [200]


async def test_each_key_has_a_limit_of_its_own_and_nobody_has_none(
    settings: ApiSettings, broker: LocalValkey, admin: "redis.Redis"
) -> None:
    async with limited(settings, broker.url("api"), 3) as app:
        async with open_client(app, ADMIN_KEY) as client:
            created = (await client.post("/api/apiKey.create", json={"name": "x"})).json()
            assert await ask(client, 3) == [200, 200, 429]
        async with open_client(app, created["key"]) as other:
            assert await ask(other, 1) == [200]
        async with open_client(app, None) as nobody:
            assert await ask(nobody, 5) == [401] * 5
            assert (await nobody.get("/healthz")).status_code == 200


async def test_an_organization_has_a_limit_for_all_its_keys_and_answers_show_what_is_left(
    settings: ApiSettings, broker: LocalValkey, admin: "redis.Redis"
) -> None:
    async with limited(settings, broker.url("api"), 10, organization=4) as app:
        async with open_client(app, ADMIN_KEY) as client:
            created = (await client.post("/api/apiKey.create", json={"name": "x"})).json()
            shown = await client.get("/api/registry.all")
        async with open_client(app, created["key"]) as other:
            assert await ask(other, 2) == [200, 200]
            refused = await other.get("/api/registry.all")

    assert {name: shown.headers[f"ratelimit-{name}"] for name in ("limit", "remaining")} == {
        "limit": "4",
        "remaining": "2",
    }
    assert 0 < int(shown.headers["ratelimit-reset"]) <= 120
    assert refused.status_code == 429
    assert refused.json()["message"].startswith("this organization has sent more than 4 requests")
    assert int(refused.headers["retry-after"]) > 0


async def test_an_address_has_a_limit_before_its_keys_are_looked_up(
    settings: ApiSettings, broker: LocalValkey, admin: "redis.Redis"
) -> None:
    async with (
        limited(settings, broker.url("api"), 10, address=2) as app,
        open_client(app, "wharf_wrong") as client,
    ):
        assert await ask(client, 3) == [401, 401, 429]


async def test_calls_that_a_key_s_own_limit_refuses_block_no_other_key_of_the_address(
    settings: ApiSettings, broker: LocalValkey, admin: "redis.Redis"
) -> None:
    async with limited(settings, broker.url("api"), 3, address=6) as app:
        async with open_client(app, ADMIN_KEY) as client:
            created = (await client.post("/api/apiKey.create", json={"name": "x"})).json()
            assert await ask(client, 12) == [200] * 2 + [429] * 10
        async with open_client(app, created["key"]) as other:
            assert await ask(other, 3) == [200] * 3
        async with open_client(app, "wharf_wrong") as nobody:
            assert await ask(nobody, 1) == [429]


async def test_every_call_of_a_batch_counts(
    settings: ApiSettings, broker: LocalValkey, admin: "redis.Redis"
) -> None:
    async with limited(settings, broker.url("api")) as app, open_client(app, ADMIN_KEY) as client:
        paths = ",".join(["registry.all"] * (LIMIT - 1))
        await client.get(f"/api/trpc/{paths}?batch=1&input={{}}")

        assert await ask(client, 2) == [200, 429]


async def test_processes_count_together_in_redis_by_their_own_user(
    settings: ApiSettings, broker: LocalValkey, admin: "redis.Redis"
) -> None:
    url = broker.url("api")
    async with (
        limited(settings, url) as first,
        limited(settings, url) as second,
        open_client(first, ADMIN_KEY) as one,
        open_client(second, ADMIN_KEY) as other,
    ):
        assert await ask(one, LIMIT - 5) == [200] * (LIMIT - 5)
        await wait_until(lambda: counted(admin) == LIMIT - 5)
        assert await ask(other, 1) == [200]
        await wait_until(lambda: counted(admin) == LIMIT - 4)
        await wait_until(lambda: usage_of(second).current == LIMIT - 4)

        assert await ask(other, 5) == [200] * 4 + [429]

    [key] = map(str, admin.keys("*"))
    assert key.startswith("limit:") and 0 < admin.pttl(key) <= 120_000
    assert admin.acl_log() == []


def counted(admin: "redis.Redis") -> int:
    return sum(int(admin.get(key) or 0) for key in admin.keys("limit:*"))


def usage_of(app: Starlette) -> Usage:
    limiter: RateLimiter = app.state.resources.limiter
    [usage] = limiter._usages.values()
    return usage


async def test_without_a_broker_there_is_no_limit(settings: ApiSettings) -> None:
    limiter = RateLimiter(None, 1)
    async with limiter.running():
        for _ in range(10):
            limiter.require_room("key")


async def test_a_broker_that_hangs_slows_and_refuses_nobody(
    settings: ApiSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broker = LocalValkey.start(tmp_path_factory.mktemp("hanging"))
    try:
        async with (
            limited(settings, broker.url("api"), 1_000_000) as app,
            open_client(app, ADMIN_KEY) as client,
        ):
            await ask(client, 2)
            os.kill(broker.child.pid, signal.SIGSTOP)
            slowest = 0.0
            begun = time.monotonic()
            while time.monotonic() < begun + 2.5:
                requested = time.monotonic()
                assert await ask(client, 1) == [200]
                slowest = max(slowest, time.monotonic() - requested)
            os.kill(broker.child.pid, signal.SIGCONT)
            with redis.Redis.from_url(broker.url(ADMIN)) as admin:
                # What was counted meanwhile is reported afterwards.
                await wait_until(lambda: counted(admin) >= usage_of(app).current > 10)
    finally:
        os.kill(broker.child.pid, signal.SIGCONT)
        broker.stop()

    # No request waited for the broker.
    assert slowest < TIMEOUT.total_seconds()


async def test_a_broker_that_is_away_is_not_asked_again_and_again() -> None:
    calls = 0

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    limiter = RateLimiter(f"redis://api:x@127.0.0.1:{port}/0", 100_000)
    async with limiter.running():
        until = time.monotonic() + 2.2
        while time.monotonic() < until:
            limiter.require_room("key")
            await asyncio.sleep(0.001)
    server.close()
    await server.wait_closed()

    # At once, after 1 s, and 2 s after that.
    assert 1 <= calls <= 2


async def test_a_limit_that_is_used_up_also_closes_the_port() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        limiter = RateLimiter(f"redis://127.0.0.1:{closed.getsockname()[1]}/0", 2, Clock())
        async with limiter.running():
            limiter.require_room("key", 2)
            with pytest.raises(RateLimitedError):
                limiter.require_room("key")


steps = st.lists(st.tuples(st.floats(0, 90), st.integers(1, 30)), max_size=40)


@given(st.integers(1, 50), steps)
def test_a_caller_that_waits_as_long_as_retry_after_says_is_let_in_and_no_minute_has_more(
    limit: int, requested: list[tuple[float, int]]
) -> None:
    clock = Clock()
    limiter = RateLimiter("redis://unused", limit, clock)
    taken: list[tuple[float, int]] = []
    for pause, wanted in requested:
        clock.now += pause
        try:
            limiter.require_room("key", wanted)
        except RateLimitedError as error:
            clock.now += error.retry_after_seconds
            limiter.require_room("key", wanted)
        taken.append((clock.now, wanted))

    for minute in {math.floor(moment / 60) for moment, _ in taken}:
        of_minute = [count for moment, count in taken if math.floor(moment / 60) == minute]
        assert sum(of_minute) <= max(limit, *of_minute)


def test_keys_that_are_quiet_are_forgotten() -> None:
    clock = Clock()
    limiter = RateLimiter("redis://unused", 10, clock)
    limiter.require_room("old")
    clock.now += 121
    limiter.require_room("new")

    limiter._delete_expired()

    assert list(limiter._usages) == ["new"]


async def test_the_limiter_stops_at_any_moment(broker: LocalValkey, admin: "redis.Redis") -> None:
    for moment in range(60):
        limiter = RateLimiter(broker.url("api"), 1000)
        async with asyncio.timeout(10), limiter.running():
            limiter.require_room("key")
            await asyncio.sleep(moment * 0.00002)
