"""Check what an application names, and refuse to remove servers that an application uses."""

from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Mapped
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from api.errors import InUseError
from api.procedure.context import Context
from shared.errors import NotFoundError
from shared.models import Application, ApplicationServer, Build, Deployment, Job, Registry, Server

MAX_NAMES = 10


async def require_registries(
    session: AsyncSession, context: Context, ids: Iterable[str | None]
) -> None:
    """Check that the organization has these, and lock them until the transaction's end.

    Raises:
        NotFoundError: one is missing, or belongs to another organization.
    """
    query = select(Registry.registry_id).where(Registry.organization_id == context.organization_id)
    await _lock_all(session, query, col(Registry.registry_id), ids, "Registry")


async def require_servers(
    session: AsyncSession, context: Context, ids: Iterable[str | None]
) -> None:
    """Check servers as `require_registries` does; a removed server counts as missing.

    Raises:
        NotFoundError: one is missing, removed, or belongs to another organization.
    """
    query = select(Server.server_id).where(
        Server.organization_id == context.organization_id, col(Server.removed_at).is_(None)
    )
    await _lock_all(session, query, col(Server.server_id), ids, "Server")


async def require_applications(session: AsyncSession, context: Context, ids: Iterable[str]) -> None:
    """Raise `NotFoundError` unless all of these are applications of the organization."""
    requested = set(ids)
    query = select(Application.application_id).where(
        Application.organization_id == context.organization_id
    )
    chosen = query.where(col(Application.application_id).in_(requested))
    _require_found(requested, (await session.exec(chosen)).all(), "Application")


async def _lock_all(
    session: AsyncSession,
    query: SelectOfScalar[str],
    column: Mapped[str],
    ids: Iterable[str | None],
    name: str,
) -> None:
    requested = {each for each in ids if each}
    chosen = query.where(column.in_(requested)).order_by(column)
    locked = chosen.with_for_update(read=True, key_share=True)
    _require_found(requested, (await session.exec(locked)).all(), name)


def _require_found(requested: set[str], found: Iterable[str], name: str) -> None:
    if requested - set(found):
        raise NotFoundError(f"{name} not found")


async def require_unused_server(session: AsyncSession, server: Server) -> None:
    """Raise `InUseError` if an application uses the server; its row has to be locked."""
    runs = select(ApplicationServer.application_id).where(
        ApplicationServer.server_id == server.server_id
    )
    query = select(Application.name).where(
        Application.organization_id == server.organization_id,
        or_(
            Application.build_server_id == server.server_id,
            col(Application.application_id).in_(runs),
        ),
    )
    names = (await session.exec(query.order_by(Application.name))).all()
    _require_none(names, f"the server {server.name}")


async def require_idle_application(session: AsyncSession, application: Application) -> None:
    """Raise `InUseError` if it is being built or deployed; its row has to be locked."""
    chosen = application.application_id
    builds = await session.exec(
        select(Build).where(Build.application_id == chosen, col(Build.outcome).is_(None))
    )
    deployments = select(Deployment.deployment_id).where(
        Deployment.application_id == chosen, col(Deployment.outcome).is_(None)
    )
    of_builds = [job_id for build in builds for job_id in build.job_ids]
    unfinished = select(Job.job_id).where(
        col(Job.finished_at).is_(None),
        or_(col(Job.job_id).in_(of_builds), col(Job.deployment_id).in_(deployments)),
    )
    if (await session.exec(unfinished.limit(1))).first() is not None:
        raise InUseError(
            f"the application {application.name} is being built or deployed",
            remedy="Wait for it, or cancel it with application.cancelDeployment or build.cancel.",
        )


def _require_none(names: Sequence[str], subject: str) -> None:
    if names:
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        raise InUseError(
            f"{subject} is used by applications: {', '.join(names[:MAX_NAMES])}{more}",
            remedy="Change or remove it in these applications with application.update first.",
        )
