"""Measure idle processes: resident memory, and CPU over five seconds."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Figure
from tests.bench.scene import Scene

SECONDS = 5.0
TICKS = os.sysconf("SC_CLK_TCK")


def measure(scene: Scene) -> Iterator[Figure]:
    pids = {name: child.pid for name, child in scene.stack.children.items()}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(SECONDS)
    for name, pid in pids.items():
        used = (cpu_seconds(pid) - before[name]) / SECONDS * 100
        yield Figure(f"memory of {name}", "MB", proportional_bytes(pid) / 1e6, goal="< 130")
        yield Figure(f"idle CPU of {name}", "%", used)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def proportional_bytes(pid: int) -> int:
    """Its memory; what it shares with others counts in part (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
