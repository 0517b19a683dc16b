"""Store a deployment: its row and, for each server, a row and two jobs, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.context import Context
from api.jobs import TRANSFER_DEADLINE
from api.procedures.deployment_plan import Plan
from shared.database import Connection
from shared.errors import NotFoundError
from shared.ids import make_id
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import ContainerReplace, ImagePull
from shared.jobs.store.submit import Submission, submit
from shared.models import Application, Build

LOCK = "SELECT 1 FROM application WHERE application_id = %s AND organization_id = %s FOR UPDATE"
STANDS = "SELECT 1 FROM deployment WHERE deployment_id = %s"
INSERT = """
INSERT INTO deployment (deployment_id, organization_id, application_id, build_id, title,
                        description, reference, digest, requested_by)
VALUES (%(deployment_id)s, %(organization_id)s, %(application_id)s, %(build_id)s, %(title)s,
        %(description)s, %(reference)s, %(digest)s, %(requested_by)s)
"""
INSERT_SERVER = """
INSERT INTO deployment_server (deployment_id, server_id, organization_id, pull_job_id,
                               replace_job_id)
VALUES (%(deployment_id)s, %(server_id)s, %(organization_id)s, %(pull_job_id)s, %(replace_job_id)s)
"""
# Whichever image is there first: what was asked for last is what runs in the end.
WAIT_FOR_EARLIER = """
INSERT INTO job_need (job_id, needs_job_id, on_state)
SELECT %(replace_job_id)s, j.job_id, 'ended'
  FROM deployment d JOIN deployment_server s USING (deployment_id)
  JOIN job j ON j.job_id = s.replace_job_id
 WHERE d.application_id = %(application_id)s AND s.server_id = %(server_id)s
   AND d.outcome IS NULL AND j.finished_at IS NULL AND d.deployment_id <> %(deployment_id)s
"""


@dataclass(frozen=True)
class Order:
    """A deployment as it was asked for, and where it is carried out."""

    application: Application
    build: Build
    plan: Plan
    server_ids: Sequence[str]
    title: str
    description: str


async def store_deployment(context: Context, order: Order) -> None:
    """Store it under the request's own id and submit its jobs. A repeat changes nothing."""
    pool = context.resources.pool
    async with pool.connection() as connection, connection.transaction():
        if await _is_new(connection, context, order.application):
            await _store(connection, context, order)


async def _is_new(connection: Connection, context: Context, application: Application) -> bool:
    """Whether this request was not carried out before; those of one application wait here."""
    chosen = (application.application_id, context.organization_id)
    if await (await connection.execute(LOCK, chosen)).fetchone() is None:
        raise NotFoundError("Application not found")
    return await (await connection.execute(STANDS, (context.job_id,))).fetchone() is None


async def _store(connection: Connection, context: Context, order: Order) -> None:
    values = {
        "deployment_id": context.job_id,
        "organization_id": order.application.organization_id,
        "application_id": order.application.application_id,
        "build_id": order.build.build_id,
        "title": order.title,
        "description": order.description,
        "reference": str(order.plan.reference),
        "digest": order.plan.reference.digest,
        "requested_by": context.caller.api_key_id,
    }
    await connection.execute(INSERT, values)
    for server_id in order.server_ids:
        # The first job has the deployment's own id.
        first = context.job_id if server_id == order.server_ids[0] else make_id()
        pull = _submission(context, order, order.plan.pull, server_id, first)
        replace = _submission(context, order, order.plan.replace, server_id, make_id(), first)
        jobs = {"server_id": server_id, "pull_job_id": first, "replace_job_id": replace.job_id}
        await submit(connection, pull)
        await submit(connection, replace)
        await connection.execute(WAIT_FOR_EARLIER, {**values, **jobs})
        await connection.execute(INSERT_SERVER, {**values, **jobs})


def _submission(
    context: Context,
    order: Order,
    command: ImagePull | ContainerReplace,
    server_id: str,
    job_id: str,
    *needs: str,
) -> Submission:
    application = order.application
    is_pull = isinstance(command, ImagePull)
    return Submission(
        organization_id=application.organization_id,
        server_id=server_id,
        command=command,
        requested_by=context.caller.api_key_id,
        registry_id=command.registry_id if isinstance(command, ImagePull) else None,
        sealed={"environment": application.env} if application.env and not is_pull else {},
        exclusive_key=exclusive_key(command, server_id),
        fair_key=application.application_id,
        deadline=TRANSFER_DEADLINE,
        needs=needs,
        deployment_id=context.job_id,
        job_id=job_id,
    )
