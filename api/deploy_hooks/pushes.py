"""Parse pushes from registries' notifications; pure. Unknown notifications are ignored.

The distribution registry's notifications (``events``), Docker Hub (``push_data``), GitHub Packages
(``registry_package`` or ``package``), Harbor (``PUSH_ARTIFACT``).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from api.deploy_hooks.artifacts import explain_artifact
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
    """A push of a tag; ``registry`` is `None` if the sender does not name it.

    ``event_id`` identifies the push. ``artifact`` is the reason why it is not an image; empty if it
    may be one.
    """

    repository: str
    tag: str
    registry: str | None = None
    event_id: str | None = None
    artifact: str = ""

    def is_of(self, image: Reference) -> bool:
        """Return whether the push changed a tag of this repository."""
        is_same = self.registry is None or self.registry == image.registry
        return is_same and self.repository == image.repository

    def passes(self, tag_filter: str) -> bool:
        """Return whether the tag matches the filter, a glob; ``[!…]`` is any other character."""
        return fnmatchcase(self.tag, tag_filter)


def parse_pushes(body: object) -> list[Push]:
    """Return the pushes in a body, the newest last."""
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
        case {
            "action": "push",
            "target": {"repository": str(repository), "tag": str(tag)} as target,
        }:
            event_id = _text(_field(event, "id"))
            # A registry lists a manifest's references if ``includereferences`` is set.
            types = [*_types(target), *_types_of(target.get("references"))]
            yield from _push(_host(event), repository, tag, event_id, types)


def _host(event: object) -> str | None:
    match event:
        case {"request": {"host": str(host)}} if host:
            try:
                return parse_registry(host).name
            except InvalidReferenceError:
                return None  # a container's name, behind a proxy
        case _:
            return None


def _docker_hub(data: dict[object, object], repository: dict[object, object]) -> Iterator[Push]:
    match (data, repository):
        case ({"tag": str(tag)}, {"repo_name": str(name)}):
            pushed_at = data.get("pushed_at")
            event_id = f"{name}:{tag} {pushed_at}" if pushed_at else None
            full = name if "/" in name else f"library/{name}"
            yield from _push(HUB, full, tag, event_id, _types(data))


def _github(package: dict[object, object]) -> Iterator[Push]:
    match package:
        case {
            "namespace": str(namespace),
            "name": str(name),
            "package_version": {"container_metadata": {"tag": {"name": str(tag)}} as metadata},
        }:
            manifest = metadata.get("manifest")
            config, layers = _field(manifest, "config"), _field(manifest, "layers")
            types = [*_types(manifest), *_types(config), *_types_of(layers)]
            yield from _push(GITHUB_REGISTRY, f"{namespace}/{name}".lower(), tag, None, types)


def _harbor(resource: object, occurred: object) -> Iterator[Push]:
    match resource:
        case {"tag": str(tag), "resource_url": str(url)}:
            try:
                image = parse_reference(url)
            except InvalidReferenceError:
                return
            event_id = f"{url} {_field(resource, 'digest')} {occurred}" if occurred else None
            yield from _push(image.registry, image.repository, tag, event_id, _types(resource))


def _push(
    registry: str | None,
    repository: str,
    tag: str,
    event_id: str | None,
    media_types: Iterable[object],
) -> Iterator[Push]:
    """Yield the push if its names are valid; an untagged push has an empty tag."""
    try:
        require_repository(repository)
        require_tag(tag)
    except InvalidReferenceError:
        return
    yield Push(repository, tag, registry, event_id, explain_artifact(tag, media_types))


def _types(value: object) -> Iterator[object]:
    """Yield a descriptor's types, in all spellings."""
    for name in ("mediaType", "media_type", "artifactType", "artifact_type"):
        yield _field(value, name)


def _types_of(values: object) -> Iterator[object]:
    for value in values if isinstance(values, list) else ():
        yield from _types(value)


def _field(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
