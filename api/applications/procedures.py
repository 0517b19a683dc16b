"""Applications: created, shown, changed, removed. Sources and builds have modules of their own."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.build_settings import RUN, WAY, BuildFields, VariableFields, set_variables
from api.applications.changes import ApplicationChange, show_change
from api.applications.container import (
    DEFAULT_GRACE_SECONDS,
    HealthCheck,
    Mounts,
    Nanoseconds,
    Ports,
    StopGrace,
    StopSignal,
    SwarmHealthCheck,
    seconds_of,
)
from api.applications.deploy_keys import warn_of_ssh
from api.applications.fields import AppName, Platform, ServerIds, SourceType, make_app_name
from api.applications.permissions import require_keys
from api.applications.queries import (
    SERVER_IDS,
    application_event,
    assign,
    find_application,
    flush_application,
)
from api.applications.schemas import ApplicationOutput, CreatedApplication
from api.applications.sources import (
    FROM_GIT,
    FROM_IMAGE,
    GitFields,
    ImageFields,
    check_login,
    choose_source,
    lacks_source,
    require_source,
    set_git,
    set_image,
)
from api.applications.status import read_statuses
from api.fields import dokploy
from api.fields.effects import AppliesTo, FieldWarning, NotBeside
from api.fields.hosts import require_host
from api.fields.json_text import read_object
from api.fields.shapes import Change, Id, Ids, ImageName, Input, Name, NoInput, Text
from api.fields.sources import Branch, GitAddress, parse_git_url
from api.procedure.application_limits import within_limits
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.quotas import require_room
from api.procedure.usage import require_idle_application, require_registries, require_servers
from shared.deployments.run_settings import Runtime
from shared.deployments.store import OnFailure
from shared.ids import make_id
from shared.models import Application, ApplicationServer
from shared.models.application import REGISTRIES
from shared.reference import parse_reference

CHANGEABLE = {
    *("name", "app_name", "description", "source_type", "platform", "build_server_id"),
    *("rollback_active", "rollbacks_to_keep", "latest_wins", *REGISTRIES),
    *("health_check", "ports", "mounts", "replicas", "stop_signal", "stop_grace_seconds"),
    *("runtime", "rollout_batch", "rollout_on_failure", "allowed_keys"),
}
"""The columns that create and update set to what is asked."""


class Settings(Input):
    """Only what is given counts; ``null`` takes away what need not be there.

    ``registryId`` is pulled from, ``buildRegistryId`` pushed to, ``rollbackRegistryId`` keeps what
    was pushed, if ``rollbackActive``. ``latestWins``: a newer build supersedes one that waits.
    ``runtime``: a plain ``container`` on each server, a ``service`` of ``replicas`` on the Swarm
    that each manages, or ``none``, for the image alone. It is stopped by ``stopSignal``, by default
    its image's, and by force after ``stopGraceSeconds``.
    ``rolloutBatch`` servers are changed at once, 0 are all; where one fails the rest ``stop``, and
    with ``rollback`` those that were changed get back what they had.
    Of members' API keys ``allowedKeys`` alone build and deploy it; all do where it names none, but
    with a tar of their own only if it has no secrets, variables and host paths.
    """

    description: Text = ""
    source_type: SourceType | None = None
    platform: Platform | None = None
    registry_id: Id | None = None
    build_registry_id: Id | None = None
    rollback_registry_id: Annotated[Id | None, AppliesTo("rollback_active")] = None
    rollback_active: Annotated[bool, AppliesTo("rollback_registry_id", harmless=False)] = False
    build_server_id: Id | None = None
    server_ids: ServerIds = Field(default_factory=list)
    health_check: Annotated[HealthCheck | None, RUN] = None
    ports: Annotated[Ports, RUN] = Field(default_factory=list)
    mounts: Annotated[Mounts, RUN] = Field(default_factory=list)
    replicas: Annotated[
        int, Field(ge=1, le=100), AppliesTo("runtime", ("service",), harmless=1)
    ] = 1
    runtime: Runtime = "container"
    stop_signal: Annotated[StopSignal | None, RUN] = None
    stop_grace_seconds: Annotated[
        StopGrace, AppliesTo("runtime", ("container", "service"), harmless=10)
    ] = 10
    rollout_batch: Annotated[int, Field(ge=0, le=100)] = 0
    rollout_on_failure: OnFailure = "stop"
    rollbacks_to_keep: Annotated[
        int, Field(ge=0, le=100), AppliesTo("rollback_registry_id", harmless=10)
    ] = 10
    latest_wins: bool = True
    allowed_keys: Ids = Field(default_factory=list)

    @property
    def targets(self) -> set[str] | None:
        """The servers it is to run on; `None` where nothing is said of them."""
        return set(self.server_ids) if "server_ids" in self.model_fields_set else None


class CreateApplication(Settings):
    """``appName`` names its repository and its containers; by default it is made of ``name``.

    ``serverId``, Dokploy's word, is one of ``serverIds``. A public repository or a ready image may
    be given at once, and is what it is built from; more is said by what saves its source.
    """

    NEVER_NULL: ClassVar[frozenset[str]] = frozenset({"sourceType"})

    name: Name
    app_name: AppName | None = None
    server_id: Id | None = None
    environment_id: Id | None = None
    docker_image: Annotated[ImageName | None, FROM_IMAGE] = None
    git_url: Annotated[GitAddress | None, FROM_GIT] = Field(default=None, alias="customGitUrl")
    git_branch: Annotated[Branch | None, FROM_GIT, AppliesTo("git_url", refused=True)] = Field(
        default=None, alias="customGitBranch"
    )

    @property
    def targets(self) -> set[str]:
        return {*self.server_ids, *([self.server_id] if self.server_id else [])}


class UpdateApplication(Settings, BuildFields, VariableFields, GitFields, ImageFields, Change):
    """Only what is given changes; ``null`` takes away what need not be there.

    What its build type, variables, repository and image are may be said here too, as by what saves
    them; ``sourceType`` stays, unless none was chosen yet. ``healthCheckSwarm`` is ``healthCheck``
    as Dokploy has it, ``stopGracePeriodSwarm`` is ``stopGraceSeconds`` in nanoseconds.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.APPLICATION
    NEVER_NULL: ClassVar[frozenset[str]] = frozenset(
        {"name", "appName", "dockerImage", "customGitUrl", "replicas", "buildType"}
        | {"rollbackActive", "stopGraceSeconds"}
    )

    application_id: Id
    name: Name = ""
    app_name: AppName = ""
    environment_id: Id | None = None
    health_check_swarm: Annotated[
        SwarmHealthCheck | None, BeforeValidator(read_object), NotBeside("health_check")
    ] = None
    stop_grace_period_swarm: Annotated[Nanoseconds | None, NotBeside("stop_grace_seconds")] = None


