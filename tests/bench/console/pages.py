"""Time the pages of the console in front of a million jobs, 1,000 servers and 200 registries.

All of it belongs to one organization, so that every list is as long as it can be.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from starlette.applications import Starlette

from api.main import create_app
from shared.settings import ApiSettings
from shared.vault import PrivateKey
from tests.api.console.browsing import Browser, invite, join, open_browser
from tests.bench.measure import Figure, percentile
from tests.bench.scene import Scene
from tests.databases import Database, start_postgres
from tests.scale.conftest import LARGE
from tests.scale.rows import load
from worker.local.cluster import SUPERUSER

ROUNDS = 40
GOAL_MILLISECONDS = 200
TABLES = ("registry", "server", "job", "api_key", "rotation")
ONE = "UPDATE {} SET organization_id = 'organization-0000'"
PATHS = (
    *("", "/registries", "/matrix", "/jobs", "/jobs?state=queued", "/jobs?state=failed"),
    *("/applications", "/rollbacks", "/servers", "/webhooks", "/audit", "/people", "/keys"),
)


def measure(scene: Scene) -> Iterator[Figure]:
    postgres = start_postgres(scene.directory / "pages")
    try:
        database = Database.create(postgres)
        times = asyncio.run(_times(database))
    finally:
        postgres.stop()
    for name, milliseconds in times.items():
        what = f"page {name}, p95, {LARGE.finished:,} ended jobs"
        yield Figure(what, "ms", milliseconds, goal=f"< {GOAL_MILLISECONDS} ms")


async def _times(database: Database) -> dict[str, float]:
    async with await AsyncConnection.connect(
        database.url(SUPERUSER), autocommit=True, row_factory=dict_row
    ) as superuser:
        await load(superuser, replace(LARGE, waiting=1_000))
        await superuser.execute("SET session_replication_role = 'replica'")
        for table in TABLES:
            await superuser.execute(ONE.format(table).encode())
        await superuser.execute("VACUUM (ANALYZE)")
        found = await superuser.execute(
            "SELECT job_id, registry_id, server_id FROM job WHERE registry_id IS NOT NULL"
            " ORDER BY job_id DESC LIMIT 1"
        )
        row = await found.fetchone() or {}
    objects = (
        f"/jobs/{row['job_id']}",
        f"/registries/{row['registry_id']}",
        f"/servers/{row['server_id']}",
    )
    async with _open(database) as app, open_browser(app) as browser:
        assert (await join(browser, invite(database, "owner"), "a@example.com")).status_code == 303
        return {path or "overview": await _time(browser, path) for path in (*PATHS, *objects)}


@asynccontextmanager
async def _open(database: Database) -> AsyncIterator[Starlette]:
    settings = {
        "database_url": database.url("wharf_api"),
        "vault_public_key": str(PrivateKey.generate().public),
        "api_rate_per_minute": 0,
    }
    app = create_app(ApiSettings.model_validate(settings))
    async with app.router.lifespan_context(app):
        yield app


async def _time(browser: Browser, path: str) -> float:
    """Return the p95 of one page in milliseconds; its first requests make plans and caches."""
    times = []
    for number in range(ROUNDS + 5):
        begun = time.perf_counter()
        answer: httpx2.Response = await browser.client.get(f"/console{path}")
        assert answer.status_code == 200, (path, answer.status_code)
        if number >= 5:
            times.append((time.perf_counter() - begun) * 1000)
    return percentile(times, 0.95)
