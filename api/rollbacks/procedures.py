"""Show, verify, deploy and delete rollback points. A rollback is an ordinary deployment."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import ColumnElement
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.permissions import require_builder
from api.applications.queries import find_application
from api.deployments.plan import Content, make_deployment_plan
from api.deployments.queries import AcceptedDeployment, deployments, read_deployments
from api.deployments.request import (
    DeploymentInput,
    lock_deployable,
    request_of,
    store_planned,
)
from api.errors import DeploymentChangedError
from api.events.waiter import EndedJob
from api.fields.shapes import Document, Id, Input, Moment, Output, show_document
from api.jobs.server_choice import find_live_servers
from api.procedure.audit import audit_event
from api.procedure.context import PROVE, Context
from api.procedure.procedure import Procedure
from shared.deployments.retained_images import record_verification_job, submit_image_job
from shared.deployments.run_settings import RunSettings
from shared.deployments.store import Image, Retained
from shared.errors import NotFoundError, OverdueError, UnmetConditionError
from shared.jobs.commands import ImageVerify
from shared.jobs.states import State
from shared.models import Deployment, Rollback

VERIFIED_AGAIN_AFTER = timedelta(minutes=1)
"""A point that was verified within so long is not verified again."""

OFFERED_FOR = timedelta(days=2)
"""Control verifies each point once a day; one that was verified longer ago is not offered."""

PATIENCE = timedelta(seconds=10)
"""How long `rollback.verify` waits for all points, which are verified at the same time."""


class ManyRollbacks(Input):
    application_id: Id


class ChosenRollback(Input):
    rollback_id: Id


class RollbackInput(DeploymentInput):
    """With ``newestDeploymentId``, another newest deployment of the application is refused."""

    rollback_id: Id
    newest_deployment_id: Id | None = None


@dataclass(frozen=True)
class Point:
    """A rollback point; it ``is_running`` where some server's last deployment is its image."""

    row: Rollback
    is_running: bool


class RollbackOutput(Output):
    """An image to roll back to, which was whole at its registry at `verifiedAt`.

    It is `offered` if it was verified lately; if not, `error` says why. `deploymentId` is the last
    deployment that ran it, `version` that of its build.
    """

    rollback_id: str
    application_id: str
    deployment_id: str
    build_id: str
    version: int
    reference: str
    digest: str
    registry_id: str | None
    offered: bool
    error: Document | None
    is_running: bool
    verified_at: Moment
    used_at: Moment
    created_at: Moment

    @classmethod
    def of(cls, point: Point, now: datetime) -> Self:
        row = point.row
        is_good = row.verification_error is None and row.registry_id is not None
        is_recent = row.verified_at is not None and now - row.verified_at < OFFERED_FOR
        return cls.model_validate(
            {
                **row.model_dump(),
                "offered": is_recent and is_good,
                "error": show_document(row.verification_error),
                "is_running": point.is_running,
            }
        )


async def get_all(context: Context, request: ManyRollbacks) -> list[RollbackOutput]:
    """List an application's rollback points, the last used one first.

    Each is shown as it was last verified, which control does once a day; `rollback.verify` verifies
    them now.
    """
    async with context.transaction() as session:
        await find_application(session, context, request.application_id)
        points = await _read(
            session, context, col(Rollback.application_id) == request.application_id
        )
    now = datetime.now(UTC)
    return [RollbackOutput.of(point, now) for point in points]


async def verify(context: Context, request: ManyRollbacks) -> list[RollbackOutput]:
    """Verify an application's rollback points at their registries, and list them.

    A point that was verified in the last minute is not verified again. The answer waits ten
    seconds at the most; a point that takes longer is shown as it was verified before.
    """
    async with context.transaction() as session:
        _, server_ids = await find_application(session, context, request.application_id)
        points = await _read(
            session, context, col(Rollback.application_id) == request.application_id
        )
    await _verify(context, [point.row for point in points], server_ids)
    now = datetime.now(UTC)
    return [RollbackOutput.of(point, now) for point in points]


async def rollback(context: Context, request: RollbackInput) -> AcceptedDeployment:
    """Run a rollback point's image with its settings, on the current servers.

    The variables are the current ones. It is a deployment: answered at once, with a health gate on
    each server; what fails leaves what ran before. The image comes from where it is retained,
    whatever became of the build registry.

    With `newestDeploymentId` it is refused if there is a newer deployment than the caller knows.
    """
    async with context.transaction() as session:
        row = (await _find(session, context, request.rollback_id)).row
        loaded = await lock_deployable(session, context, row.application_id)
        if not loaded.is_repeat:
            await _require_newest(session, context, row, request.newest_deployment_id)
        title = request.title or f"Roll back to version {row.version}"
        deployment = make_deployment_plan(
            loaded, request_of(context, title, request.description), _content(row)
        )
        return await store_planned(session, context, loaded, deployment)


