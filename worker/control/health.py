"""``python -m worker.control.health``: exit with 0 if a control process had a recent heartbeat.

It is the health check of a container with control's settings.
"""

import asyncio
import os
import sys

import psycopg

from shared.errors import SetupError
from shared.settings import ControlSettings, load

SEEN = "SELECT max(seen_at) > now() - interval '10 seconds' FROM control"
CONNECT_SECONDS = 5


async def is_seen(url: str) -> bool:
    """Return whether a control process had a heartbeat within ten seconds."""
    async with await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=CONNECT_SECONDS
    ) as connection:
        row = await (await connection.execute(SEEN)).fetchone()
    return bool(row and row[0])


def main() -> None:
    try:
        seen = asyncio.run(is_seen(load(ControlSettings, os.environ).direct_url))
    except (SetupError, psycopg.Error) as error:
        sys.exit(f"not healthy: {type(error).__name__}")
    sys.exit(None if seen else "not healthy: no control process had a heartbeat for ten seconds")


if __name__ == "__main__":
    main()
