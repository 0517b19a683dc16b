"""One attempt at one job, from claim to finish; the product's only broad ``except`` is here."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import structlog
from pydantic import BaseModel

from shared.errors import LeaseLostError, WharfError
from shared.faults import FAULTS, Fault, FaultCode
from shared.jobs.accesses import hosts_of
from shared.jobs.commands import (
    Command,
    parse_command,
)
from shared.jobs.states import LEASE, Outcome
from shared.vault import KeyRing
from worker.jobs.functions import ClaimAnswer, DatabaseAway, Functions, stored
from worker.login import Grants, login_context

TRY_AGAIN_SECONDS = 0.3

log = structlog.get_logger()


class Why(StrEnum):
    """Why a running attempt is stopped from outside."""

    CANCELLED = "cancelled"
    DRAINED = "drained"
    LEASE_LOST = "lease_lost"


Say = Callable[[int, str, Mapping[str, Any]], Awaitable[None]]


@dataclass
class Attempt:
    """An attempt that this worker has claimed or is about to.

    ``say`` stores an event of the job, by number, kind and content, while the attempt runs. It
    ``is_too_late`` once a stop has met what cannot be stopped: how that ends is how it ended.
    """

    job_id: str
    number: int
    task: asyncio.Task[Any] | None = None
    why: Why | None = None
    progress: dict[str, Any] | None = None
    told: dict[str, Any] | None = None
    claimed: bool = False
    is_too_late: bool = False
    say: Say | None = None

    @property
    def has_news(self) -> bool:
        """Whether there is progress that no beat has told yet."""
        return self.progress is not self.told

    @property
    def is_stopped(self) -> bool:
        return self.why is not None

    def stop(self, why: Why) -> None:
        """Stop the work; the first reason stands."""
        if self.why is None:
            self.why = why
            if self.task is not None:
                self.task.cancel()


@dataclass(frozen=True)
class End:
    """How an attempt ended, and the fault to show where it failed."""

    outcome: Outcome
    result: dict[str, Any] | None = None
    fault: Fault | None = None
    error: dict[str, Any] | None = None


Work = Callable[[Command, Grants, Attempt], Awaitable[BaseModel]]


class NegativeResultError(WharfError):
    """A job that did its work and found the answer to be no; ``report`` is kept with the error."""

    def __init__(self, fault: Fault, report: BaseModel) -> None:
        super().__init__(fault.message, remedy=fault.remedy)
        self.code = fault.code
        self.retryable = fault.retryable
        self.found = fault
        self.report = report

    def fault(self) -> Fault:
        return self.found


async def run_attempt(
    attempt: Attempt, functions: Functions, keys: KeyRing, server_id: str, work: Work
) -> End | None:
    """Claim, work, finish; ``None`` where the attempt is not ours (any more)."""
    claim = await _claim(attempt, functions)
    if claim.status != "claimed":
        return None
    attempt.claimed = True
    attempt.say = partial(functions.event, attempt.job_id, attempt.number)
    log.info("attempt_started", kind=claim.kind)
    if attempt.is_stopped:
        # Stopped while it was being claimed: it never began, and that is no failure.
        return await _finish(attempt, functions, End(Outcome.RETURNED))
    end = await _work(attempt, claim, keys, server_id, work)
    if (
        end
        and end.outcome is Outcome.FAILED
        and attempt.why is not None
        and not attempt.is_too_late
    ):
        # What fails on its way out was stopped, whatever it says of itself.
        end = _stopped(attempt)
    return await _finish(attempt, functions, end) if end else None


async def _claim(attempt: Attempt, functions: Functions) -> ClaimAnswer:
    while True:
        try:
            return await functions.claim(attempt.job_id, attempt.number)
        except DatabaseAway as error:
            log.warning("claim_again", error=type(error).__name__)
            if attempt.why is not None:
                raise LeaseLostError(f"job {attempt.job_id} was not claimed") from error
            await asyncio.sleep(TRY_AGAIN_SECONDS)


async def _work(
    attempt: Attempt, claim: ClaimAnswer, keys: KeyRing, server_id: str, work: Work
) -> End | None:
    """How the work ended; ``None`` where the lease is lost and nothing may be written."""
    limit = asyncio.timeout(claim.timeout_seconds)
    try:
        command = parse_command(claim.kind, claim.command)
        grants = _open_grants(attempt, claim, command, keys, server_id)
        async with limit:
            result = await _stoppable(attempt, work(command, grants, attempt))
        return End(Outcome.SUCCEEDED, result=result.model_dump(mode="json", by_alias=True))
    except asyncio.CancelledError:
        return _stopped(attempt)
    except TimeoutError as error:
        return _failed(_timed_out(claim) if limit.expired() else _broken(claim, error))
    except NegativeResultError as error:
        return _failed(error.fault(), report=error.report)
    except WharfError as error:
        return _failed(error.fault())
    except Exception as error:  # noqa: BLE001 - a handler's bug must end its job, not the worker
        return _failed(_broken(claim, error))


async def _stoppable(attempt: Attempt, work: Awaitable[BaseModel]) -> BaseModel:
    attempt.task = asyncio.ensure_future(work)
    if attempt.why is not None:
        attempt.task.cancel()
    try:
        result: BaseModel = await attempt.task
    finally:
        if not attempt.task.done():
            attempt.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await attempt.task
    return result


async def _finish(attempt: Attempt, functions: Functions, end: End) -> End | None:
    """The word of ours that was taken, if any was; repeated while the lease can still be ours."""
    until = asyncio.get_running_loop().time() + LEASE.total_seconds()
    while True:
        try:
            answer = await functions.finish(
                attempt.job_id,
                attempt.number,
                end.outcome,
                result=end.result,
                error=end.error,
                # What no beat has told yet: short transfers would else have moved nothing.
                progress=attempt.progress if attempt.has_news else None,
            )
        except DatabaseAway as away:
            log.warning("finish_again", error=type(away).__name__)
            if asyncio.get_running_loop().time() > until:
                return None
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        else:
            if answer.status == "refused" and end is not TOO_LARGE:
                end = TOO_LARGE
                continue
            log.info("attempt_ended", outcome=end.outcome, answer=answer.status)
            return end if answer.status in {"recorded", "already_recorded"} else None


def _open_grants(
    attempt: Attempt, claim: ClaimAnswer, command: Command, keys: KeyRing, server_id: str
) -> Grants:
    for secret in claim.secrets:
        if secret.purpose == "login":
            context = login_context(
                organization_id=claim.organization_id,
                job_id=attempt.job_id,
                attempt=attempt.number,
                server_id=server_id,
                hosts=hosts_of(command),
            )
            return Grants.model_validate_json(keys.open(secret.sealed, context))
    return Grants()


def _stopped(attempt: Attempt) -> End | None:
    match attempt.why:
        case Why.CANCELLED:
            return End(Outcome.CANCELLED)
        case Why.LEASE_LOST:
            return None
        case _:
            return End(Outcome.RETURNED)


def _failed(fault: Fault, report: BaseModel | None = None) -> End:
    error = stored(fault)
    if report is not None:
        error["report"] = report.model_dump(mode="json", by_alias=True)
    return End(Outcome.FAILED, fault=fault, error=error)


def _broken(claim: ClaimAnswer, error: Exception) -> Fault:
    """A bug; of the error only its type is kept, as its text may hold anything, a secret too."""
    log.error("handler_broken", error=type(error).__name__)
    return Fault(
        code="internal",
        message=f"unexpected {type(error).__name__} in {claim.kind}",
        remedy="See the worker's log on the server.",
        retryable=True,
    )


def _timed_out(claim: ClaimAnswer) -> Fault:
    code = FaultCode.TRANSFER_TIMEOUT
    return Fault(
        code=code,
        message=f"{claim.kind} was not done within {claim.timeout_seconds} s",
        remedy=FAULTS[code].remedy,
        retryable=FAULTS[code].retryable,
    )


TOO_LARGE = _failed(
    Fault(code="internal", message="what the attempt found out is too large to be kept")
)
