"""Plan a deployment: pure, from its application and the image that is to run."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from api.applications.loading import ApplicationRegistries, LoadedApplication
from api.applications.permissions import require_host_paths
from api.builds.plan import BuildPlan
from api.deployments.runnable import require_runnable
from shared.deployments.run_settings import RunSettings
from shared.deployments.store import DeploymentPlan, Image, OnFailure, Retained, Rollout
from shared.errors import UnmetConditionError
from shared.jobs.commands import ImageBuild
from shared.jobs.permissions import require_allowed
from shared.models import Application, Build
from shared.reference import Reference, parse_reference, require_digest

_ON_FAILURE: dict[str, OnFailure] = {"stop": "stop", "rollback": "rollback"}


@dataclass(frozen=True)
class DeploymentRequest:
    """The request for a deployment."""

    deployment_id: str
    requested_by: str | None = None
    title: str = ""
    description: str = ""


@dataclass(frozen=True)
class Content:
    """The image that a deployment runs, and its run settings.

    ``retained`` is where a rollback will find the image. ``rollback_id`` is the rollback point that
    both are from, if they are.
    """

    build_id: str
    image: Image
    settings: RunSettings
    retained: Retained | None
    rollback_id: str | None = None


def plan_new_build(
    loaded: LoadedApplication, request: DeploymentRequest, build: BuildPlan
) -> DeploymentPlan:
    """Plan the deployment of an image that a planned build will make, with the current settings.

    Raises:
        UnmetConditionError: as `make_deployment_plan`, or ``build_not_pushed``.
    """
    require_server(loaded)
    repositories = [step.command.reference for step in (build.retain, build.push) if step]
    content = Content(
        build_id=build.request.build_id,
        image=_image_to_make(build),
        settings=_settings_of(loaded.row),
        retained=_retained_of(loaded, repositories),
    )
    return make_deployment_plan(loaded, request, content)


def plan_stored_build(
    loaded: LoadedApplication, request: DeploymentRequest, build: Build
) -> DeploymentPlan:
    """Plan the deployment of the image of an existing build, with the current settings.

    Raises:
        UnmetConditionError: as `make_deployment_plan`, or ``build_not_succeeded``,
            ``image_deleted``, ``build_not_pushed``.
    """
    pushed = build.reference if build.push_job_id else None
    content = Content(
        build_id=build.build_id,
        image=_image_of(loaded.registries, build),
        settings=_settings_of(loaded.row),
        retained=_retained_of(loaded, [each for each in (build.retained, pushed) if each]),
    )
    return make_deployment_plan(loaded, request, content)


def make_deployment_plan(
    loaded: LoadedApplication, request: DeploymentRequest, content: Content
) -> DeploymentPlan:
    """Plan the deployment of this content to all servers of its application.

    The variables are the current ones.

    Raises:
        UnmetConditionError: ``too_many_replicas``, ``app_name_unusable``,
            ``health_check_too_slow``, ``no_target_server``, ``registry_not_allowed``,
            ``host_path_not_allowed``.
    """
    application, settings = loaded.row, content.settings
    require_runnable(application.name, settings)
    require_server(loaded)
    server_ids = [server.server_id for server in loaded.servers]
    used = content.image.registry_id
    registries = [each for each in loaded.registries if each.registry_id == used]
    require_allowed(registries, server_ids, application.application_id)
    if settings.runtime != "none":
        binds = [mount.source for mount in settings.mounts if mount.type == "bind"]
        require_host_paths(application.name, binds, loaded.servers)
    return DeploymentPlan(
        deployment_id=request.deployment_id,
        organization_id=application.organization_id,
        application_id=application.application_id,
        build_id=content.build_id,
        image=content.image,
        settings=settings,
        server_ids=server_ids,
        rollout=Rollout(application.rollout_batch, _ON_FAILURE[application.rollout_on_failure]),
        environment=application.env,
        retained=content.retained,
        title=request.title,
        description=request.description,
        requested_by=request.requested_by,
        rollback_id=content.rollback_id,
    )


def require_server(loaded: LoadedApplication) -> None:
    """Raises `UnmetConditionError`: ``no_target_server``."""
    if not loaded.servers:
        raise UnmetConditionError(
            "no_target_server",
            f"the application {loaded.row.name} has no server to run on",
            remedy="Give it serverIds with application.update.",
        )


def make_deleted(what: str) -> UnmetConditionError:
    """Make the error for an image that was, or is being, deleted with its last rollback point."""
    return UnmetConditionError(
        "image_deleted",
        f"{what} was deleted, or is being deleted, with its last rollback point",
        remedy="Build again, or choose another build from build.all.",
    )


def _settings_of(application: Application) -> RunSettings:
    """Return the application's current run settings."""
    return RunSettings.model_validate(
        {
            "runtime": application.runtime,
            "name": application.app_name,
            "replicas": application.replicas,
            "platform": application.platform,
            "health_check": application.health_check,
            "ports": application.ports,
            "mounts": [_mount(mount) for mount in application.mounts],
            "stop_signal": application.stop_signal,
            "stop_grace_seconds": application.stop_grace_seconds,
        }
    )


def _image_to_make(build: BuildPlan) -> Image:
    """Return where the image will be pulled from; its digest is in the result of the job."""
    pushed, scan = build.awaited
    if isinstance(pushed.command, ImageBuild):
        raise _not_pushed("what is built is")
    return Image(
        str(build.reference),
        None,
        pushed.command.registry_id,
        made_by=pushed.job_id,
        accepted_by=scan.job_id if scan else None,
    )


def _image_of(registries: ApplicationRegistries, build: Build) -> Image:
    """Return where a build's image is pulled from, by its digest: the tag may have moved."""
    if build.outcome != "succeeded":
        state = f"ended as {build.outcome}" if build.outcome else "has not ended"
        raise UnmetConditionError(
            "build_not_succeeded",
            f"the build {build.version} {state}",
            remedy="Choose another build from build.all, or leave the build out so that a new one "
            "is made.",
        )
    if build.image_deleted_at is not None:
        raise make_deleted(f"the image of build {build.version}")
    if build.digest is None:
        raise _not_pushed(f"the build {build.version} is")
    require_digest(build.digest)
    named = parse_reference(build.reference)
    image = Reference(named.registry, named.repository, digest=build.digest)
    return Image(str(image), build.digest, _registry_id(registries, build, image))


def _retained_of(loaded: LoadedApplication, references: Iterable[str]) -> Retained | None:
    """Return the image's reference in the rollback registry, if the application retains images."""
    registry = loaded.registries.rollback
    if registry is None or not loaded.row.rollback_active:
        return None
    for reference in references:
        if parse_reference(reference).registry == registry.host:
            return Retained(reference, registry.registry_id)
    return None


def _not_pushed(what: str) -> UnmetConditionError:
    return UnmetConditionError(
        "build_not_pushed",
        f"{what} in no registry: it exists only on the server that built it",
        remedy="Set buildRegistryId with application.update, then build again.",
    )


def _registry_id(registries: ApplicationRegistries, build: Build, image: Reference) -> str | None:
    """Return the registry whose login pulls it: one it was pushed to, or the one of its source."""
    pushed_to = (registries.build, registries.rollback, registries.pull)
    for registry in pushed_to if build.push_job_id else (registries.pull,):
        if registry is not None and registry.host == image.registry:
            return registry.registry_id
    return None


def _mount(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a mount whose source is a directory's path or a volume's name, by its type."""
    return {**stored, "source": stored["host_path"] or stored["volume_name"]}
