"""The request for a deployment: the input that all have in common, and storing it once."""

from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.loading import LoadedApplication, lock_application
from api.applications.permissions import require_builder
from api.deployments.plan import DeploymentRequest, make_deleted
from api.deployments.queries import AcceptedDeployment, find_deployment
from api.fields.shapes import Id, Input, Text
from api.procedure.context import Context
from api.procedure.quotas import storing_jobs
from api.procedure.sessions import connection_of
from shared.deployments.store import DeploymentPlan, store_deployment

# Read with the application locked; control locks it too before it requests a deletion.
IS_DELETED = """
SELECT FROM build
 WHERE build_id = %(build_id)s AND image_deleted_at IS NOT NULL
   AND repository_of(reference) = repository_of(%(reference)s)
UNION ALL
SELECT FROM rollback r JOIN job j ON j.job_id = r.delete_job_id
 WHERE r.reference = %(reference)s AND r.build_id = %(build_id)s AND r.dropped_at IS NOT NULL
   AND (j.finished_at IS NULL
     OR j.state = 'succeeded' AND j.result->>'outcome' IN ('deleted', 'gone'))
LIMIT 1
"""


class DeploymentInput(Input):
    """The options of any deployment."""

    title: Text = ""
    description: Text = ""


class ApplicationDeploymentInput(DeploymentInput):
    application_id: Id


async def lock_deployable(
    session: AsyncSession, context: Context, application_id: str
) -> LoadedApplication:
    """Lock and load an application that the caller may deploy.

    Raises:
        NotFoundError: no such application, or another organization's.
        ForbiddenError: the application names other keys.
    """
    loaded = await lock_application(session, context, application_id)
    require_builder(context.caller, loaded.row)
    return loaded


def request_of(context: Context, title: str, description: str) -> DeploymentRequest:
    """Return the request for a deployment with the id of its first job."""
    return DeploymentRequest(context.job_id, context.caller.actor_id, title, description)


async def store_planned(
    session: AsyncSession, context: Context, loaded: LoadedApplication, plan: DeploymentPlan
) -> AcceptedDeployment:
    """Store the deployment of an existing image once, and show it.

    Raises:
        UnmetConditionError: ``image_deleted``.
    """
    if not loaded.is_repeat:
        await _require_image(session, plan)
        async with storing_jobs(session, context) as connection:
            await store_deployment(connection, plan)
    return await show(session, context)


async def show(session: AsyncSession, context: Context) -> AcceptedDeployment:
    """Return the deployment that this request has stored."""
    return AcceptedDeployment.of(await find_deployment(session, context, context.job_id))


async def _require_image(session: AsyncSession, plan: DeploymentPlan) -> None:
    connection = await connection_of(session)
    image = {"build_id": plan.build_id, "reference": plan.image.reference}
    if await (await connection.execute(IS_DELETED, image)).fetchone() is not None:
        raise make_deleted(plan.image.reference)
