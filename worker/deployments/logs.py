"""Read what an application wrote: the newest lines, without its secrets and control characters."""

import json
import time

from shared.jobs.commands import ApplicationLogs
from shared.jobs.results import LogsResult
from worker.deployments.controlled import Controlled
from worker.deployments.controlled_service import require_controlled
from worker.deployments.tools import DeploymentTools
from worker.engine.errors import EngineOperation
from worker.engine.transport.text import OutputFrames, TextLines
from worker.jobs.joblog import MAX_LINE
from worker.jobs.mask import Mask

MAX_BYTES = 128 * 1024
"""The size of all lines in a result, which is stored with the job."""


async def read_logs(command: ApplicationLogs, tools: DeploymentTools) -> LogsResult:
    """Return the newest lines of the application's container, or of the tasks of its service.

    Raises:
        EngineError: ``container_missing``, nothing of it is on this server; or a refusal of the
            Engine, for example because of a log driver that cannot be read.
    """
    task = f"read the logs of the application {command.name}"
    found = await require_controlled(tools.engine, command.application_id, task)
    frames = await _read(found, command, tools, EngineOperation(task))
    mask = Mask(await found.find_secrets())
    # The tasks of a service write side by side; times sort as text.
    entries = sorted(frames.lines(), key=lambda entry: entry[0])[-command.tail :]
    lines = [_show(moment, text, mask) for moment, text in entries]
    wanted = [line for line in lines if command.search.lower() in line.lower()]
    kept = _newest(wanted)
    return LogsResult(lines=tuple(kept), is_cut=frames.is_cut or len(kept) < len(wanted))


async def _read(
    found: Controlled, command: ApplicationLogs, tools: DeploymentTools, operation: EngineOperation
) -> OutputFrames:
    params = {"stdout": "true", "stderr": "true", "timestamps": "true", "tail": str(command.tail)}
    if command.since_seconds is not None:
        params["since"] = str(max(int(time.time()) - command.since_seconds, 0))
    return await tools.engine.newest_output(found.logs_path, params=params, operation=operation)


def _show(moment: str, text: str, mask: Mask) -> str:
    """Return a line with its time; mask first, as a cut may halve a secret."""
    shown = " ".join(TextLines().feed(f"{mask(text)}\n"))
    if len(shown) > MAX_LINE:
        shown = f"{shown[:MAX_LINE]} [{len(shown) - MAX_LINE} characters left out]"
    return f"{moment} {shown}".rstrip()


def _newest(lines: list[str]) -> list[str]:
    """Return the newest lines that fit into a result."""
    size = 0
    for at, line in enumerate(reversed(lines)):
        size += len(json.dumps(line)) + 2
        if size > MAX_BYTES:
            return lines[len(lines) - at :]
    return lines