async def _require_newest(
    session: AsyncSession, context: Context, row: Rollback, known: str | None
) -> None:
    """Require that the newest deployment is the known one; the application is locked.

    Raises:
        DeploymentChangedError: another one is.
    """
    if known is None:
        return
    query = deployments(context).where(Deployment.application_id == row.application_id)
    newest = await read_deployments(session, query)
    if not newest or newest[0].deployment.deployment_id != known:
        raise DeploymentChangedError(
            "the application was deployed since: its newest deployment is another one",
            remedy="Look at deployment.all, and request the rollback again with its newest id.",
        )


async def delete(context: Context, request: ChosenRollback) -> RollbackOutput:
    """Delete a rollback point, and its image if nothing else needs it.

    While a server runs the image, it stays; it is deleted afterwards. The bytes stay where another
    tag, build, point or deployment needs them, or an index or a signature names them; the result of
    the job (`image.delete`) says why.
    """
    async with context.transaction() as session:
        point = await _find(session, context, request.rollback_id)
        application, _ = await find_application(session, context, point.row.application_id)
        require_builder(context.caller, application)
        # The API may write no other column, so it does not write the row as a whole.
        point.row.dropped_at = now = datetime.now(UTC)
        session.add(
            audit_event(
                context, "rollback.delete", point.row.rollback_id, reference=point.row.reference
            )
        )
        shown = RollbackOutput.of(point, now)
    return shown.model_copy(update={"offered": False})


def _content(row: Rollback) -> Content:
    """Return what a rollback point runs, as it was stored with the point.

    Raises:
        UnmetConditionError: ``registry_removed``.
    """
    if row.registry_id is None:
        raise UnmetConditionError(
            "registry_removed",
            f"the registry that keeps {row.reference} was removed",
            remedy="Choose another point, see rollback.all; or deploy a build.",
        )
    return Content(
        build_id=row.build_id,
        image=Image(row.reference, row.digest, row.registry_id),
        settings=RunSettings.model_validate(row.settings),
        retained=Retained(row.reference, row.registry_id),
        rollback_id=row.rollback_id,
    )


async def _find(session: AsyncSession, context: Context, rollback_id: str) -> Point:
    found = await _read(session, context, col(Rollback.rollback_id) == rollback_id)
    if not found:
        raise NotFoundError("Rollback not found")
    return found[0]


async def _read(
    session: AsyncSession, context: Context, chosen: ColumnElement[bool]
) -> list[Point]:
    runs = func.application_runs(Rollback.application_id, Rollback.digest)
    query = (
        select(Rollback, runs)
        .where(
            Rollback.organization_id == context.organization_id,
            col(Rollback.dropped_at).is_(None),
            chosen,
        )
        .order_by(col(Rollback.used_at).desc(), col(Rollback.rollback_id).desc())
    )
    return [Point(row, is_running) for row, is_running in (await session.exec(query)).all()]


async def _verify(context: Context, rows: Sequence[Rollback], server_ids: Sequence[str]) -> None:
    """Verify the points that were not verified lately, if possible by one of these servers."""
    since = datetime.now(UTC) - VERIFIED_AGAIN_AFTER
    stale = [row for row in rows if row.registry_id and (row.checked_at or since) <= since]
    servers = await find_live_servers(context) if stale else []
    if not servers:
        return
    server_id = next((each for each in servers if each in server_ids), servers[0])
    with context.waiting():
        submitted = [(row, await _submit(context, row, server_id)) for row in stale]
        waiting = [_wait(context, row, job_id) for row, job_id in submitted]
        found = await asyncio.gather(*waiting)
    for row, ended in zip(stale, found, strict=True):
        if ended is not None:
            row.checked_at = datetime.now(UTC)
            _note(row, ended)


async def _wait(context: Context, row: Rollback, job_id: str) -> EndedJob | None:
    resources = context.resources
    with suppress(OverdueError):
        return await resources.waiter.wait(resources.pool, job_id, row.organization_id, PATIENCE)
    return None


def _note(row: Rollback, ended: EndedJob) -> None:
    """Change only what is shown; control writes the row, from the same job.

    A verification that expired or was cancelled says nothing of the image.
    """
    if ended.state is State.SUCCEEDED:
        row.verified_at, row.verification_error = row.checked_at, None
    elif ended.state is State.FAILED:
        row.verification_error = ended.error


async def _submit(context: Context, row: Rollback, server_id: str) -> str:
    async with context.resources.pool.connection() as connection, connection.transaction():
        await connection.execute(PROVE, (context.caller.proof,))
        job_id = await submit_image_job(
            connection,
            ImageVerify(reference=row.reference, registry_id=row.registry_id),
            organization_id=row.organization_id,
            application_id=row.application_id,
            server_id=server_id,
            deadline=PATIENCE,
            requested_by=context.caller.actor_id,
        )
        await record_verification_job(connection, row.rollback_id, job_id)
    return job_id


PROCEDURES = (
    Procedure("rollback.all", "query", ManyRollbacks, list[RollbackOutput], get_all),
    Procedure("rollback.verify", "mutation", ManyRollbacks, list[RollbackOutput], verify),
    Procedure("rollback.rollback", "mutation", RollbackInput, AcceptedDeployment, rollback),
    Procedure("rollback.delete", "mutation", ChosenRollback, RollbackOutput, delete),
)
