"""One attempt at one job, from claim to finish, with the worker's only broad ``except``."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import structlog
from pydantic import BaseModel

from shared.errors import CredentialError, LeaseLostError, WharfError
from shared.faults import FAULTS, Fault, FaultCode
from shared.jobs.accesses import accesses, hosts_of
from shared.jobs.commands import (
    Command,
    parse_command,
)
from shared.jobs.states import LEASE, Outcome
from shared.vault import KeyRing
from worker.jobs.functions import (
    ClaimAnswer,
    DatabaseAway,
    FreshLogin,
    Functions,
    fault_document,
)
from worker.login import Grants, login_context
from worker.oci.providers.quotas import Holder, QuotaLog

TRY_AGAIN_SECONDS = 0.3

log = structlog.get_logger()


class StopReason(StrEnum):
    """The reason for which a running attempt is stopped from outside."""

    CANCELLED = "cancelled"
    DRAINED = "drained"
    LEASE_LOST = "lease_lost"


EventWriter = Callable[[int, str, Mapping[str, Any]], Awaitable[None]]


@dataclass
class Attempt:
    """An attempt that this worker has claimed or is about to claim.

    ``write_event`` stores an event of the job, by number, kind and content, while the attempt runs.
    ``is_too_late`` is set when a stop came during a step that cannot be stopped: the result of that
    step is then the result of the attempt. ``quotas`` is reported with the result.
    ``login_number`` counts its logins, ``None`` without one; ``renew_login`` opens a newer one and
    gives it to those who use the former. ``on_progress`` asks for the progress to be
    reported before the next heartbeat is due.
    """

    job_id: str
    number: int
    task: asyncio.Task[Any] | None = None
    stop_reason: StopReason | None = None
    progress: dict[str, Any] | None = None
    reported_progress: dict[str, Any] | None = None
    claimed: bool = False
    is_too_late: bool = False
    write_event: EventWriter | None = None
    quotas: QuotaLog = field(default_factory=QuotaLog)
    login_number: int | None = None
    renew_login: Callable[[str], None] | None = None
    on_progress: Callable[[], None] | None = None

    @property
    def has_new_progress(self) -> bool:
        """Return whether there is progress that no heartbeat has reported yet."""
        return self.progress is not self.reported_progress

    @property
    def is_stopped(self) -> bool:
        return self.stop_reason is not None

    def accept_login(self, fresh: FreshLogin) -> None:
        """Use a newer login from now on; one that does not open is left alone."""
        if self.renew_login is None or self.login_number is None:
            return
        if fresh.number > self.login_number:
            self.login_number = fresh.number
            try:
                self.renew_login(fresh.sealed)
            except (CredentialError, ValueError) as error:
                log.warning("login_not_renewed", job_id=self.job_id, error=type(error).__name__)

    def stop(self, stop_reason: StopReason) -> None:
        """Stop the work; a reason that was given before is kept."""
        if self.stop_reason is None:
            self.stop_reason = stop_reason
            if self.task is not None:
                self.task.cancel()


@dataclass(frozen=True)
class AttemptResult:
    """The outcome of an attempt, and the fault to show if it failed."""

    outcome: Outcome
    result: dict[str, Any] | None = None
    fault: Fault | None = None
    error: dict[str, Any] | None = None


Work = Callable[[Command, Grants, Attempt], Awaitable[BaseModel]]


class NegativeResultError(WharfError):
    """The negative result of a job that did its work; ``report`` is stored with the error."""

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
) -> AttemptResult | None:
    """Claim, work and finish; return ``None`` if the attempt is not or no longer ours."""
    claim = await _claim(attempt, functions)
    if claim.status != "claimed":
        return None
    attempt.claimed = True
    attempt.write_event = partial(functions.event, attempt.job_id, attempt.number)
    log.info("attempt_started", kind=claim.kind)
    if attempt.is_stopped:
        # Stopped while it was being claimed: it never began, so it has not failed.
        return await _finish(attempt, functions, AttemptResult(Outcome.RETURNED))
    attempt_result = await _perform(attempt, claim, keys, server_id, work)
    if (
        attempt_result
        and attempt_result.outcome is Outcome.FAILED
        and attempt.stop_reason is not None
        and not attempt.is_too_late
    ):
        # An attempt that fails after a stop counts as stopped, whatever its error.
        attempt_result = _stopped_result(attempt)
    return await _finish(attempt, functions, attempt_result) if attempt_result else None


async def _claim(attempt: Attempt, functions: Functions) -> ClaimAnswer:
    while True:
        try:
            return await functions.claim(attempt.job_id, attempt.number)
        except DatabaseAway as error:
            log.warning("claim_retried", error=type(error).__name__)
            if attempt.stop_reason is not None:
                raise LeaseLostError(
                    f"job {attempt.job_id} was not claimed: the database does not answer"
                ) from error
            await asyncio.sleep(TRY_AGAIN_SECONDS)


async def _perform(
    attempt: Attempt, claim: ClaimAnswer, keys: KeyRing, server_id: str, work: Work
) -> AttemptResult | None:
    """Do the work and return its result; ``None`` if the lease is lost: nothing is written."""
    limit = asyncio.timeout(claim.timeout_seconds)
    try:
        command = parse_command(claim.kind, claim.command)
        grants = _open_grants(attempt, claim, command, keys, server_id)
        attempt.quotas.registry_ids = _find_registries(command, grants)
        async with limit:
            result = await _stoppable(attempt, work(command, grants, attempt))
        return AttemptResult(
            Outcome.SUCCEEDED, result=result.model_dump(mode="json", by_alias=True)
        )
    except asyncio.CancelledError:
        return _stopped_result(attempt)
    except TimeoutError as error:
        return _failed_result(
            _timeout_fault(claim) if limit.expired() else _internal_fault(claim, error)
        )
    except NegativeResultError as error:
        return _failed_result(error.fault(), report=error.report)
    except WharfError as error:
        fault = error.fault()
        if fault.code == FaultCode.RATE_LIMITED:
            attempt.quotas.refuse(fault.retry_after_seconds)
        return _failed_result(fault)
    except Exception as error:  # noqa: BLE001 - a handler's bug must end its job, not the worker
        return _failed_result(_internal_fault(claim, error))


async def _stoppable(attempt: Attempt, work: Awaitable[BaseModel]) -> BaseModel:
    attempt.task = asyncio.ensure_future(work)
    if attempt.stop_reason is not None:
        attempt.task.cancel()
    try:
        result: BaseModel = await attempt.task
    finally:
        if not attempt.task.done():
            attempt.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await attempt.task
    return result


async def _finish(
    attempt: Attempt, functions: Functions, attempt_result: AttemptResult
) -> AttemptResult | None:
    """Store the result and return it if it was recorded; repeat while the lease may be ours."""
    until = asyncio.get_running_loop().time() + LEASE.total_seconds()
    while True:
        try:
            answer = await functions.finish(
                attempt.job_id,
                attempt.number,
                attempt_result.outcome,
                result=attempt_result.result,
                error=attempt_result.error,
                # Progress of short transfers that no heartbeat has reported yet.
                progress=attempt.progress if attempt.has_new_progress else None,
                quotas=attempt.quotas.report(),
            )
        except DatabaseAway as away:
            log.warning("finish_retried", error=type(away).__name__)
            if asyncio.get_running_loop().time() > until:
                return None
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        else:
            if answer.status == "refused" and attempt_result is not TOO_LARGE:
                attempt_result = TOO_LARGE
                continue
            log.info("attempt_ended", outcome=attempt_result.outcome, answer=answer.status)
            return attempt_result if answer.status in {"recorded", "already_recorded"} else None


def _open_grants(
    attempt: Attempt, claim: ClaimAnswer, command: Command, keys: KeyRing, server_id: str
) -> Grants:
    """Open the attempt's logins and secrets; its logins are renewed from then on."""
    login = next((secret for secret in claim.secrets if secret.purpose == "login"), None)
    if login is None:
        return Grants()
    context = login_context(
        organization_id=claim.organization_id,
        job_id=attempt.job_id,
        attempt=attempt.number,
        server_id=server_id,
        hosts=hosts_of(command),
    )

    def open_sealed(sealed: str) -> Grants:
        return Grants.model_validate_json(keys.open(sealed, context))

    grants = open_sealed(login.sealed)
    attempt.renew_login = lambda sealed: grants.renew(open_sealed(sealed))
    attempt.login_number = login.number
    return grants


