"""The last step of a job: a wish that comes too late does not hide how it ended."""

import asyncio
from collections.abc import Callable

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.jobs.attempt import Attempt, Why
from worker.jobs.last_step import carry_out

FULL = EngineError(FaultCode.DISK_FULL, "no space left")


class Step:
    """Work that ends when it is told to, as one call of an Engine does."""

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


async def stop(step: Step, attempt: Attempt, why: Why, is_last: Callable[[], bool]) -> str:
    """Stop the work once it has begun; in its last step it comes to its end right after."""
    attempt.task = asyncio.create_task(carry_out(step.work(), attempt, is_last))
    await step.begun.wait()
    attempt.stop(why)
    await asyncio.sleep(0)
    if why is Why.CANCELLED and is_last():
        step.may_end.set()
    done: str = await attempt.task
    return done


async def test_what_comes_to_its_end_all_the_same_has_succeeded() -> None:
    attempt = Attempt("job", 1)

    assert await stop(Step(), attempt, Why.CANCELLED, lambda: True) == "done"


async def test_what_fails_at_its_end_has_failed_and_was_not_stopped() -> None:
    step, attempt = Step(), Attempt("job", 1)
    step.error = FULL

    with pytest.raises(EngineError, match="no space left"):
        await stop(step, attempt, Why.CANCELLED, lambda: True)

    assert attempt.is_too_late


@pytest.mark.parametrize(
    ("why", "is_last"), [(Why.CANCELLED, False), (Why.DRAINED, True), (Why.LEASE_LOST, True)]
)
async def test_before_the_last_step_and_for_other_reasons_it_is_stopped(
    why: Why, *, is_last: bool
) -> None:
    attempt = Attempt("job", 1)

    with pytest.raises(asyncio.CancelledError):
        await stop(Step(), attempt, why, lambda: is_last)

    assert not attempt.is_too_late


@pytest.mark.parametrize(
    ("why", "raised"), [(Why.CANCELLED, EngineError), (Why.DRAINED, asyncio.CancelledError)]
)
async def test_what_could_not_be_put_back_is_shown_where_it_was_cancelled(
    why: Why, raised: type[BaseException]
) -> None:
    attempt = Attempt("job", 1)

    with pytest.raises(raised):
        await stop(Stuck(), attempt, why, lambda: False)

    assert attempt.is_too_late == (why is Why.CANCELLED)


async def test_what_could_not_be_put_back_is_told_when_time_was_over() -> None:
    step = Stuck()
    work = asyncio.create_task(carry_out(step.work(), Attempt("job", 1), lambda: False))
    await step.begun.wait()

    work.cancel()

    with pytest.raises(EngineError):
        await work


class Stuck(Step):
    """Work that cannot undo what it did."""

    async def work(self) -> str:
        try:
            return await super().work()
        except asyncio.CancelledError:
            raise EngineError(FaultCode.NOT_PUT_BACK, "not put back") from None
