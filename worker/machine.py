"""Describe this server: its Engine, the disk that holds its images, and its clock."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from shared.errors import EngineError
from shared.versions.oldest import OLDEST_ENGINE_API, is_older
from worker.engine.calls import NEEDED_CALLS, find_refused_calls
from worker.engine.transport.connection import Engine
from worker.engine.transport.information import EngineInfo

Describe = Callable[[], Awaitable[dict[str, Any]]]
"""Return the Engine's description as it is stored; empty while the Engine is unreachable."""

SLOWEST_SECONDS = 0.5
"""An exchange that takes longer is too imprecise for a comparison of the clocks."""

SYSTEMD = Path("/run/systemd/system")
"""This directory is there if systemd runs (``sd_booted(3)``)."""

log = structlog.get_logger()


@dataclass
class Clock:
    """The seconds by which our clock is ahead of PostgreSQL's, to a quarter of a second."""

    ahead: float | None = None

    def compare(self, requested_at: float, answered_at: float, their_time: float | None) -> None:
        """Compare with their time, read between two times of our clock (RFC 5905, figure 2)."""
        if their_time is not None and 0 <= answered_at - requested_at <= SLOWEST_SECONDS:
            self.ahead = round((requested_at + answered_at) / 2 - their_time, 3)


async def describe_machine(engine: Engine, host_paths: Sequence[str] = ()) -> dict[str, Any]:
    """Return the Engine's description, the paths that containers may mount, and its disk space.

    ``refused_calls`` are those that a proxy in front of the Engine does not let through.
    ``health_checks`` is false if the Engine never runs the health checks of containers.

    The disk space is left out if this process does not see the disk.
    """
    try:
        refused = await find_refused_calls(engine)
        info = None if NEEDED_CALLS[0].shown in refused else await engine.info()
    except EngineError as error:
        log.warning("engine_unreachable", code=error.code)
        return {}
    if refused:
        log.warning("engine_calls_refused", calls=", ".join(refused))
    if info is None:
        return {"refused_calls": refused}
    if is_older(info.newest_api_version, OLDEST_ENGINE_API):
        log.warning("engine_too_old", engine=info.engine_version, needed_api=OLDEST_ENGINE_API)
    disk = await _find_disk(engine, info.data_root)
    described = {**asdict(info), **disk, "host_paths": list(host_paths)}
    if refused:
        described["refused_calls"] = refused
    if not _runs_health_checks(engine, info):
        log.warning("engine_without_health_checks", engine=info.engine_version)
        described["health_checks"] = False
    return described


async def find_free_bytes(engine: Engine) -> int | None:
    """Return the free space on the disk of the Engine's images; ``None`` if it is not visible.

    Raises:
        EngineError: the Engine does not answer.
    """
    info = await engine.info()
    return (await _find_disk(engine, info.data_root)).get("disk_free_bytes")


def _runs_health_checks(engine: Engine, info: EngineInfo) -> bool:
    """Return whether the Engine runs health checks: Podman does by timers of systemd."""
    if not info.is_podman or info.cgroup_driver == "systemd":
        return True
    return engine.docker_host.startswith("unix://") and SYSTEMD.is_dir()


async def _find_disk(engine: Engine, data_root: str) -> dict[str, int]:
    is_here = engine.docker_host.startswith("unix://")
    return await asyncio.to_thread(_disk, data_root) if is_here else {}


def _disk(path: str) -> dict[str, int]:
    """Return nothing if the directory is missing: a container does not see the Engine's files."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return {}
    return {
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "disk_total_bytes": disk.f_blocks * disk.f_frsize,
    }