STORED = {str(field.alias) for field in UpdateApplication.model_fields.values()} - {
    *("environmentId", "enableSubmodules", "healthCheckSwarm", "stopGracePeriodSwarm")
}
"""The fields of an update that are stored, also if they have no effect at present."""


class ChosenApplication(Input):
    application_id: Id


async def create(context: Context, request: CreateApplication) -> CreatedApplication:
    """Create an application. Save its source next.

    Raises:
        QuotaUsedError: the organization has as many applications as its quota allows.
    """
    application = Application(
        application_id=make_id(),
        organization_id=context.organization_id,
        name=request.name,
        app_name=make_app_name(request.name),
    )
    async with context.transaction() as session:
        await _require_references(session, context, request)
        given = request.model_fields_set - ({"app_name"} if request.app_name is None else set())
        assign(application, request, given & CHANGEABLE)
        _set_source(context, application, request)
        _leave_source_open(context, application)
        warn_of_ssh(context, application)
        context.check_effects(request, application)
        _check_environment(context, request)
        await check_login(session, context, application)
        await require_room(session, context, "applications")
        session.add(application)
        await flush_application(session, application)
        await _set_servers(session, application, request)
        session.add(application_event(context, "application.create", application))
        found = await find_application(session, context, application.application_id)
    return CreatedApplication.of(*found)


async def get_all(context: Context, _asked: NoInput) -> list[ApplicationOutput]:
    """List all applications of the organization, the oldest first."""
    query = (
        select(Application, SERVER_IDS)
        .where(
            Application.organization_id == context.organization_id,
            within_limits(context.caller, Application.application_id),
        )
        .order_by(col(Application.created_at), Application.application_id)
    )
    async with context.transaction() as session:
        rows = (await session.exec(query)).all()
        statuses = await read_statuses(session, [row.application_id for row, _ in rows])
    return [
        ApplicationOutput.of(row, server_ids, statuses[row.application_id])
        for row, server_ids in rows
    ]


async def one(context: Context, request: ChosenApplication) -> ApplicationOutput:
    """Return one application."""
    async with context.transaction() as session:
        return await find_shown(session, context, request.application_id)


async def find_shown(
    session: AsyncSession, context: Context, application_id: str
) -> ApplicationOutput:
    """Return an application as it is shown.

    Raises:
        NotFoundError: no such application, or another organization's.
    """
    found = await find_application(session, context, application_id)
    statuses = await read_statuses(session, [application_id])
    return ApplicationOutput.of(*found, statuses[application_id])


