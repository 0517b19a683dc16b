"""``python -m worker.server.health``: exit with 0 if the server is enrolled and its Engine answers.

This is the health check of the worker's container. It ignores the connection to the control plane,
which `server.one` shows, as a restart does not repair a broken connection.
"""

import asyncio
import os
import sys

from shared.errors import EngineError, SetupError
from shared.settings import WorkerSettings, load
from worker.engine.transport.connection import Engine

DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
ENROLMENT_FILE = "server.json"
"""The file that `StateDirectory.save_enrolment` writes; the worker locks the directory itself."""


async def _ping(docker_host: str) -> None:
    async with Engine.open(docker_host) as engine:
        await engine.ping()


def main() -> None:
    try:
        state = load(WorkerSettings, os.environ).state_dir
        asyncio.run(_ping(os.environ.get("DOCKER_HOST", DEFAULT_DOCKER_HOST)))
    except (SetupError, EngineError) as error:
        sys.exit(f"not healthy: {error.message}")
    if not (state / ENROLMENT_FILE).exists():
        sys.exit("not healthy: this server has not joined yet")


if __name__ == "__main__":
    main()
