"""Why a task of a Swarm did not come to run, in words and as a code."""

import contextlib

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.deployments.swarm_targets import SwarmSite
from worker.deployments.targets import MAX_WORDS
from worker.engine import containers
from worker.engine.containers import Container, Health
from worker.engine.errors import EngineOperation, make_error
from worker.engine.redaction import redact
from worker.engine.swarm import services
from worker.engine.swarm.nodes import nodes
from worker.engine.swarm.service_state import Task
from worker.engine.transport.text import TextLines

NOT_PULLED = (
    "The node could not pull it, though its manager could see it: check that the node reaches the "
    "registry, trusts its certificate or lists it under insecure-registries, and has room."
)


async def explain(site: SwarmSite, task: Task) -> EngineError:
    """The error that a task's end stands for; what it printed last goes to the log.

    ``container_exited``, ``container_unhealthy``, ``local_image_missing``, ``port_taken``, or what
    its node said.
    """
    words = await _last_words(site, task)
    for line in TextLines().feed(f"{words}\n"):
        site.log.add(line)
    here = await container_here(site, task)
    place = await _place(site, task)
    said = site.shown(words)[-MAX_WORDS:]
    refused = _code(task) == FaultCode.CONTAINER_UNHEALTHY
    match here:
        case Container(health=Health(status="unhealthy", output=probe, failed=failed)) if (
            refused or (failed and not task.error)
        ):
            probed = site.shown(probe)[:MAX_WORDS] or "nothing"
            return site.error(FaultCode.CONTAINER_UNHEALTHY, f"its health check says {probed}")
        case None if task.state == "complete" and site.is_checked:
            # A program that ends well when it is told to: its node tells nobody who told it.
            return site.error(
                FaultCode.CONTAINER_UNHEALTHY,
                f"{place} ended it, as what its health check refuses: {said or 'without a word'}",
            )
    return _by_words(site, task, place, said)


def unplaced(site: SwarmSite, task: Task) -> EngineError:
    """The error of a task that no node was found for."""
    return site.error(_code(task), _said(site, task))


async def container_here(site: SwarmSite, task: Task) -> Container | None:
    """The task's container, where it is on the Engine that we speak with."""
    with contextlib.suppress(EngineError):
        return (
            await containers.inspect(site.engine, task.container_id) if task.container_id else None
        )
    return None


def _by_words(site: SwarmSite, task: Task, place: str, said: str) -> EngineError:
    code = _code(task)
    if code == FaultCode.CONTAINER_EXITED:
        words = said or _said(site, task) or "without a word"
        return site.error(code, f"it ended with exit code {task.exit_code} on {place}: {words}")
    remedy = NOT_PULLED if code == FaultCode.LOCAL_IMAGE_MISSING else ""
    return site.error(code, f"{place} says {_said(site, task)}", remedy=remedy)


def _said(site: SwarmSite, task: Task) -> str:
    """What its node says of it, without secrets."""
    return site.shown(redact(task.error))[:MAX_WORDS]


def _code(task: Task) -> FaultCode:
    if not task.error:
        return FaultCode.CONTAINER_EXITED
    return FaultCode(make_error(task.error, EngineOperation("start container")).code)


async def _last_words(site: SwarmSite, task: Task) -> str:
    with contextlib.suppress(EngineError):
        return await services.last_lines(site.engine, task.task_id) if task.container_id else ""
    return ""


async def _place(site: SwarmSite, task: Task) -> str:
    with contextlib.suppress(EngineError):
        for node in await nodes(site.engine):
            if node.node_id == task.node_id and node.name:
                return f"the node {node.name}"
    return f"the node {task.node_id}"
