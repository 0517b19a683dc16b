"""What is to be done on each server of a deployment: pure, from an application and its build."""

import re
from dataclasses import dataclass
from typing import Any

from api.procedures.build_plan import Registries
from shared.errors import UnmetConditionError
from shared.jobs.commands import (
    ContainerReplace,
    HealthProbe,
    ImagePull,
    Mounted,
    PublishedPort,
)
from shared.models import Application, Build
from shared.reference import Reference, parse_reference, require_digest

MAX_HEALTH_SECONDS = 600
"""An attempt has half an hour, and may have to wait for the check twice."""

_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+(?<!\.new)(?<!\.old)")


@dataclass(frozen=True)
class Plan:
    """The commands for one server, in their order; ``reference`` holds the digest, and no tag."""

    reference: Reference
    pull: ImagePull
    replace: ContainerReplace


def make_plan(
    application: Application, registries: Registries, build: Build, deployment_id: str
) -> Plan:
    """Pull what the build made, and run it as the application says now.

    Raises:
        UnmetConditionError: ``build_not_succeeded``, or ``build_not_pushed``, so that no other
            server could pull it; ``too_many_replicas``, ``app_name_unusable``,
            ``health_check_too_slow``.
    """
    reference = _image(build)
    _require_runnable(application)
    replace = ContainerReplace(
        application_id=application.application_id,
        deployment_id=deployment_id,
        name=application.app_name,
        reference=str(reference),
        platform=application.platform,
        health_check=_probe(application.health_check),
        ports=tuple(PublishedPort.model_validate(port) for port in application.ports),
        mounts=tuple(_mount(mount) for mount in application.mounts),
    )
    pull = ImagePull(
        reference=str(reference),
        registry_id=_registry_id(registries, build, reference),
        preflight=True,
        platform=application.platform,
    )
    return Plan(reference, pull, replace)


def _require_runnable(application: Application) -> None:
    if application.replicas > 1:
        raise UnmetConditionError(
            "too_many_replicas",
            f"the application {application.name} has {application.replicas} replicas, a server "
            "runs one container of it",
            remedy="Set replicas to 1 with application.update.",
        )
    if not _CONTAINER_NAME.fullmatch(application.app_name):
        raise UnmetConditionError(
            "app_name_unusable",
            f"no container can be called {application.app_name}",
            remedy="Choose another appName: two signs or more, a letter or a digit first, and "
            "neither .new nor .old at its end.",
        )
    probe = _probe(application.health_check)
    if probe is not None and probe.longest_seconds > MAX_HEALTH_SECONDS:
        raise UnmetConditionError(
            "health_check_too_slow",
            f"the health check may take {probe.longest_seconds} s to decide, a deployment waits "
            f"{MAX_HEALTH_SECONDS} s",
            remedy="Lower intervalSeconds, timeoutSeconds, retries or startPeriodSeconds.",
        )


def _image(build: Build) -> Reference:
    """Where it is pulled from, by its digest alone: the tag may be another image's by now."""
    if build.outcome != "succeeded":
        raise UnmetConditionError(
            "build_not_succeeded",
            f"the build {build.version} has {build.outcome or 'not ended'}",
            remedy="Choose another one, see build.all; or none, which is the newest that did.",
        )
    if build.digest is None:
        raise UnmetConditionError(
            "build_not_pushed",
            f"the build {build.version} is in no registry, only on the server that built it",
            remedy="Give the application a buildRegistryId with application.update, build again.",
        )
    require_digest(build.digest)
    named = parse_reference(build.reference)
    return Reference(named.registry, named.repository, digest=build.digest)


def _registry_id(registries: Registries, build: Build, image: Reference) -> str | None:
    """Whose login it is pulled with: of where it was pushed to, or it was pulled from before."""
    pushed_to = (registries.build, registries.rollback, registries.pull)
    for registry in pushed_to if build.push_job_id else (registries.pull,):
        if registry is not None and registry.host == image.registry:
            return registry.registry_id
    return None


def _probe(stored: dict[str, Any] | None) -> HealthProbe | None:
    return None if stored is None else HealthProbe.model_validate(stored)


def _mount(stored: dict[str, Any]) -> Mounted:
    """A directory's path or a volume's name is its source, by its type."""
    return Mounted.model_validate(
        {**stored, "source": stored["host_path"] or stored["volume_name"]}
    )
