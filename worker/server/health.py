"""``python -m worker.server.health``: ends well if this server is enrolled and its Engine answers.

For the health check of a container. Whether the control plane hears of this server is for
`server.one` to say: a worker that is cut off is not made better by a restart.
"""

import asyncio
import os
import sys

from shared.errors import EngineError, SetupError
from shared.settings import WorkerSettings, load
from worker.engine.transport.connection import Engine

DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
ENROLLED = "server.json"
"""What `StateDirectory.keep_enrolled` writes. The directory itself is locked by the worker."""


async def _ping(docker_host: str) -> None:
    async with Engine.open(docker_host) as engine:
        await engine.ping()


def main() -> None:
    try:
        state = load(WorkerSettings, os.environ).state_dir
        asyncio.run(_ping(os.environ.get("DOCKER_HOST", DEFAULT_DOCKER_HOST)))
    except (SetupError, EngineError) as error:
        sys.exit(f"not healthy: {error.message}")
    if not (state / ENROLLED).exists():
        sys.exit("not healthy: this server is not enrolled yet")


if __name__ == "__main__":
    main()
