"""Plan the run on each server of a deployment: pure, from an application and its image."""

import re
from typing import Any, NamedTuple

from api.builds.plan import BuildRegistries, Plan
from shared.deployments.run_settings import RunSettings
from shared.deployments.store import Image, OnFailure, Retained, Rollout
from shared.errors import UnmetConditionError
from shared.jobs.commands import ImageBuild
from shared.models import Application, Build
from shared.reference import Reference, parse_reference, require_digest

MAX_HEALTH_SECONDS = 600
"""An attempt has half an hour, and may have to wait for the check twice."""


class _Names(NamedTuple):
    pattern: re.Pattern[str]
    rule: str


_NAMES = {
    "container": _Names(
        re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+(?<!\.new)(?<!\.old)"),
        "two signs or more, a letter or a digit first, and neither .new nor .old at its end",
    ),
    "service": _Names(
        re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?"),
        "letters, digits, - and _, a letter or a digit at both ends",
    ),
}
_ON_FAILURE: dict[str, OnFailure] = {"stop": "stop", "rollback": "rollback"}


def settings_of(application: Application) -> RunSettings:
    """Return the application's current run settings.

    Raises:
        UnmetConditionError: ``too_many_replicas``, ``app_name_unusable``,
            ``health_check_too_slow``.
    """
    settings = RunSettings.model_validate(
        {
            "runtime": application.runtime,
            "name": application.app_name,
            "replicas": application.replicas,
            "platform": application.platform,
            "health_check": application.health_check,
            "ports": application.ports,
            "mounts": [_mount(mount) for mount in application.mounts],
        }
    )
    require_runnable(application.name, settings)
    return settings


def rollout_of(application: Application) -> Rollout:
    """In which batches its servers are changed, and what a failure does."""
    return Rollout(application.rollout_batch, _ON_FAILURE[application.rollout_on_failure])


def image_of(registries: BuildRegistries, build: Build) -> Image:
    """Where a build's image is pulled from, by its digest: the tag may be another's by now.

    Raises:
        UnmetConditionError: ``build_not_succeeded``, ``image_deleted``, or ``build_not_pushed``, so
            that no other server could pull it.
    """
    if build.outcome != "succeeded":
        raise UnmetConditionError(
            "build_not_succeeded",
            f"the build {build.version} has {build.outcome or 'not ended'}",
            remedy="Choose another one, see build.all; or none, to build anew.",
        )
    if build.image_deleted_at is not None:
        raise make_deleted(f"the image of build {build.version}")
    if build.digest is None:
        raise _not_pushed(f"the build {build.version} is")
    require_digest(build.digest)
    named = parse_reference(build.reference)
    image = Reference(named.registry, named.repository, digest=build.digest)
    return Image(str(image), build.digest, _registry_id(registries, build, image))


def image_to_make(plan: Plan, made_by: str) -> Image:
    """Where the image is pulled from that a build is to make; what it is, the job will say.

    Raises:
        UnmetConditionError: ``build_not_pushed``, as nothing says where to.
    """
    pushed = plan.push or plan.make
    if isinstance(pushed, ImageBuild):
        raise _not_pushed("what is built is")
    return Image(str(plan.reference), None, pushed.registry_id, made_by)


def retained_of(
    application: Application, registries: BuildRegistries, *places: str | None
) -> Retained | None:
    """Return the image's reference in the rollback registry, if the application retains images."""
    registry = registries.rollback
    if registry is None or not application.rollback_active:
        return None
    for place in places:
        if place and parse_reference(place).registry == registry.host:
            return Retained(place, registry.registry_id)
    return None


def require_runnable(name: str, settings: RunSettings) -> None:
    """Raises `UnmetConditionError`, as `settings_of`."""
    if settings.runtime == "container" and settings.replicas > 1:
        raise UnmetConditionError(
            "too_many_replicas",
            f"the application {name} has {settings.replicas} replicas, a server runs one container "
            "of it",
            remedy="Set replicas to 1 with application.update, or runtime to service.",
        )
    _require_name(settings)
    probe = settings.health_check
    if probe is not None and probe.longest_seconds > MAX_HEALTH_SECONDS:
        raise UnmetConditionError(
            "health_check_too_slow",
            f"the health check may take {probe.longest_seconds} s to decide, a deployment waits "
            f"{MAX_HEALTH_SECONDS} s",
            remedy="Lower intervalSeconds, timeoutSeconds, retries or startPeriodSeconds.",
        )


def _require_name(settings: RunSettings) -> None:
    names = _NAMES.get(settings.runtime)
    if names is not None and not names.pattern.fullmatch(settings.name):
        raise UnmetConditionError(
            "app_name_unusable",
            f"no {settings.runtime} can be called {settings.name}",
            remedy=f"Choose another appName: {names.rule}.",
        )


def make_deleted(what: str) -> UnmetConditionError:
    """The refusal of an image that went, or is going, with its last rollback point."""
    return UnmetConditionError(
        "image_deleted",
        f"{what} is deleted with its rollback point",
        remedy="Build again, or choose another build, see build.all.",
    )


def _not_pushed(what: str) -> UnmetConditionError:
    return UnmetConditionError(
        "build_not_pushed",
        f"{what} in no registry, only on the server that built it",
        remedy="Give the application a buildRegistryId with application.update, build again.",
    )


def _registry_id(registries: BuildRegistries, build: Build, image: Reference) -> str | None:
    """Whose login it is pulled with: of where it was pushed to, or it was pulled from before."""
    pushed_to = (registries.build, registries.rollback, registries.pull)
    for registry in pushed_to if build.push_job_id else (registries.pull,):
        if registry is not None and registry.host == image.registry:
            return registry.registry_id
    return None


def _mount(stored: dict[str, Any]) -> dict[str, Any]:
    """A directory's path or a volume's name is its source, by its type."""
    return {**stored, "source": stored["host_path"] or stored["volume_name"]}
