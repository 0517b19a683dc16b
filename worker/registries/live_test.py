"""Test a registry and show its finished stages while the test runs, if it takes long enough."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from shared.jobs.commands import RegistryTest
from shared.jobs.diagnosis import ProbeReport, Stage, StageResult
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.login import Grants
from worker.oci.probe_stages import OnStage
from worker.registries.diagnosis import run_test

QUIET = timedelta(milliseconds=250)
"""The time for which a test reports nothing: most have ended by then, and cost no further call."""


async def run_live_test(
    command: RegistryTest, grants: Grants, attempt: Attempt, tools: Tools
) -> ProbeReport:
    """Test the registry as `run_test`; its finished stages are the progress of the attempt.

    Raises:
        NegativeResultError: a stage failed; it carries the whole report.
        RegistryError: ``auth_missing``, the test needs a login.
    """
    with showing_stages(attempt) as on_stage:
        return await run_test(command, grants, tools, on_stage=on_stage)


@contextmanager
def showing_stages(attempt: Attempt, quiet: timedelta = QUIET) -> Iterator[OnStage]:
    """Give a function that makes each result a part of the progress: ``{"stages": [...]}``.

    Nothing is shown before ``quiet`` has passed. What was not reported by the end of the block is
    withdrawn: the report has it.
    """
    results: dict[Stage, StageResult] = {}
    is_quiet = True

    def show() -> None:
        nonlocal is_quiet
        is_quiet = False
        stages = [each.model_dump(mode="json", by_alias=True) for each in results.values()]
        attempt.progress = {"stages": stages}
        if attempt.on_progress is not None:
            attempt.on_progress()

    def on_stage(result: StageResult) -> None:
        if result.stage is Stage.PARSE:
            results.clear()
        results[result.stage] = result
        if not is_quiet:
            show()

    timer = asyncio.get_running_loop().call_later(quiet.total_seconds(), show)
    try:
        yield on_stage
    finally:
        timer.cancel()
        attempt.progress = attempt.reported_progress
