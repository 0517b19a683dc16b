"""Read a connection test from its job: a worker sent it, so its form is checked."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.jobs.diagnosis import ProbeReport, Stage, StageResult
from shared.jobs.states import State

STAGES = TypeAdapter(tuple[StageResult, ...])


@dataclass(frozen=True)
class ShownTest:
    """A test: its ``report`` once it has ended, or the ``stages`` that have ended so far.

    ``running`` is the stage that comes next. ``job`` is as `job.one` returns it.
    """

    job: dict[str, Any]
    report: dict[str, Any] | None
    stages: list[dict[str, Any]]
    running: Stage | None

    @property
    def is_over(self) -> bool:
        return State(self.job["state"]).is_final

    @property
    def has_passed(self) -> bool:
        return bool(self.job["state"] == State.SUCCEEDED)


def read_test(job: dict[str, Any]) -> ShownTest:
    """Return the test of a job of the kind ``registry.test``."""
    stages = _read_stages(job["progress"])
    ended = {each["stage"] for each in stages}
    is_running = job["state"] == State.RUNNING
    following = next((each for each in Stage if each not in ended), None)
    return ShownTest(job, read_report(job), stages, following if is_running else None)


def read_report(job: dict[str, Any]) -> dict[str, Any] | None:
    """Return the report of a test's job; ``None`` if it has none that can be read."""
    document = job["result"] or (job["error"] or {}).get("report")
    try:
        report = ProbeReport.model_validate(document)
    except ValidationError:
        return None
    return report.model_dump(mode="json", by_alias=True)


def _read_stages(progress: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the stages that have ended, as far as what the worker reported can be read."""
    try:
        stages = STAGES.validate_python((progress or {}).get("stages", ()))
    except ValidationError:
        return []
    return [each.model_dump(mode="json", by_alias=True) for each in stages[: len(Stage)]]
