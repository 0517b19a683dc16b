"""Load an application with everything that its builds and deployments are planned from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import aliased
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.jobs.registry_choice import choose_registry, find_registries
from api.procedure.context import Context
from shared.errors import NotFoundError
from shared.models import (
    Application,
    ApplicationServer,
    Build,
    Deployment,
    Job,
    Organization,
    Registry,
    Server,
)
from shared.reference import parse_reference
from shared.scans.policy import ScanPolicy


@dataclass(frozen=True)
class ApplicationRegistries:
    """The registries of an application: its images are pulled from, pushed to and retained in."""

    pull: Registry | None = None
    build: Registry | None = None
    rollback: Registry | None = None

    def __iter__(self) -> Iterator[Registry]:
        named = (self.pull, self.build, self.rollback)
        return iter([registry for registry in named if registry is not None])


@dataclass(frozen=True)
class LoadedApplication:
    """An application, its registries and its servers at one time.

    ``scan_policy`` is its own, or the organization's. ``is_repeat`` is set if the request that
    loads it is already stored.
    """

    row: Application
    registries: ApplicationRegistries
    servers: Sequence[Server]
    scan_policy: ScanPolicy = field(default_factory=ScanPolicy)
    is_repeat: bool = False


async def lock_application(
    session: AsyncSession, context: Context, application_id: str
) -> LoadedApplication:
    """Lock an application until the transaction's end, and load it.

    Requests for one application wait here for each other, so the plan is still true when it is
    stored.

    Raises:
        NotFoundError: no such application, or another organization's.
    """
    query = (
        select(Organization.scan_policy)
        .join(Application, col(Application.organization_id) == Organization.organization_id)
        .where(
            Application.organization_id == context.organization_id,
            Application.application_id == application_id,
        )
    )
    policy = (await session.exec(query.with_for_update(of=Application))).first()
    # Read after the lock, not with it: another statement sees what others have committed.
    application, registries = await load_application(session, context, application_id)
    servers = await _load_servers(session, application_id)
    registries = await _choose_pull(session, context, application, registries, servers)
    is_repeat = context.outlives and await _is_stored(session, context.job_id)
    own = application.scan_policy
    scan_policy = ScanPolicy.model_validate((policy if own is None else own) or {})
    return LoadedApplication(application, registries, servers, scan_policy, is_repeat)


async def load_application(
    session: AsyncSession, context: Context, application_id: str
) -> tuple[Application, ApplicationRegistries]:
    """Load an application and its registries.

    Raises:
        NotFoundError: no such application, or another organization's.
    """
    found = await _load(session, context, col(Application.application_id) == application_id)
    if not found:
        raise NotFoundError("Application not found")
    return found[0]


async def load_limited_applications(
    session: AsyncSession, context: Context
) -> list[tuple[Application, ApplicationRegistries]]:
    """Load the applications that only some keys may build, with their registries."""
    return await _load(session, context, func.cardinality(Application.allowed_keys) > 0)


async def _load(
    session: AsyncSession, context: Context, condition: ColumnElement[bool]
) -> list[tuple[Application, ApplicationRegistries]]:
    pull, build, rollback = aliased(Registry), aliased(Registry), aliased(Registry)
    query = (
        select(Application, pull, build, rollback)
        .outerjoin(pull, col(Application.registry_id) == pull.registry_id)
        .outerjoin(build, col(Application.build_registry_id) == build.registry_id)
        .outerjoin(rollback, col(Application.rollback_registry_id) == rollback.registry_id)
        .where(Application.organization_id == context.organization_id, condition)
    )
    return [
        (application, ApplicationRegistries(*registries))
        for application, *registries in await session.exec(query)
    ]


async def _load_servers(session: AsyncSession, application_id: str) -> Sequence[Server]:
    query = (
        select(Server)
        .join(ApplicationServer, col(ApplicationServer.server_id) == Server.server_id)
        .where(ApplicationServer.application_id == application_id)
        .order_by(Server.server_id)
    )
    return (await session.exec(query)).all()


async def _choose_pull(
    session: AsyncSession,
    context: Context,
    application: Application,
    registries: ApplicationRegistries,
    servers: Sequence[Server],
) -> ApplicationRegistries:
    """Choose the registry of a ready image, if the application names none."""
    is_ready = application.source_type == "docker" and application.docker_image is not None
    if registries.pull is not None or not is_ready:
        return registries
    reference = parse_reference(application.docker_image or "")
    found = await find_registries(session, context, [reference.registry])
    builder = [application.build_server_id] if application.build_server_id else []
    places = [*builder, *(server.server_id for server in servers)] if builder else []
    chosen = choose_registry(reference, found, places, application.application_id)
    return replace(registries, pull=chosen)


async def _is_stored(session: AsyncSession, request_id: str) -> bool:
    build = select(Build.build_id).where(Build.build_id == request_id)
    deployment = select(Deployment.deployment_id).where(Deployment.deployment_id == request_id)
    job = select(Job.job_id).where(Job.job_id == request_id)
    stored = await (await session.connection()).execute(build.union_all(deployment, job))
    return stored.first() is not None
