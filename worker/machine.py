"""What this server says of itself: its Engine, the disk that holds its images, its clock."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from shared.errors import EngineError
from shared.versions import OLDEST_ENGINE_API, is_older
from worker.engine.transport.connection import Engine

Describe = Callable[[], Awaitable[dict[str, Any]]]
"""Gives what the Engine says of itself, as it is stored; empty while it is away."""

SLOWEST_SECONDS = 0.5
"""An exchange that takes longer says too little of when, within it, the other clock was read."""

log = structlog.get_logger()


@dataclass
class Clock:
    """By how many seconds ours is ahead of PostgreSQL's, to a quarter of a second or better."""

    ahead: float | None = None

    def compare(self, asked: float, answered: float, theirs: float | None) -> None:
        """Their time, read at some moment between these two of ours (RFC 5905, figure 2)."""
        if theirs is not None and 0 <= answered - asked <= SLOWEST_SECONDS:
            self.ahead = round((asked + answered) / 2 - theirs, 3)


async def describe_machine(engine: Engine, host_paths: Sequence[str] = ()) -> dict[str, Any]:
    """The Engine's own description, what containers may mount, and the room on its disk.

    The room is left out where this process does not see the disk.
    """
    try:
        info = await engine.info()
    except EngineError as error:
        log.warning("engine_away", code=error.code)
        return {}
    if is_older(info.newest_api_version, OLDEST_ENGINE_API):
        log.warning("engine_too_old", engine=info.engine_version, needed_api=OLDEST_ENGINE_API)
    disk = await _find_disk(engine, info.data_root)
    return {**asdict(info), **disk, "host_paths": list(host_paths)}


async def find_free_bytes(engine: Engine) -> int | None:
    """The room on the disk that holds the Engine's images; ``None`` where it cannot be seen.

    Raises:
        EngineError: the Engine does not answer.
    """
    info = await engine.info()
    return (await _find_disk(engine, info.data_root)).get("disk_free_bytes")


async def _find_disk(engine: Engine, data_root: str) -> dict[str, int]:
    is_here = engine.docker_host.startswith("unix://")
    return await asyncio.to_thread(_disk, data_root) if is_here else {}


def _disk(path: str) -> dict[str, int]:
    """Nothing where there is no such directory: a container sees others than the Engine."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return {}
    return {
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "disk_total_bytes": disk.f_blocks * disk.f_frsize,
    }
