"""The images of a compose file's services, and the file with each of them pinned by its digest."""

import re
from collections.abc import Mapping as Digests
from dataclasses import dataclass

from shared.compose.nodes import (
    Alias,
    Document,
    Mapping,
    Node,
    Scalar,
    Sequence,
    Span,
    read_document,
    resolve,
    rewrite,
    scalar_value,
)
from shared.compose.variables import fill_defaults
from shared.errors import InvalidComposeError, InvalidReferenceError
from shared.reference import Reference, parse_reference

MAX_BYTES = 192 * 1024
"""The pinned file has to fit into a job's result (256 KiB), with what is said of its images."""

MAX_SERVICES = 200
MAX_IMAGES = 50
MAX_IMAGE_CHARACTERS = 700
MERGE = "<<"
MAX_MERGED = 200
"""Into one service: each is walked through again for every service that merges it."""

_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,63}")


@dataclass(frozen=True)
class ServiceImage:
    """The image of one service, at the place where it is written.

    ``value`` is what YAML reads there, ``spelled`` the same with its variables' defaults.
    """

    service: str
    reference: Reference
    value: str
    spelled: str
    place: Span

    def pinned(self, digest: str) -> str:
        """As its author spelled it where Docker reads that alike, with tag and digest."""
        if self.reference.digest:
            return self.spelled
        tag = f":{self.reference.tag}"
        spelled = self.spelled if self.spelled.endswith(tag) else f"{self.spelled}{tag}"
        name = str(self.reference)
        return f"{spelled if name.endswith(spelled) else name}@{digest}"


@dataclass(frozen=True)
class ComposeFile:
    """``without_image`` are the services that are built, or get their image from elsewhere."""

    text: str
    images: tuple[ServiceImage, ...]
    without_image: tuple[str, ...]

    def pinned(self, digests: Digests[Reference, str]) -> str:
        """The text with each image by its digest, and everything else byte for byte."""
        text = self.text
        # From the end, so that places before it stay; one place may be that of several services.
        by_place = {image.place: image for image in self.images}
        for place in sorted(by_place, key=lambda place: place.start, reverse=True):
            image = by_place[place]
            new = image.pinned(digests[image.reference])
            if new != image.value:
                written = rewrite(text[place.start : place.end], image.value, new)
                text = text[: place.start] + written + text[place.end :]
        return text


def read_compose(text: str) -> ComposeFile:
    """The images that a compose file names: by its services, or merged into them (``<<``).

    Raises:
        InvalidComposeError: too large, not YAML, no services, no image, an image that is no text
            or has a variable without a default; it names the service.
        InvalidReferenceError: an image that Docker would not take; it names the service.
    """
    if len(text.encode()) > MAX_BYTES:
        raise InvalidComposeError(f"a compose file has at most {MAX_BYTES // 1024} KiB")
    document = read_document(text)
    found = {name: _find(service, "image") for name, service in _services(document).items()}
    nodes = {name: node for name, node in found.items() if node is not None}
    if not 0 < len(nodes) <= MAX_IMAGES:
        raise InvalidComposeError(
            f"a compose file has 1 to {MAX_IMAGES} services with an image, this one {len(nodes)}"
        )
    images = tuple(_image(name, node) for name, node in nodes.items())
    _require_own_anchors(document, nodes)
    return ComposeFile(text, images, tuple(name for name in found if name not in nodes))


def _services(document: Document) -> dict[str, Mapping]:
    root = resolve(document.root)
    services = root.get("services") if isinstance(root, Mapping) else None
    listed = resolve(services) if services is not None else None
    if not isinstance(listed, Mapping) or not 0 < len(listed.pairs) <= MAX_SERVICES:
        raise InvalidComposeError(f"a compose file has a mapping of 1 to {MAX_SERVICES} services")
    found: dict[str, Mapping] = {}
    for key, value in listed.pairs:
        name, service = scalar_value(key) or "", resolve(value)
        if not _SERVICE.fullmatch(name):
            raise InvalidComposeError(f"not a service's name: {name[:63]!r}")
        if name in found:
            raise InvalidComposeError(f"the service {name} stands twice in the compose file")
        if not isinstance(service, Mapping):
            raise InvalidComposeError(f"the service {name} is no mapping")
        found[name] = service
    return found


def _find(mapping: Mapping, key: str) -> Node | None:
    """The value under ``key``, its own or of the first that is merged in; each is seen once."""
    todo, seen = [mapping], set[Mapping]()
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        if (value := current.get(key)) is not None:
            return value
        todo.extend(reversed(_merged(current)))
        if len(seen) + len(todo) > MAX_MERGED:
            raise InvalidComposeError(f"a service merges in more than {MAX_MERGED} mappings")
    return None


def _merged(mapping: Mapping) -> list[Mapping]:
    merged = mapping.get(MERGE)
    if merged is None:
        return []
    node = resolve(merged)
    sources = node.items if isinstance(node, Sequence) else (node,)
    return [found for source in sources if isinstance(found := resolve(source), Mapping)]


def _image(service: str, node: Node) -> ServiceImage:
    scalar = resolve(node)
    if not isinstance(node, Scalar | Alias) or not isinstance(scalar, Scalar) or not scalar.is_text:
        raise InvalidComposeError(f"the image of {service} is no text", remedy="Quote it.")
    if len(scalar.value) > MAX_IMAGE_CHARACTERS:
        raise InvalidComposeError(f"the image of {service} is longer than {MAX_IMAGE_CHARACTERS}")
    try:
        spelled = fill_defaults(scalar.value)
        reference = parse_reference(spelled).tagged()
    except (InvalidComposeError, InvalidReferenceError) as error:
        raise type(error)(f"the image of {service}: {error.message}", remedy=error.remedy) from None
    return ServiceImage(service, reference, scalar.value, spelled, node.place)


def _require_own_anchors(document: Document, nodes: dict[str, Node]) -> None:
    """Refuse a pin that would change anything but an image, for example a container's name."""
    images = set(nodes.values())
    for alias in document.aliases:
        if alias not in images and alias.target in images:
            raise InvalidComposeError(
                f"the image {scalar_value(alias)} is used elsewhere too, by its anchor",
                remedy="Write it out there.",
            )
