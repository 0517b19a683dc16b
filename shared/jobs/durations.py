"""Durations: as text, and the buckets in which those of jobs are counted for ``/metrics``."""

from math import inf

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, inf)
"""The upper bounds in seconds; the last one takes all longer durations."""

WAITING, RUNNING = "waiting", "running"
PHASES = (WAITING, RUNNING)
"""The phases of a job that are measured: until its last attempt started, and that attempt."""

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def show_duration(seconds: int) -> str:
    """Return whole seconds in the largest unit that divides them, as in ``6 h``."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size} {unit}"
