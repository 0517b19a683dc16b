"""The last step of a job, the writing of a tag: too short to be stopped, it is waited for."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.coroutines import end
from shared.errors import EngineError
from shared.faults import FaultCode
from worker.jobs.attempt import Attempt, Why
from worker.progress import TransferProgress

LAST_STEP_SECONDS = 2.5
"""A cancel has to be over within five; an Engine that needs longer may still do it afterwards."""

Result = TypeVar("Result")


@dataclass
class LastStep:
    """Passes progress on and remembers whether a transfer has come to its last step."""

    tell: Callable[[TransferProgress], None]
    is_last: bool = False

    def __call__(self, progress: TransferProgress) -> None:
        self.is_last = progress.is_last_step
        self.tell(progress)


async def carry_out(
    work: Coroutine[Any, Any, Result], attempt: Attempt, is_last_step: Callable[[], bool]
) -> Result:
    """What ``work`` gives; cancelled by wish in its last step, it has time to come to its end.

    An Engine may have done what it reports as failed: one with a full disk has the tag that it
    refused. So the attempt has then failed and was not stopped; its job is cancelled all the same,
    and shows why. So it does where what ran before could not be put back.

    Raises:
        asyncio.CancelledError: it was stopped before that.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        is_wish = attempt.why is Why.CANCELLED
        is_last = is_wish and is_last_step()
        try:
            await asyncio.wait({task}, timeout=LAST_STEP_SECONDS if is_last else 0)
            attempt.is_too_late = is_last and task.done()
        finally:
            await end(task)
        is_stuck = _is_not_put_back(task)
        attempt.is_too_late |= is_wish and is_stuck
        # Without a reason it is out of time, and failed in either way.
        is_told = attempt.is_too_late or (attempt.why is None and is_stuck)
        if task.cancelled() or (task.exception() and not is_told):
            raise
        return task.result()


def _is_not_put_back(task: asyncio.Task[Any]) -> bool:
    error = None if task.cancelled() else task.exception()
    return isinstance(error, EngineError) and error.code == FaultCode.NOT_PUT_BACK
