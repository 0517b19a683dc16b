"""The run of the stages: timed, stopped at the first failure, with the verified claims."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from shared.coroutines import end
from shared.errors import InvalidInputError, RegistryError
from shared.faults import FAULTS, FaultCode
from shared.jobs.diagnosis import Outcome, ProbeReport, Stage, StageResult

CLAIMS = {
    Stage.DNS: "that the host has an address",
    Stage.TCP: "that the port can be reached",
    Stage.TLS: "that a valid certificate vouches for the registry",
    Stage.PING: "that a registry answers there",
    Stage.AUTH: "that username and password are right",
    Stage.PULL: "that this login may pull from {repository}",
    Stage.PUSH: "that this login may push to {repository}",
}
"""The claim that a stage verifies if it succeeds; the other stages verify none."""


@dataclass(frozen=True)
class Finding:
    """The finding of a stage that did not fail; ``is_verified`` if it verifies its claim.

    ``repository`` is another one than requested, for which the claim was verified.
    """

    evidence: str
    outcome: Outcome = Outcome.OK
    is_verified: bool = True
    repository: str = ""


Step = Callable[[], Awaitable[Finding]]
OnStage = Callable[[StageResult], None]


class StageRunner:
    """One run of the stages; ``time_limit`` is the time for all of them together.

    ``on_stage`` gets the result of each stage that was run, as soon as it is known.
    """

    def __init__(self, time_limit: timedelta, on_stage: OnStage = lambda _: None) -> None:
        self._time_limit = time_limit
        self._on_stage = on_stage
        self._ends_at = time.monotonic() + time_limit.total_seconds()
        self._results: list[StageResult] = []
        self._verified: dict[Stage, str] = {}

    async def run(self, *steps: tuple[Stage, Step]) -> None:
        """Run one stage or several side by side, unless an earlier one failed.

        The failure of one ends those that come after it.
        """
        tasks = [asyncio.create_task(self._run_timed(*step)) for step in steps]
        try:
            for (stage, _), task in zip(steps, tasks, strict=True):
                if self._has_failed:
                    self._results.append(StageResult(stage=stage, outcome=Outcome.NOT_RUN))
                else:
                    self._add(*await task)
        finally:
            await end(*tasks)

    def _add(self, result: StageResult, finding: Finding | None) -> None:
        self._results.append(result)
        self._on_stage(result)
        if finding and finding.is_verified:
            self._verified[result.stage] = finding.repository

    async def _run_timed(self, stage: Stage, step: Step) -> tuple[StageResult, Finding | None]:
        if self._has_failed:
            return StageResult(stage=stage, outcome=Outcome.NOT_RUN), None
        started = time.monotonic()
        result, finding = await self._run(stage, step, self._ends_at - started)
        elapsed = round((time.monotonic() - started) * 1000, 1)
        return result.model_copy(update={"milliseconds": elapsed}), finding

    def report(self, *, host: str, repository: str) -> ProbeReport:
        """Return all results, and the claims that they verify."""
        where = repository or "the repository"
        claims = {
            stage: text.format(repository=self._verified.get(stage) or where)
            for stage, text in CLAIMS.items()
        }
        return ProbeReport(
            host=host,
            repository=repository,
            stages=tuple(self._results),
            verified=tuple(text for stage, text in claims.items() if stage in self._verified),
            not_verified=tuple(
                text for stage, text in claims.items() if stage not in self._verified
            ),
        )

    @property
    def _has_failed(self) -> bool:
        return any(result.outcome is Outcome.FAILED for result in self._results)

    async def _run(
        self, stage: Stage, step: Step, seconds: float
    ) -> tuple[StageResult, Finding | None]:
        try:
            async with asyncio.timeout(seconds):
                finding = await step()
        except (RegistryError, InvalidInputError) as error:
            return _make_failure(stage, error), None
        except TimeoutError:
            return _make_failure(stage, self._make_timeout()), None
        result = StageResult(stage=stage, outcome=finding.outcome, evidence=finding.evidence)
        return result, finding

    def _make_timeout(self) -> RegistryError:
        seconds = self._time_limit.total_seconds()
        return RegistryError(FaultCode.CONN_TIMEOUT, f"the test was stopped after {seconds:g} s")


def _make_failure(stage: Stage, error: RegistryError | InvalidInputError) -> StageResult:
    fault, code = error.fault(), FaultCode(error.code)
    return StageResult(
        stage=stage,
        outcome=Outcome.FAILED,
        code=code,
        evidence=f"{fault.message} ({fault.evidence})" if fault.evidence else fault.message,
        remedy=fault.remedy or FAULTS[code].remedy,
        retry_after_seconds=fault.retry_after_seconds,
    )