def _find_registries(command: Command, grants: Grants) -> dict[Holder, str]:
    """Return the ids of the stored registries by their logins, which are in the same order."""
    return {
        (grant.login.host, grant.login.username): access.registry_id
        for access, grant in zip(accesses(command), grants.grants, strict=False)
        if access.registry_id is not None
    }


def _stopped_result(attempt: Attempt) -> AttemptResult | None:
    match attempt.stop_reason:
        case StopReason.CANCELLED:
            return AttemptResult(Outcome.CANCELLED)
        case StopReason.LEASE_LOST:
            return None
        case _:
            return AttemptResult(Outcome.RETURNED)


def _failed_result(fault: Fault, report: BaseModel | None = None) -> AttemptResult:
    error = fault_document(fault)
    if report is not None:
        error["report"] = report.model_dump(mode="json", by_alias=True)
    return AttemptResult(Outcome.FAILED, fault=fault, error=error)


def _internal_fault(claim: ClaimAnswer, error: Exception) -> Fault:
    """Return the fault of a bug; only the error's type is kept, as its text may hold a secret."""
    log.error("handler_broken", error=type(error).__name__)
    return Fault(
        code="internal",
        message=f"unexpected {type(error).__name__} in {claim.kind}",
        remedy="Read the worker's log on the server.",
        retryable=True,
    )


def _timeout_fault(claim: ClaimAnswer) -> Fault:
    code = FaultCode.TRANSFER_TIMEOUT
    return Fault(
        code=code,
        message=f"{claim.kind} was not finished within {claim.timeout_seconds} s",
        remedy=FAULTS[code].remedy,
        retryable=FAULTS[code].retryable,
    )


TOO_LARGE = _failed_result(
    Fault(code="internal", message="the result of the attempt is too large to be stored")
)
