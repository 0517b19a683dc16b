"""Facts of a server for its pages: its state, its Engine, and the jobs that it runs.

The Engine's description comes from the worker, so its form is checked here.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from api.console.page import Page
from shared.jobs.commands import RULES, JobClass, Kind

MAX_CLOCK_SECONDS = 5.0
ACTIVE = ("running", "dispatched")
JOBS = 200
TEXTS = {
    "engineVersion": "Docker Engine",
    "apiVersion": "API version",
    "imageStore": "Image store",
    "storageDriver": "Storage driver",
    "swarm": "Swarm",
    "dataRoot": "Data directory",
}

Server = dict[str, Any]
Job = dict[str, Any]


@dataclass(frozen=True)
class Disk:
    """The disk of the Engine's images."""

    free_bytes: int
    total_bytes: int

    @property
    def used_bytes(self) -> int:
        return max(self.total_bytes - self.free_bytes, 0)


@dataclass(frozen=True)
class Slots:
    """The work slots of one class of jobs; ``used`` counts those that were sent there too."""

    job_class: str
    used: int
    limit: int
    is_paused: bool


def state_of(server: Server, jobs: int = 0) -> str:
    """Return the state of a server with so many running jobs, in one word or two."""
    if server["seenAt"] is None:
        return "never_joined"
    if server["approvedAt"] is None:
        return "not_approved"
    if not server["online"]:
        return "offline"
    if server["draining"]:
        return "draining"
    if server["drainRequestedAt"]:
        return "draining" if jobs else "drained"
    return "paused" if server["pausedClasses"] else "online"


def describe_engine(server: Server) -> dict[str, str]:
    """Return what is known of the Engine, by labels."""
    engine = server["engine"] or {}
    return {
        label: engine[name]
        for name, label in TEXTS.items()
        if isinstance(engine.get(name), str) and engine[name]
    }


def find_disk(server: Server) -> Disk | None:
    """Return the space on the Engine's disk, if the worker sees it."""
    engine = server["engine"] or {}
    sizes = [engine.get(name) for name in ("diskFreeBytes", "diskTotalBytes")]
    free, total = (size if isinstance(size, int) and size >= 0 else None for size in sizes)
    return None if free is None or total is None else Disk(free, total)


def warn_of(server: Server) -> list[str]:
    """Return what an administrator should look at."""
    engine = server["engine"] or {}
    ahead = server["clockAheadSeconds"] or 0.0
    found = []
    if abs(ahead) > MAX_CLOCK_SECONDS:
        relation = "ahead of" if ahead > 0 else "behind"
        found.append(f"Its clock is {abs(ahead):.0f} s {relation} the database's: set the clock.")
    if server["online"] and not server["engine"]:
        found.append("Its Docker Engine does not answer: see the log of the worker.")
    if engine.get("healthChecks") is False:
        found.append("Its Engine does not run health checks.")
    if server["secondWorkerAt"]:
        found.append(
            "Two workers used its state directory: give each worker a state directory of its own."
        )
    if isinstance(refused := engine.get("refusedCalls"), list) and refused:
        calls = ", ".join(str(each) for each in refused)
        found.append(f"A proxy before its Engine refuses calls: {calls}.")
    return found


def count_slots(server: Server, jobs: list[Job]) -> list[Slots]:
    """Return the slots of each class of jobs."""
    used = Counter(class_of(job) for job in jobs)
    return [
        Slots(name, used[name], server[f"{name}Limit"], name in server["pausedClasses"])
        for name in JobClass
    ]


def class_of(job: Job) -> str | None:
    """Return the class of a job; of a kind that is not known here ``None``."""
    return RULES[Kind(job["kind"])].job_class if job["kind"] in {*Kind} else None


async def find_active(page: Page, **chosen: str) -> list[Job]:
    """Return the newest jobs that are running, or were sent to their server."""
    calls = (page.call("job.all", state=state, limit=JOBS, **chosen) for state in ACTIVE)
    found = await asyncio.gather(*calls)
    return [job for each in found for job in each["jobs"]]
