"""Repositories of an application's images: pure, from the application and its registries."""

from api.applications.loading import ApplicationRegistries
from shared.models import Application, Registry
from shared.reference import Reference, make_reference, parse_reference


def destinations_of(
    application: Application, registries: ApplicationRegistries
) -> tuple[Registry | None, Registry | None]:
    """Return the registry to push to, and the one to copy to from there."""
    rollback = registries.rollback if application.rollback_active else None
    if registries.build is None:
        return rollback, None
    is_same = rollback is not None and rollback.registry_id == registries.build.registry_id
    return registries.build, None if is_same else rollback


def name_image(application: Application, registry: Registry | None, tag: str) -> Reference:
    """Return the name of a built image; without a registry, the one on its server."""
    name = application.app_name.lower()
    if registry is None:
        return parse_reference(f"{name}:{tag}")
    return make_reference(
        registry.registry_url,
        registry.image_prefix,
        name,
        username=registry.username,
        tag=tag,
    )


def repositories_of(application: Application, registries: ApplicationRegistries) -> set[str]:
    """Return the names of the repositories that the application's builds are pushed to."""
    destinations = destinations_of(application, registries)
    return {name_image(application, each, "any").name for each in destinations if each is not None}


def sources_of(application: Application, registries: ApplicationRegistries) -> set[str]:
    """Return the names of all repositories from which the application may be deployed."""
    found = repositories_of(application, registries)
    if application.source_type == "docker" and application.docker_image:
        return found | {parse_reference(application.docker_image).name}
    return found or {name_image(application, None, "any").name}
