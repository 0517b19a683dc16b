"""Stages run one after the other: timed, stopped at the first failure, and what they prove."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

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
"""What a stage proves if it is good; no other stage proves anything."""


@dataclass(frozen=True)
class Finding:
    """What a stage found where it did not fail."""

    evidence: str
    outcome: Outcome = Outcome.OK
    is_proof: bool = True


class Ladder:
    """One climb; ``whole`` is the time for all stages together."""

    def __init__(self, whole: timedelta) -> None:
        self._whole = whole
        self._ends_at = time.monotonic() + whole.total_seconds()
        self._results: list[StageResult] = []
        self._proved: set[Stage] = set()

    async def climb(self, stage: Stage, step: Callable[[], Awaitable[Finding]]) -> None:
        """Run a stage, unless one before it failed."""
        if self._has_failed:
            self._results.append(StageResult(stage=stage, outcome=Outcome.NOT_RUN))
            return
        started = time.monotonic()
        result = await self._run(stage, step, self._ends_at - started)
        spent = round((time.monotonic() - started) * 1000, 1)
        self._results.append(result.model_copy(update={"milliseconds": spent}))

    def report(self, *, host: str, repository: str) -> ProbeReport:
        """Everything that was found, and exactly what that proves."""
        where = repository or "the repository"
        claims = {stage: text.format(repository=where) for stage, text in CLAIMS.items()}
        return ProbeReport(
            host=host,
            repository=repository,
            stages=tuple(self._results),
            proved=tuple(text for stage, text in claims.items() if stage in self._proved),
            not_proved=tuple(text for stage, text in claims.items() if stage not in self._proved),
        )

    @property
    def _has_failed(self) -> bool:
        return any(result.outcome is Outcome.FAILED for result in self._results)

    async def _run(
        self, stage: Stage, step: Callable[[], Awaitable[Finding]], seconds: float
    ) -> StageResult:
        try:
            async with asyncio.timeout(seconds):
                finding = await step()
        except (RegistryError, InvalidInputError) as error:
            return _make_failure(stage, error)
        except TimeoutError:
            return _make_failure(stage, self._make_overdue())
        if finding.is_proof:
            self._proved.add(stage)
        return StageResult(stage=stage, outcome=finding.outcome, evidence=finding.evidence)

    def _make_overdue(self) -> RegistryError:
        seconds = self._whole.total_seconds()
        return RegistryError(
            FaultCode.CONN_TIMEOUT, f"the test is not over after {seconds:g} s and was given up"
        )


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
