"""``/healthz``: this process is alive. ``/readyz``: it can work, or why it cannot."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files

import psycopg
from psycopg.rows import DictRow
from starlette.responses import JSONResponse, Response

from api.limits.disk import DiskWatch
from shared.coroutines import within
from shared.database import Pool

CHECK = """
SELECT (SELECT version_num FROM alembic_version) AS head,
       coalesce((SELECT max(seen_at) > now() - interval '10 seconds' FROM control), false)
         AS control,
       (SELECT max(broker_error) FROM control WHERE seen_at > now() - interval '10 seconds')
         AS broker_error,
       pg_notification_queue_usage() AS notifications,
       EXISTS (SELECT FROM superuser_statements()) AS is_unconfined,
       EXISTS (SELECT FROM server WHERE removed_at < now() - interval '1 minute'
                  AND role_ready_at IS NOT NULL) AS has_leftovers
"""
CHECK_SECONDS = 3.0
"""The time limit of the check, also on an open connection to a frozen PostgreSQL."""

OLDER = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
)
"""Errors of a database that is not migrated."""

REVISION = re.compile(r"^revision\b[^=]*= *['\"]([^'\"]+)['\"]", re.MULTILINE)
DOWN_REVISION = re.compile(r"^down_revision\b[^=]*= *['\"]([^'\"]+)['\"]", re.MULTILINE)
"""The revision of a migration's file, and the one before it."""

NOTIFICATIONS_FILL = 0.25
"""The API is degraded if more of the queue is used; at twice this nothing is sent any more."""


@dataclass(frozen=True)
class Readiness:
    """With a ``failing`` check the API cannot work; with a ``degraded`` one it still takes jobs."""

    failing: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


@cache
def migration_head() -> str:
    """Return the newest migration of this version of the program.

    Read from the files, without Alembic: importing it takes a fifth of the API's start.
    """
    texts = [
        file.read_text()
        for folder in files("shared.migrations.versions").iterdir()
        if folder.is_dir()
        for file in folder.iterdir()
        if file.name.endswith(".py")
    ]
    known = {found[1] for text in texts if (found := REVISION.search(text))}
    earlier = {found[1] for text in texts if (found := DOWN_REVISION.search(text))}
    [head] = known - earlier
    return head


def answer_alive() -> Response:
    return JSONResponse({"status": "alive", "version": version("wharfinger")})


async def answer_ready(pool: Pool, disk: DiskWatch) -> Response:
    found = await _examine(pool)
    failing = [*found.failing, *(["disk"] if disk.is_full() else [])]
    body = {
        "status": "unready" if failing else "ready",
        "failing": failing,
        "degraded": list(found.degraded),
    }
    return JSONResponse(body, status_code=503 if failing else 200)


async def _examine(pool: Pool) -> Readiness:
    try:
        row = await within(CHECK_SECONDS, _check(pool))
    except (psycopg.OperationalError, TimeoutError):
        return Readiness(("database",))
    except OLDER:
        return Readiness(("migrations",))
    failing = {"migrations": row["head"] != migration_head(), "control": not row["control"]}
    degraded = {
        "broker": row["broker_error"] is not None,
        "notifications": row["notifications"] > NOTIFICATIONS_FILL,
        "confinement": row["is_unconfined"],
        "removed_servers": row["has_leftovers"],
    }
    return Readiness(_true(failing), _true(degraded))


async def _check(pool: Pool) -> DictRow:
    async with pool.connection(timeout=2) as connection:
        [row] = await (await connection.execute(CHECK)).fetchall()
    return row


def _true(checks: dict[str, bool]) -> tuple[str, ...]:
    return tuple(name for name, holds in checks.items() if holds)
