"""Wait for the last step of a job, the writing of a tag, which is too short to be stopped."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.coroutines import end
from shared.errors import EngineError
from shared.faults import FaultCode
from worker.jobs.attempt import Attempt, StopReason
from worker.progress import TransferProgress

LAST_STEP_SECONDS = 2.5
"""A cancel ends within five seconds, if the Engine answers."""

PROGRESS_LAG_SECONDS = 0.2
"""The longest time after which an Engine reports what it does.

An Engine with the containerd image store reports all layers together, ten times a second.
"""

Result = TypeVar("Result")


@dataclass
class LastStep:
    """A progress callback that remembers whether a transfer has reached its last step.

    ``has_moved`` is set once the first byte was transferred.
    """

    report: Callable[[TransferProgress], None]
    is_last: bool = False
    has_moved: bool = False

    def __call__(self, progress: TransferProgress) -> None:
        self.is_last = progress.is_last_step
        self.has_moved |= progress.current_bytes > 0
        self.report(progress)


async def carry_out(
    work: Coroutine[Any, Any, Result],
    attempt: Attempt,
    is_last_step: Callable[[], bool],
    *,
    seconds: float | None = None,
    lag_seconds: float = 0.0,
) -> Result:
    """Return the result of ``work``; a requested cancel in its last step waits for the end.

    The cancel waits for ``seconds``, by default `LAST_STEP_SECONDS`. Work that has not
    ended by then is stopped. ``is_last_step`` may know of the last step ``lag_seconds`` late: the
    cancel waits for that first.

    An Engine may have done what it reports as failed: with a full disk it keeps the tag that it
    refused. So an attempt that fails in its last step counts as failed and not as stopped. Its job
    is cancelled all the same, and shows the error. The same holds for a failed restore.

    Raises:
        asyncio.CancelledError: the work was stopped before its last step.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        is_cancelled = attempt.stop_reason is StopReason.CANCELLED
        longest = LAST_STEP_SECONDS if seconds is None else seconds
        try:
            if is_cancelled and not is_last_step():
                await asyncio.wait({task}, timeout=lag_seconds)
                longest -= lag_seconds
            is_last = is_cancelled and is_last_step()
            await asyncio.wait({task}, timeout=longest if is_last else 0)
            attempt.is_too_late = is_last and task.done()
        finally:
            await end(task)
        is_restore_failure = _is_restore_failed(task)
        attempt.is_too_late |= is_cancelled and is_restore_failure
        # Without a stop reason the attempt has timed out, and has failed in both cases.
        is_reported = attempt.is_too_late or (attempt.stop_reason is None and is_restore_failure)
        if task.cancelled() or (task.exception() and not is_reported):
            raise
        return task.result()


def _is_restore_failed(task: asyncio.Task[Any]) -> bool:
    error = None if task.cancelled() else task.exception()
    return isinstance(error, EngineError) and error.code == FaultCode.RESTORE_FAILED
