"""Read what runs of an application has written, by a job on each of its servers."""

import asyncio
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from api.applications.loading import load_application
from api.deployments.control import find_live_servers
from api.events.waiter import EndedJob
from api.fields.shapes import Accepted, Id, Input
from api.jobs.submission import TEST_DEADLINE, read_result, submit_and_wait
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.ids import make_id
from shared.jobs.commands import ApplicationLogs
from shared.jobs.results import LogsResult
from shared.jobs.store.submit import Submission
from shared.models import Application

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_TAIL = 10_000
CUT = "[earlier lines left out]"


class ReadApplicationLogs(Input):
    """``tail`` lines of each server, ``since`` as ``90s``, ``10m``, ``2h`` or ``7d``.

    With ``search`` those of them that contain it, in whatever case.
    """

    application_id: Id
    tail: Annotated[int, Field(ge=1, le=MAX_TAIL)] = 100
    since: Annotated[str, Field(pattern=r"^(all|[0-9]{1,9}[smhd])$")] = "all"
    search: Annotated[str, Field(pattern=r"^[a-zA-Z0-9 ._-]{0,500}$")] = ""


async def read_logs(context: Context, request: ReadApplicationLogs) -> str | Accepted:
    """Return the newest lines that what runs of an application has written.

    Each line begins with a time and, if there are several servers, with the server's name. The
    workers read them from their Engines, so this waits for a short job on each server; one that is
    offline is an error. Values of the application's variables are masked. A server answers 128 KiB
    at most.
    """
    async with context.transaction() as session:
        application, _ = await load_application(session, context, request.application_id)
        servers = await find_live_servers(session, application)
    jobs = {name: _job(context, application, request, server_id) for server_id, name in servers}
    asked = (submit_and_wait(context, job) for job in jobs.values())
    ended = await asyncio.gather(*asked)
    if accepted := next((each for each in ended if isinstance(each, Accepted)), None):
        return accepted
    found = {
        name: read_result(each, LogsResult)
        for name, each in zip(jobs, ended, strict=True)
        if isinstance(each, EndedJob)
    }
    return "\n".join(_lines(found))


def _lines(found: dict[str, LogsResult]) -> Iterable[str]:
    """Return the lines of all servers in order of time."""
    if any(each.is_cut for each in found.values()):
        yield CUT
    entries = []
    for name, each in found.items():
        server = f"{name} " if len(found) > 1 else ""
        for line in each.lines:
            moment, _, text = line.partition(" ")
            entries.append((moment, f"{moment} {server}{text}".rstrip()))
    for _, shown in sorted(entries, key=lambda entry: entry[0]):
        yield shown


def _job(
    context: Context, application: Application, request: ReadApplicationLogs, server_id: str
) -> Submission:
    since = None if request.since == "all" else _seconds(request.since)
    command = ApplicationLogs(
        application_id=application.application_id,
        name=application.name,
        tail=request.tail,
        since_seconds=since,
        search=request.search,
    )
    return Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=command,
        requested_by=context.caller.actor_id,
        fair_key=application.application_id,
        deadline=TEST_DEADLINE,
        job_id=make_id(),
    )


def _seconds(text: str) -> int:
    return int(text[:-1]) * SECONDS[text[-1]]


PROCEDURES = (
    Procedure("application.readLogs", "query", ReadApplicationLogs, str, read_logs, waits=True),
)
