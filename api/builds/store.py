"""Store a build: its row and its jobs in one transaction, each job needing the one before."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from api.builds.plan import BuildOptions, BuildRegistries, Plan, make_plan
from api.jobs.submission import TRANSFER_DEADLINE
from api.procedure.context import Context
from shared.database import Connection
from shared.errors import NotFoundError
from shared.faults import Fault
from shared.ids import make_id
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import (
    GitSource,
    ImageBuild,
    ImageCopy,
    ImagePull,
    ImagePush,
    Kind,
)
from shared.jobs.store.submit import Submission, submit
from shared.models import Application

AnyStep = ImageBuild | ImagePull | ImagePush | ImageCopy

LOCK = """
SELECT set_config('wharf.proof', %s, true) FROM application
 WHERE application_id = %s AND organization_id = %s FOR UPDATE
"""
STANDS = """
SELECT 1 FROM build WHERE build_id = %(request_id)s
UNION ALL SELECT 1 FROM deployment WHERE deployment_id = %(request_id)s
"""
NUMBER = """
UPDATE application SET last_version = last_version + 1
 WHERE application_id = %s RETURNING last_version
"""
INSERT = """
INSERT INTO build (build_id, organization_id, application_id, version, title, reference, retained,
                   make_job_id, push_job_id, retain_job_id, requested_by)
VALUES (%(build_id)s, %(organization_id)s, %(application_id)s, %(version)s, %(title)s,
        %(reference)s, %(retained)s, %(build_id)s, %(push_job_id)s, %(retain_job_id)s,
        %(requested_by)s)
"""
SUPERSEDE = """
SELECT job_cancel(j.job_id, j.organization_id, %s)
  FROM build b JOIN job j ON j.job_id = b.make_job_id
 WHERE b.application_id = %s AND b.outcome IS NULL AND j.state = 'queued' AND b.build_id <> %s
"""
SUPERSEDED = Fault(code="superseded", message="a newer build of the application took its place")


@dataclass(frozen=True)
class BuildRequest:
    """A build as it was asked for, and where it is carried out."""

    application: Application
    registries: BuildRegistries
    options: BuildOptions
    server_id: str
    title: str

    def plan(self, version: int) -> Plan:
        return make_plan(self.application, self.registries, self.options, version)


@dataclass(frozen=True)
class Built:
    """A build that was stored: its plan, and the job whose result has its digest."""

    plan: Plan
    made_by: str


async def store_build(context: Context, order: BuildRequest) -> None:
    """Number it, store it, submit its jobs; what it supersedes ends. A repeat changes nothing."""
    pool = context.resources.pool
    async with pool.connection() as connection, connection.transaction():
        if await is_new(connection, context, order.application):
            await add_build(connection, context, order)


async def is_new(connection: Connection, context: Context, application: Application) -> bool:
    """Return whether the request is new; requests for one application wait here for each other.

    Raises:
        NotFoundError: the application was removed meanwhile.
    """
    chosen = (context.caller.proof, application.application_id, context.organization_id)
    if await (await connection.execute(LOCK, chosen)).fetchone() is None:
        raise NotFoundError("Application not found")
    stored = {"request_id": context.job_id}
    return await (await connection.execute(STANDS, stored)).fetchone() is None


async def add_build(connection: Connection, context: Context, order: BuildRequest) -> Built:
    """As `store_build`, within the transaction of who has asked whether it `is_new`."""
    version = await _number(connection, order.application)
    plan = order.plan(version)
    jobs = _submissions(context, order, plan)
    await _store(connection, context, order, version, jobs)
    pushing = [job.job_id for job in jobs if job.command is plan.push]
    return Built(plan, (pushing or [jobs[0].job_id])[0])


async def _number(connection: Connection, application: Application) -> int:
    cursor = await connection.execute(NUMBER, (application.application_id,))
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - locked before
    return int(row["last_version"])


async def _store(
    connection: Connection,
    context: Context,
    order: BuildRequest,
    version: int,
    jobs: Sequence[Submission],
) -> None:
    plan = order.plan(version)
    for job in jobs:
        await submit(connection, job)
    steps = {job.command.kind: job.job_id for job in jobs[1:]}
    application = order.application
    values = {
        "build_id": context.job_id,
        "organization_id": application.organization_id,
        "application_id": application.application_id,
        "version": version,
        "title": order.title,
        "reference": str(plan.reference),
        "retained": plan.retained,
        "push_job_id": steps.get(Kind.IMAGE_PUSH),
        "retain_job_id": steps.get(Kind.IMAGE_COPY),
        "requested_by": context.caller.api_key_id,
    }
    await connection.execute(INSERT, values)
    if application.latest_wins:
        why = Jsonb(SUPERSEDED.model_dump(mode="json", exclude_none=True))
        await connection.execute(SUPERSEDE, (why, application.application_id, context.job_id))


def _submissions(context: Context, order: BuildRequest, plan: Plan) -> list[Submission]:
    """A job a command, each needing the one before; the first has the build's own id."""
    jobs: list[Submission] = []
    for command in (plan.make, plan.push, plan.retain):
        if command is not None:
            needs = [jobs[-1].job_id] if jobs else []
            job_id = make_id() if jobs else context.job_id
            jobs.append(_submission(context, order, command, job_id, needs))
    return jobs


def _sealed(command: AnyStep, application: Application) -> dict[str, str]:
    """Return the sealed secrets of the application that a build is given."""
    if not isinstance(command, ImageBuild):
        return {}
    given = {
        "git_token": application.git_token if isinstance(command.source, GitSource) else None,
        "build_secrets": application.build_secrets,
    }
    return {purpose: sealed for purpose, sealed in given.items() if sealed}


def _submission(
    context: Context, order: BuildRequest, command: AnyStep, job_id: str, needs: list[str]
) -> Submission:
    application = order.application
    return Submission(
        organization_id=application.organization_id,
        server_id=order.server_id,
        command=command,
        requested_by=context.caller.api_key_id,
        registry_id=command.registry_id,
        sealed=_sealed(command, application),
        exclusive_key=exclusive_key(command, order.server_id),
        fair_key=application.application_id,
        deadline=TRANSFER_DEADLINE,
        needs=needs,
        job_id=job_id,
    )
