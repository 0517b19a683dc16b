"""``/healthz``: this process is alive. ``/readyz``: it can work, or what keeps it from that."""

from functools import cache
from importlib.metadata import version

import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory
from starlette.responses import JSONResponse, Response

from api.disk import DiskWatch
from shared.database import Pool

CHECK = """
SELECT (SELECT version_num FROM alembic_version) AS head,
       coalesce((SELECT max(seen_at) > now() - interval '10 seconds' FROM control), false)
         AS control
"""


@cache
def migration_head() -> str | None:
    """The newest migration that this version of the program knows."""
    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    return ScriptDirectory.from_config(config).get_current_head()


def answer_alive() -> Response:
    return JSONResponse({"status": "alive", "version": version("wharfinger")})


async def answer_ready(pool: Pool, disk: DiskWatch) -> Response:
    failing = await _failing(pool)
    if disk.is_full():
        failing.append("disk")
    body = {"status": "unready" if failing else "ready", "failing": failing}
    return JSONResponse(body, status_code=503 if failing else 200)


async def _failing(pool: Pool) -> list[str]:
    """Of ``database migrations control``: those that are not as they have to be."""
    try:
        async with pool.connection(timeout=2) as connection:
            row = await (await connection.execute(CHECK)).fetchone()
    except psycopg.OperationalError:
        return ["database"]
    except psycopg.errors.UndefinedTable:
        return ["migrations"]
    head, control = (row["head"], row["control"]) if row else (None, False)
    checks = {"migrations": head == migration_head(), "control": control}
    return [name for name, holds in checks.items() if not holds]
