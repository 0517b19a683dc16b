"""The counters of ended jobs for ``/metrics``: control counts them in the database."""

from collections.abc import Awaitable, Callable, Sequence

from prometheus_client.core import Metric

from api.operations.metric_families import Labels, Row, make_counters, make_histogram
from shared.jobs.commands import RULES, JobClass, Kind
from shared.jobs.durations import BOUNDS, RUNNING, WAITING
from shared.jobs.states import FINAL

COUNTS = "SELECT kind, state, code, jobs, moved_bytes FROM job_count"
DURATIONS = "SELECT kind, phase, up_to, jobs, seconds FROM job_duration"

ReadRows = Callable[[str], Awaitable[list[Row]]]


async def count_ended_jobs(rows: ReadRows) -> list[Metric]:
    """Return the counters, and the histograms of waiting and run times."""
    counts, durations = await rows(COUNTS), await rows(DURATIONS)
    return [
        make_counters(
            "wharf_jobs_finished",
            "Jobs that ended, by outcome; code: the error, empty without one.",
            _numbers(counts),
            *("kind", "outcome", "code"),
        ),
        make_counters(
            "wharf_transfer_bytes",
            "Bytes that succeeded transfers moved.",
            _bytes(counts),
            "kind",
        ),
        make_histogram(
            "wharf_job_wait_seconds",
            "Jobs waited so long from their due time until their last attempt started; "
            "it includes the jobs that they need.",
            _durations(durations, WAITING),
            "kind",
            BOUNDS,
        ),
        make_histogram(
            "wharf_job_run_seconds",
            "Jobs ran so long in their last attempt.",
            _durations(durations, RUNNING),
            "kind",
            BOUNDS,
        ),
    ]


def _numbers(counts: Sequence[Row]) -> dict[Labels, float]:
    found: dict[Labels, float] = {
        (str(kind), str(state), ""): 0 for kind in Kind for state in sorted(FINAL)
    }
    return found | {(row["kind"], row["state"], row["code"]): row["jobs"] for row in counts}


def _bytes(counts: Sequence[Row]) -> dict[Labels, float]:
    found: dict[Labels, float] = {
        (str(kind),): 0 for kind in Kind if RULES[kind].job_class is JobClass.TRANSFER
    }
    for row in counts:
        if (row["kind"],) in found:
            found[row["kind"],] += row["moved_bytes"]
    return found


def _durations(durations: Sequence[Row], phase: str) -> dict[str, tuple[dict[float, int], float]]:
    found: dict[str, tuple[dict[float, int], float]] = {str(kind): ({}, 0.0) for kind in Kind}
    for row in durations:
        if row["phase"] == phase:
            counted, seconds = found.get(row["kind"], ({}, 0.0))
            found[row["kind"]] = ({**counted, row["up_to"]: row["jobs"]}, seconds + row["seconds"])
    return found
