"""After a restore of the database from a backup: show the waiting jobs, and resume them."""

from sqlalchemy import text
from sqlmodel import col, select

from api.accounts.api_keys import ApiKeyOutput
from api.fields.shapes import Moment, NoInput, Output
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.models import ApiKey, DeployHook, Job, Organization

RESUME = text("SELECT organization_resume(:organization_id)")


class RestoredHook(Output):
    """A deploy hook of the backup."""

    hook_id: str
    application_id: str
    created_at: Moment
    last_used_at: Moment | None


class RestoreOutput(Output):
    """Jobs, keys and hooks of the backup, if the database was restored from one.

    The jobs wait: they may have run, or been cancelled, since the backup was made. The keys and
    deploy hooks work, also those that were removed since then: remove these again.
    """

    held_at: Moment | None
    waiting_job_ids: list[str]
    api_keys: list[ApiKeyOutput]
    deploy_hooks: list[RestoredHook]


class ResumeOutput(Output):
    """The number of resumed jobs."""

    resumed: int


async def one(context: Context, _request: NoInput) -> RestoreOutput:
    """Show the jobs that wait since the database was restored, and the keys of the backup."""
    of = context.organization_id
    async with context.transaction() as session:
        held_at = (await session.get_one(Organization, of)).held_at
        if held_at is None:
            return RestoreOutput(held_at=None, waiting_job_ids=[], api_keys=[], deploy_hooks=[])
        jobs = select(Job.job_id).where(
            Job.organization_id == of, Job.state == "queued", col(Job.created_at) <= held_at
        )
        keys = select(ApiKey).where(ApiKey.organization_id == of, col(ApiKey.created_at) <= held_at)
        hooks = select(DeployHook).where(
            DeployHook.organization_id == of, col(DeployHook.created_at) <= held_at
        )
        return RestoreOutput(
            held_at=held_at,
            waiting_job_ids=list(await session.exec(jobs.order_by(col(Job.created_at)))),
            api_keys=[ApiKeyOutput.model_validate(key) for key in await session.exec(keys)],
            deploy_hooks=[RestoredHook.model_validate(hook) for hook in await session.exec(hooks)],
        )


async def resume(context: Context, _request: NoInput) -> ResumeOutput:
    """Resume the jobs that wait since the database was restored. Cancel unwanted jobs first."""
    async with context.transaction() as session:
        connection = await session.connection()
        found = await connection.execute(RESUME, {"organization_id": context.organization_id})
        resumed = found.scalar_one()
        session.add(
            audit_event(context, "restore.resume", context.organization_id, resumed=resumed)
        )
    return ResumeOutput(resumed=resumed)


PROCEDURES = (
    Procedure("restore.one", "query", NoInput, RestoreOutput, one, "admin"),
    Procedure("restore.resume", "mutation", NoInput, ResumeOutput, resume, "admin"),
)
