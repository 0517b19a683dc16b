"""Stop, start and reload what runs of an application, and wait for that."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Literal, Self

from pydantic import ValidationError
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.loading import LoadedApplication
from api.applications.procedures import ChosenApplication, find_shown
from api.applications.schemas import ApplicationOutput
from api.deployments.request import lock_deployable
from api.events.waiter import EndedJob
from api.fields import dokploy
from api.fields.shapes import Accepted, Output, Warned
from api.jobs.submission import TRANSFER_DEADLINE, require_success
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.quotas import storing_jobs
from shared.deployments.store import wait_for_earlier
from shared.errors import OverdueError, UnmetConditionError
from shared.ids import uuid7
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import ApplicationControl
from shared.jobs.results import ControlResult
from shared.jobs.states import State
from shared.jobs.store.submit import Submission, submit_all
from shared.models import Application, ApplicationServer, Job, Server

Action = Literal["stop", "start", "reload"]


@dataclass(frozen=True)
class _Step:
    """An action on one server, and the id of its job."""

    action: Action
    server_id: str
    job_id: str


class ReloadApplication(ChosenApplication):
    """``appName`` is sent by Dokploy's clients."""

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.RELOADED_APPLICATION


class ControlledServer(Output):
    """One server, and the state of its job; one that has not ended continues, see `job.one`.

    `changed` is false where it was stopped, or ran, already.
    """

    server_id: str
    job_id: str
    state: State
    changed: bool | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls.model_validate({**job.model_dump(), "changed": _changed(job.result)})


class ControlledApplication(ApplicationOutput, Accepted, Warned):
    """The application, and what was done on its servers; `jobId` is the first job."""

    servers: list[ControlledServer]


async def stop(context: Context, request: ChosenApplication) -> ControlledApplication:
    """Stop what runs of an application on its servers, as `docker stop`.

    It stays stopped, also if its server restarts, until it is started, reloaded or deployed. The
    answer waits half a minute for the servers; a job that takes longer continues. Requests for one
    application take effect in their order: the job waits for deployments that were requested
    before. What is stopped already stays so.
    """
    return await _control(context, request.application_id, "stop")


async def start(context: Context, request: ChosenApplication) -> ControlledApplication:
    """Start what was stopped of an application, and wait until it is healthy.

    It is the same container, or the same service with as many replicas as before. If it does not
    become healthy it is stopped again. What runs already stays as it is. Waits and order are those
    of `application.stop`.
    """
    return await _control(context, request.application_id, "start")


async def reload(context: Context, request: ReloadApplication) -> ControlledApplication:
    """Start what runs of an application anew, with the image and settings that it has.

    A container is restarted; the tasks of a service are replaced in turn. What is stopped is
    started. Changed settings and variables take effect with `application.redeploy`. Waits and order
    are those of `application.stop`.
    """
    return await _control(context, request.application_id, "reload")


async def _control(context: Context, application_id: str, action: Action) -> ControlledApplication:
    with context.waiting():
        job_ids = await _submit(context, application_id, action)
        if not context.respond_async:
            for ended in await asyncio.gather(*(_wait(context, job_id) for job_id in job_ids)):
                if ended is not None:
                    require_success(ended)
    return await _show(context, application_id, job_ids)


async def _submit(context: Context, application_id: str, action: Action) -> Sequence[str]:
    """Store a job for each server that runs the application; return their ids."""
    async with context.transaction() as session:
        loaded = await lock_deployable(session, context, application_id)
        servers = await find_live_servers(session, loaded.row)
        jobs = [
            _job(context, loaded, _Step(action, server_id, _job_id(context, number)))
            for number, (server_id, _) in enumerate(servers)
        ]
        if not loaded.is_repeat:
            async with storing_jobs(session, context) as connection:
                await submit_all(connection, jobs)
                await wait_for_earlier(connection.cursor(), application_id, jobs)
    return [job.job_id for job in jobs]


async def find_live_servers(
    session: AsyncSession, application: Application
) -> Sequence[tuple[str, str]]:
    """Return ids and names of the application's servers that something of it runs on, or did.

    Raises:
        UnmetConditionError: ``not_deployed``.
    """
    application_id = application.application_id
    query = (
        select(Server.server_id, Server.name)
        .join(ApplicationServer, col(ApplicationServer.server_id) == Server.server_id)
        .where(
            ApplicationServer.application_id == application_id,
            func.running_deployment(application_id, Server.server_id).is_not(None),
        )
        .order_by(Server.server_id)
    )
    found = (await session.exec(query)).all()
    if not found:
        raise UnmetConditionError(
            "not_deployed",
            f"the application {application.name} was not deployed to any of its servers yet",
            remedy="Deploy it with application.deploy.",
        )
    return found


def _job(context: Context, loaded: LoadedApplication, step: _Step) -> Submission:
    application = loaded.row
    command = ApplicationControl(
        application_id=application.application_id,
        name=application.name,
        action=step.action,
        replicas=application.replicas,
    )
    return Submission(
        organization_id=context.organization_id,
        server_id=step.server_id,
        command=command,
        requested_by=context.caller.actor_id,
        exclusive_key=exclusive_key(command, step.server_id),
        fair_key=application.application_id,
        deadline=TRANSFER_DEADLINE,
        job_id=step.job_id,
    )


def _job_id(context: Context, number: int) -> str:
    """Return the id of a job of the request, the same for each repetition; the first has its id."""
    request = context.job_id
    if number == 0:
        return request
    milliseconds = int(request.replace("-", "")[:12], 16)
    return uuid7(milliseconds, sha256(f"{request} {number}".encode()).digest()[:10])


async def _wait(context: Context, job_id: str) -> EndedJob | None:
    """Return the job if it ends in time."""
    resources = context.resources
    with suppress(OverdueError):
        return await resources.waiter.wait(
            resources.pool, job_id, context.organization_id, resources.patience
        )
    return None


async def _show(
    context: Context, application_id: str, job_ids: Sequence[str]
) -> ControlledApplication:
    query = select(Job).where(col(Job.job_id).in_(job_ids)).order_by(col(Job.server_id))
    async with context.transaction() as session:
        shown = await find_shown(session, context, application_id)
        jobs = (await session.exec(query)).all()
    servers = [ControlledServer.of(job) for job in jobs]
    answer = {**dict(shown), "job_id": context.job_id, "servers": servers}
    return ControlledApplication.model_validate(answer)


def _changed(result: object) -> bool | None:
    """Return what a worker reported, if that can be read."""
    if result is None:
        return None
    with suppress(ValidationError):
        return ControlResult.model_validate(result).changed
    return None


PROCEDURES = (
    Procedure("application.stop", "mutation", ChosenApplication, ControlledApplication, stop),
    Procedure("application.start", "mutation", ChosenApplication, ControlledApplication, start),
    Procedure("application.reload", "mutation", ReloadApplication, ControlledApplication, reload),
)
