"""The last step of a job: a cancel that comes too late does not hide the result."""

import asyncio
from collections.abc import Callable

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.last_step import carry_out

FULL = EngineError(FaultCode.DISK_FULL, "no space left")


class Step:
    """Work that ends on an event, as a call of an Engine does."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def work(self) -> str:
        self.begun.set()
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return "done"


async def stop(
    step: Step, attempt: Attempt, reason: StopReason, is_last: Callable[[], bool]
) -> str:
    """Stop the work once it has begun; a last step ends right after the stop."""
    attempt.task = asyncio.create_task(carry_out(step.work(), attempt, is_last))
    await step.begun.wait()
    attempt.stop(reason)
    await asyncio.sleep(0)
    if reason is StopReason.CANCELLED and is_last():
        step.may_end.set()
    done: str = await attempt.task
    return done


async def test_a_last_step_that_ends_after_the_cancel_has_succeeded() -> None:
    attempt = Attempt("job", 1)

    assert await stop(Step(), attempt, StopReason.CANCELLED, lambda: True) == "done"


async def test_a_last_step_that_fails_after_the_cancel_has_failed() -> None:
    step, attempt = Step(), Attempt("job", 1)
    step.error = FULL

    with pytest.raises(EngineError, match="no space left"):
        await stop(step, attempt, StopReason.CANCELLED, lambda: True)

    assert attempt.is_too_late


async def test_a_cancel_waits_for_the_report_of_a_last_step_that_has_begun() -> None:
    step, attempt = Step(), Attempt("job", 1)
    reports = iter([False, True])

    def is_last() -> bool:
        if is_reported := next(reports):
            asyncio.get_running_loop().call_soon(step.may_end.set)
        return is_reported

    attempt.task = asyncio.create_task(carry_out(step.work(), attempt, is_last, lag_seconds=0.01))
    await step.begun.wait()

    attempt.stop(StopReason.CANCELLED)

    assert await attempt.task == "done"


async def test_a_cancel_stops_work_whose_last_step_is_not_reported_in_time() -> None:
    step, attempt = Step(), Attempt("job", 1)
    attempt.task = asyncio.create_task(
        carry_out(step.work(), attempt, lambda: False, lag_seconds=0.01)
    )
    await step.begun.wait()

    attempt.stop(StopReason.CANCELLED)

    with pytest.raises(asyncio.CancelledError):
        await attempt.task


@pytest.mark.parametrize(
    ("reason", "is_last"),
    [(StopReason.CANCELLED, False), (StopReason.DRAINED, True), (StopReason.LEASE_LOST, True)],
)
async def test_work_is_stopped_before_its_last_step_or_for_other_reasons(
    reason: StopReason, *, is_last: bool
) -> None:
    attempt = Attempt("job", 1)

    with pytest.raises(asyncio.CancelledError):
        await stop(Step(), attempt, reason, lambda: is_last)

    assert not attempt.is_too_late


@pytest.mark.parametrize(
    ("reason", "raised"),
    [(StopReason.CANCELLED, EngineError), (StopReason.DRAINED, asyncio.CancelledError)],
)
async def test_a_failed_restore_is_shown_after_a_cancel(
    reason: StopReason, raised: type[BaseException]
) -> None:
    attempt = Attempt("job", 1)

    with pytest.raises(raised):
        await stop(Stuck(), attempt, reason, lambda: False)

    assert attempt.is_too_late == (reason is StopReason.CANCELLED)


async def test_a_failed_restore_is_shown_after_a_timeout() -> None:
    step = Stuck()
    work = asyncio.create_task(carry_out(step.work(), Attempt("job", 1), lambda: False))
    await step.begun.wait()

    work.cancel()

    with pytest.raises(EngineError):
        await work


class Stuck(Step):
    """Work that cannot restore the previous state."""

    async def work(self) -> str:
        try:
            return await super().work()
        except asyncio.CancelledError:
            raise EngineError(FaultCode.RESTORE_FAILED, "not restored") from None
