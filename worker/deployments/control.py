"""Stop, start or reload what runs of an application on this server.

```text
stop      by its signal, after its grace by force; the Engine does not start it again
start     it runs and is healthy, or it is stopped again
reload    it is started anew, with the same image and settings
```

A job that is cancelled leaves it as it was: running or stopped.
"""

import asyncio
from datetime import timedelta

import structlog

from shared.coroutines import uninterrupted
from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ApplicationControl
from shared.jobs.results import ControlResult
from worker.deployments.controlled import Controlled, ControlTarget
from worker.deployments.controlled_service import require_controlled
from worker.deployments.targets import (
    CANCELLED_RESTORE_LIMIT,
    ENGINE_UNREACHABLE_CODES,
    ReadinessPolicy,
)
from worker.deployments.tools import DeploymentTools
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.joblog import open_log
from worker.jobs.last_step import carry_out
from worker.jobs.mask import Mask, masking
from worker.jobs.tools import log_sender

STOP_AGAIN_LIMIT = timedelta(minutes=65)
"""A program may have an hour to stop."""

log = structlog.get_logger()


async def control_application(
    command: ApplicationControl,
    attempt: Attempt,
    tools: DeploymentTools,
    readiness: ReadinessPolicy | None = None,
) -> ControlResult:
    """Stop, start or reload the application, and return its state; it may have been in it already.

    Raises:
        EngineError: ``container_missing``, nothing of it is on this server; ``container_exited``,
            ``container_unhealthy``, ``port_taken``: it was stopped again if it was stopped before;
            or ``restore_failed``. The message shows no environment value.
    """
    async with tools.journal.holding(command):
        task = f"{command.action} the application {command.name}"
        found = await require_controlled(tools.engine, command.application_id, task)
        mask = Mask(await found.find_secrets())
        with masking(mask):
            async with open_log(log_sender(attempt), mask) as job_log:
                target = ControlTarget(
                    tools.engine, command, job_log, mask, readiness or ReadinessPolicy()
                )
                work = _control(found, target, attempt)
                result = await carry_out(work, attempt, lambda: False)
        tools.journal.forget(command)
        return result


async def _control(found: Controlled, target: ControlTarget, attempt: Attempt) -> ControlResult:
    try:
        changed = await _apply(found, target)
    except asyncio.CancelledError:
        if attempt.stop_reason is StopReason.CANCELLED:
            await uninterrupted(_undo(found, target))
        raise
    except EngineError as error:
        if found.is_stopped and error.code not in ENGINE_UNREACHABLE_CODES:
            target.log.add("it is stopped again")
            await uninterrupted(_stop_again(found, target, error))
        raise
    state = "stopped" if target.command.action == "stop" else "running"
    return ControlResult.model_validate(
        {"runtime": found.runtime, "state": state, "changed": changed}
    )


async def _apply(found: Controlled, target: ControlTarget) -> bool:
    """Do what the command says; return whether that changed anything."""
    match target.command.action, found.is_stopped:
        case "stop", True:
            target.log.add("it is stopped already")
            return False
        case "stop", False:
            target.log.add("stopping it")
            await found.stop(target)
        case "start", False:
            await found.require_running(target)
            target.log.add("it runs already")
            return False
        case "reload", False:
            target.log.add("starting it anew")
            await found.reload(target)
        case _:
            target.log.add("starting it")
            await found.start(target)
    return True


async def _undo(found: Controlled, target: ControlTarget) -> None:
    """Have it run or stopped as before.

    Raises:
        EngineError: ``restore_failed``.
    """
    try:
        async with asyncio.timeout(CANCELLED_RESTORE_LIMIT.total_seconds()):
            await (found.stop(target) if found.is_stopped else found.resume(target))
    except (EngineError, TimeoutError) as error:
        log.warning("undo_failed", error=type(error).__name__)
        state = "stopped" if found.is_stopped else "started"
        raise target.error(
            FaultCode.RESTORE_FAILED,
            f"it was cancelled, and the application could not be {state} again",
            remedy="Check what runs on this server, then stop or start the application again.",
        ) from error


async def _stop_again(found: Controlled, target: ControlTarget, cause: EngineError) -> None:
    try:
        async with asyncio.timeout(STOP_AGAIN_LIMIT.total_seconds()):
            await found.stop(target)
    except (EngineError, TimeoutError) as error:
        log.warning("undo_failed", error=type(error).__name__)
        raise EngineError(FaultCode.RESTORE_FAILED, cause.message) from error