async def update(context: Context, request: UpdateApplication) -> ApplicationChange:
    """Change an application. Its next build and its next deployment use the new settings."""
    given = request.model_fields_set
    async with context.transaction() as session:
        await _require_references(session, context, request)
        application, _ = await find_application(session, context, request.application_id, lock=True)
        changed = assign(application, request, given & (CHANGEABLE | WAY))
        changed += _set_health_check(application, request)
        changed += _set_grace(application, request)
        changed += set_variables(context, application, request)
        changed += set_git(context, application, request)
        changed += set_image(context, application, request)
        choose_source(application, image="docker_image" in given, git="git_url" in given)
        require_source(application)
        if "git_url" in given:
            warn_of_ssh(context, application)
        context.check_effects(request, application)
        _check_environment(context, request)
        if given & {"registry_id", "docker_image", "source_type"}:
            await check_login(session, context, application)
        await flush_application(session, application)
        if await _set_servers(session, application, request):
            changed.append("server_ids")
        session.add(application_event(context, "application.update", application, changed))
        return await show_change(session, context, application, STORED)


async def remove(context: Context, request: ChosenApplication) -> ApplicationOutput:
    """Remove an application and its secrets; return what it was. Its containers keep running.

    Raises:
        InUseError: it is being built or deployed.
    """
    async with context.transaction() as session:
        found = await find_application(session, context, request.application_id, lock=True)
        await require_idle_application(session, found[0])
        statuses = await read_statuses(session, [request.application_id])
        await session.delete(found[0])
        session.add(application_event(context, "application.remove", found[0]))
    return ApplicationOutput.of(*found, statuses[request.application_id])


async def _require_references(session: AsyncSession, context: Context, request: Settings) -> None:
    """Every registry and server that is named is the organization's, and stays while we write."""
    await require_registries(session, context, [getattr(request, field) for field in REGISTRIES])
    await require_servers(session, context, [request.build_server_id, *(request.targets or ())])
    await require_keys(session, context, request.allowed_keys)


def _check_environment(context: Context, request: CreateApplication | UpdateApplication) -> None:
    """Note an environment that is not the organization's one."""
    if request.environment_id in {None, context.organization_id}:
        return
    message = "environmentId has no effect: an organization has one environment"
    context.warnings.append(FieldWarning(field="environmentId", message=message))


def _leave_source_open(context: Context, application: Application) -> None:
    """Choose no source that is not saved yet, and note it: clients of Dokploy save it next."""
    if saved_by := lacks_source(application):
        message = f"sourceType has no effect yet: {saved_by} saves the source and chooses it"
        context.warnings.append(FieldWarning(field="sourceType", message=message))
        application.source_type = None


async def _set_servers(session: AsyncSession, application: Application, request: Settings) -> bool:
    if request.targets is None:
        return False
    chosen = col(ApplicationServer.application_id) == application.application_id
    await session.exec(delete(ApplicationServer).where(chosen))
    session.add_all(
        ApplicationServer(
            application_id=application.application_id,
            server_id=server_id,
            organization_id=application.organization_id,
        )
        for server_id in sorted(request.targets)
    )
    await session.flush()
    return True


def _set_health_check(application: Application, request: UpdateApplication) -> list[str]:
    """Set the health check that is given in Dokploy's form alone; return the name of the field."""
    given = request.model_fields_set
    if "health_check_swarm" not in given or "health_check" in given:
        return []
    swarm = request.health_check_swarm
    checked = swarm and swarm.convert()
    application.health_check = checked.model_dump(mode="json") if checked else None
    return ["health_check"]


def _set_grace(application: Application, request: UpdateApplication) -> list[str]:
    """Set the time to stop that is given in Dokploy's form alone; return the name of the field."""
    given = request.model_fields_set
    if "stop_grace_period_swarm" not in given or "stop_grace_seconds" in given:
        return []
    seconds = seconds_of(request.stop_grace_period_swarm)
    application.stop_grace_seconds = DEFAULT_GRACE_SECONDS if seconds is None else seconds
    return ["stop_grace_seconds"]


def _set_source(context: Context, application: Application, request: CreateApplication) -> None:
    """The sources given with the application itself; `sourceType` chooses between two."""
    networks = context.resources.networks
    if request.docker_image is not None:
        require_host(parse_reference(request.docker_image).registry, networks)
        application.docker_image = request.docker_image
    if request.git_url is not None:
        application.git_host = parse_git_url(request.git_url, networks).host
        application.git_url, application.git_branch = request.git_url, request.git_branch
    choose_source(
        application, image=request.docker_image is not None, git=request.git_url is not None
    )


PROCEDURES = (
    Procedure(
        "application.create", "mutation", CreateApplication, CreatedApplication, create, "admin"
    ),
    Procedure("application.all", "query", NoInput, list[ApplicationOutput], get_all),
    Procedure("application.one", "query", ChosenApplication, ApplicationOutput, one),
    Procedure(
        "application.update", "mutation", UpdateApplication, ApplicationChange, update, "admin"
    ),
    Procedure(
        "application.remove", "mutation", ChosenApplication, ApplicationOutput, remove, "admin"
    ),
)
