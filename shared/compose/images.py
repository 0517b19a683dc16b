"""Find the images of a compose file's services, and pin each of them by its digest."""

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
"""The pinned file and the list of its images have to fit into a job's result (256 KiB)."""

MAX_SERVICES = 200
MAX_IMAGES = 50
MAX_IMAGE_CHARACTERS = 700
MERGE = "<<"
MAX_MERGED = 200
"""Limit for one service: each mapping is searched again for every service that merges it."""

_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,63}")


@dataclass(frozen=True)
class ServiceImage:
    """The image of one service; ``span`` is its position in the text.

    ``value`` is its value in YAML, ``spelled`` the same with its variables' defaults.
    """

    service: str
    reference: Reference
    value: str
    spelled: str
    span: Span

    def pinned(self, digest: str) -> str:
        """Return the image with tag and digest, in the file's spelling if Docker allows it."""
        if self.reference.digest:
            return self.spelled
        tag = f":{self.reference.tag}"
        spelled = self.spelled if self.spelled.endswith(tag) else f"{self.spelled}{tag}"
        name = str(self.reference)
        return f"{spelled if name.endswith(spelled) else name}@{digest}"


@dataclass(frozen=True)
class ComposeFile:
    """A parsed compose file; ``without_image`` lists the services without an image."""

    text: str
    images: tuple[ServiceImage, ...]
    without_image: tuple[str, ...]

    def pinned(self, digests: Digests[Reference, str]) -> str:
        """Return the text with each image by its digest; all else is unchanged, byte for byte."""
        text = self.text
        # From the end, so that earlier positions stay valid; services may share one position.
        by_span = {image.span: image for image in self.images}
        for span in sorted(by_span, key=lambda span: span.start, reverse=True):
            image = by_span[span]
            new = image.pinned(digests[image.reference])
            if new != image.value:
                written = rewrite(text[span.start : span.end], image.value, new)
                text = text[: span.start] + written + text[span.end :]
        return text


def read_compose(text: str) -> ComposeFile:
    """Find the images of a compose file's services, also merged ones (``<<``).

    Raises:
        InvalidComposeError: too large, not YAML, no services, no image, an image that is not text
            or has a variable without a default; it names the service.
        InvalidReferenceError: an invalid image; it names the service.
    """
    if len(text.encode()) > MAX_BYTES:
        raise InvalidComposeError(f"the compose file is larger than {MAX_BYTES // 1024} KiB")
    document = read_document(text)
    found = {name: _find(service, "image") for name, service in _services(document).items()}
    nodes = {name: node for name, node in found.items() if node is not None}
    if not 0 < len(nodes) <= MAX_IMAGES:
        raise InvalidComposeError(
            f"a compose file needs 1 to {MAX_IMAGES} services with an image, "
            f"this one has {len(nodes)}"
        )
    images = tuple(_image(name, node) for name, node in nodes.items())
    _require_own_anchors(document, nodes)
    return ComposeFile(text, images, tuple(name for name in found if name not in nodes))


def _services(document: Document) -> dict[str, Mapping]:
    root = resolve(document.root)
    services = root.get("services") if isinstance(root, Mapping) else None
    listed = resolve(services) if services is not None else None
    if not isinstance(listed, Mapping) or not 0 < len(listed.pairs) <= MAX_SERVICES:
        raise InvalidComposeError(f"a compose file needs a mapping of 1 to {MAX_SERVICES} services")
    found: dict[str, Mapping] = {}
    for key, value in listed.pairs:
        name, service = scalar_value(key) or "", resolve(value)
        if not _SERVICE.fullmatch(name):
            raise InvalidComposeError(f"not a service's name: {name[:63]!r}")
        if name in found:
            raise InvalidComposeError(f"the compose file has the service {name} twice")
        if not isinstance(service, Mapping):
            raise InvalidComposeError(f"the service {name} is not a mapping")
        found[name] = service
    return found


def _find(mapping: Mapping, key: str) -> Node | None:
    """Return the value of ``key``: its own, or of the first merged mapping; visit each once."""
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
            raise InvalidComposeError(f"a service merges more than {MAX_MERGED} mappings")
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
        raise InvalidComposeError(f"the image of {service} is not text", remedy="Quote it.")
    if len(scalar.value) > MAX_IMAGE_CHARACTERS:
        raise InvalidComposeError(
            f"the image of {service} has more than {MAX_IMAGE_CHARACTERS} characters"
        )
    try:
        spelled = fill_defaults(scalar.value)
        reference = parse_reference(spelled).tagged()
    except (InvalidComposeError, InvalidReferenceError) as error:
        raise type(error)(f"the image of {service}: {error.message}", remedy=error.remedy) from None
    return ServiceImage(service, reference, scalar.value, spelled, node.span)


def _require_own_anchors(document: Document, nodes: dict[str, Node]) -> None:
    """Refuse a pin that would change more than images, for example a container's name."""
    images = set(nodes.values())
    for alias in document.aliases:
        if alias not in images and alias.target in images:
            raise InvalidComposeError(
                f"the anchor of the image {scalar_value(alias)} is also used for another value",
                remedy="Write that value without the anchor.",
            )
