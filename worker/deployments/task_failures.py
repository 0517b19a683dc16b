"""Explain failed tasks of a Swarm as errors with a code and a message."""

import contextlib

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.deployments.targets import MAX_CHARACTERS, Target
from worker.engine import containers
from worker.engine.containers import Container, Health
from worker.engine.errors import EngineOperation, make_error
from worker.engine.redaction import redact
from worker.engine.swarm import services
from worker.engine.swarm.nodes import nodes
from worker.engine.swarm.service_state import Task
from worker.engine.transport.text import TextLines

NOT_PULLED_REMEDY = (
    "The manager sees the image, but the node could not pull it. Check that the node reaches the "
    "registry, trusts its certificate or lists it under insecure-registries, and has disk space."
)


async def explain(target: Target, task: Task) -> EngineError:
    """Return the error of a failed task and add its last output to the log.

    Its code is ``container_exited``, ``container_unhealthy``, ``local_image_missing``,
    ``port_taken``, or that of its node's message.
    """
    output = await _last_output(target, task)
    for line in TextLines().feed(f"{output}\n"):
        target.log.add(line)
    here = await container_here(target, task)
    node_label = await _node_label(target, task)
    last_output = target.printable(output)[-MAX_CHARACTERS:]
    refused = _code(task) == FaultCode.CONTAINER_UNHEALTHY
    match here:
        case Container(health=Health(status="unhealthy", output=probe, failed=failed)) if (
            refused or (failed and not task.error)
        ):
            probed = target.printable(probe)[:MAX_CHARACTERS] or "no output"
            return target.error(FaultCode.CONTAINER_UNHEALTHY, f"its health check reports {probed}")
        case None if task.state == "complete" and target.is_checked:
            # The program exits with 0 on a signal; the node does not report why it was stopped.
            return target.error(
                FaultCode.CONTAINER_UNHEALTHY,
                f"its health check failed, {node_label} stopped it: {last_output or 'no output'}",
            )
    return _exit_error(target, task, node_label, last_output)


def unplaced_error(target: Target, task: Task) -> EngineError:
    """Return the error of a task for which no node was found."""
    return target.error(_code(task), _node_message(target, task))


async def container_here(target: Target, task: Task) -> Container | None:
    """Return the task's container if it is on the Engine that we are connected to."""
    with contextlib.suppress(EngineError):
        return (
            await containers.inspect(target.engine, task.container_id)
            if task.container_id
            else None
        )
    return None


def _exit_error(target: Target, task: Task, node_label: str, last_output: str) -> EngineError:
    code = _code(task)
    if code == FaultCode.CONTAINER_EXITED:
        output = last_output or _node_message(target, task) or "no output"
        return target.error(
            code, f"it ended with exit code {task.exit_code} on {node_label}: {output}"
        )
    is_unexplained = code == FaultCode.LOCAL_IMAGE_MISSING
    error = target.error(
        code,
        f"{node_label} reports: {_node_message(target, task)}",
        remedy=NOT_PULLED_REMEDY if is_unexplained else "",
    )
    # A node reports any failed pull as a missing image.
    error.is_certain = error.is_certain and not is_unexplained
    return error


def _node_message(target: Target, task: Task) -> str:
    """Return the node's message about the task, without secrets."""
    return target.printable(redact(task.error))[:MAX_CHARACTERS]


def _code(task: Task) -> FaultCode:
    if not task.error:
        return FaultCode.CONTAINER_EXITED
    return FaultCode(make_error(task.error, EngineOperation("start container")).code)


async def _last_output(target: Target, task: Task) -> str:
    with contextlib.suppress(EngineError):
        return await services.last_lines(target.engine, task.task_id) if task.container_id else ""
    return ""


async def _node_label(target: Target, task: Task) -> str:
    with contextlib.suppress(EngineError):
        for node in await nodes(target.engine):
            if node.node_id == task.node_id and node.name:
                return f"the node {node.name}"
    return f"the node {task.node_id}"
