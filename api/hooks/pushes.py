"""What was pushed where, as registries tell it; pure. What is not understood is no push.

The distribution registry's notifications (``events``), Docker Hub (``push_data``), GitHub Packages
(``registry_package`` or ``package``), Harbor (``PUSH_ARTIFACT``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from shared.errors import InvalidReferenceError
from shared.reference import (
    HUB,
    Reference,
    parse_reference,
    parse_registry,
    require_repository,
    require_tag,
)

GITHUB_REGISTRY = "ghcr.io"


@dataclass(frozen=True)
class Push:
    """An image that was pushed by a tag; ``registry`` is none where nobody says which one.

    ``event_id``: the same again is the same push, told again.
    """

    repository: str
    tag: str
    registry: str | None = None
    event_id: str | None = None

    def is_of(self, image: Reference) -> bool:
        """Whether it changed a tag of this repository."""
        is_there = self.registry is None or self.registry == image.registry
        return is_there and self.repository == image.repository

    def passes(self, tag_filter: str) -> bool:
        """Whether the tag is one of the filter's: a glob, with ``[!…]`` for any sign but these."""
        return fnmatchcase(self.tag, tag_filter)


def parse_pushes(body: object) -> list[Push]:
    """The pushes that a body tells of, the newest one last."""
    match body:
        case {"events": list(events)}:
            return [push for event in events for push in _distribution(event)]
        case {"push_data": dict(data), "repository": dict(repository)}:
            return list(_docker_hub(data, repository))
        case {"type": "PUSH_ARTIFACT", "event_data": {"resources": list(resources)}}:
            return [push for one in resources for push in _harbor(one, _field(body, "occur_at"))]
        case {"registry_package": dict(package)} | {"package": dict(package)}:
            return list(_github(package))
        case _:
            return []


def _distribution(event: object) -> Iterator[Push]:
    match event:
        case {"action": "push", "target": {"repository": str(repository), "tag": str(tag)}}:
            yield from _push(_host(event), repository, tag, _text(_field(event, "id")))


def _host(event: object) -> str | None:
    match event:
        case {"request": {"host": str(host)}} if host:
            try:
                return parse_registry(host).name
            except InvalidReferenceError:
                return None  # the name of a container, behind a proxy that images name
        case _:
            return None


def _docker_hub(data: dict[object, object], repository: dict[object, object]) -> Iterator[Push]:
    match (data, repository):
        case ({"tag": str(tag)}, {"repo_name": str(name)}):
            pushed_at = data.get("pushed_at")
            event_id = f"{name}:{tag} {pushed_at}" if pushed_at else None
            yield from _push(HUB, name if "/" in name else f"library/{name}", tag, event_id)


def _github(package: dict[object, object]) -> Iterator[Push]:
    match package:
        case {
            "namespace": str(namespace),
            "name": str(name),
            "package_version": {"container_metadata": {"tag": {"name": str(tag)}}},
        }:
            yield from _push(GITHUB_REGISTRY, f"{namespace}/{name}".lower(), tag, None)


def _harbor(resource: object, occurred: object) -> Iterator[Push]:
    match resource:
        case {"tag": str(tag), "resource_url": str(url)}:
            try:
                image = parse_reference(url)
            except InvalidReferenceError:
                return
            event_id = f"{url} {_field(resource, 'digest')} {occurred}" if occurred else None
            yield from _push(image.registry, image.repository, tag, event_id)


def _push(registry: str | None, repository: str, tag: str, event_id: str | None) -> Iterator[Push]:
    """Nothing where names are none: an untagged push has an empty tag."""
    try:
        require_repository(repository)
        require_tag(tag)
    except InvalidReferenceError:
        return
    yield Push(repository, tag, registry, event_id)


def _field(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
