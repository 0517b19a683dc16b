"""Find the images of a compose file's services, and pin each of them by its digest."""

from collections.abc import Collection
from collections.abc import Mapping as Digests
from dataclasses import dataclass

from shared.compose.nodes import (
    Alias,
    Document,
    Node,
    Scalar,
    Span,
    read_document,
    resolve,
    rewrite,
    scalar_value,
)
from shared.compose.services import Service, list_includes, read_services
from shared.compose.variables import Variables
from shared.errors import InvalidComposeError, InvalidReferenceError
from shared.reference import Reference, parse_reference

MAX_BYTES = 192 * 1024
"""The pinned file and the list of its images have to fit into a job's result (256 KiB)."""

MAX_IMAGES = 50
MAX_IMAGE_CHARACTERS = 700

_NOT_PULLED = {"never": "its pull policy is never", "build": "it is built here"}
_IF_MISSING = {"missing", "if_not_present"}


@dataclass(frozen=True)
class ServiceImage:
    """The image of one service; ``span`` is its position in the text.

    ``value`` is its value in YAML, ``spelled`` the same with its variables filled in. An image that
    can be built may be missing at its registry.
    """

    service: str
    reference: Reference
    value: str
    spelled: str
    span: Span
    only_if_missing: bool = False
    can_be_built: bool = False

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
    """A parsed compose file; ``without_image`` lists the services without an image.

    ``skipped`` are services whose image is not pulled, each with the reason. ``warnings`` say what
    was not read, and which defaults were taken. ``variables`` are the names of those used.
    """

    text: str
    images: tuple[ServiceImage, ...]
    without_image: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    variables: frozenset[str] = frozenset()

    def pinned(self, digests: Digests[Reference, str]) -> str:
        """Return the text with each image by its digest; all else is unchanged, byte for byte.

        An image without a digest stays as it is.
        """
        text = self.text
        # From the end, so that earlier positions stay valid; services may share one position.
        by_span = {image.span: image for image in self.images if image.reference in digests}
        for span in sorted(by_span, key=lambda span: span.start, reverse=True):
            image = by_span[span]
            new = image.pinned(digests[image.reference])
            if new != image.value:
                written = rewrite(text[span.start : span.end], image.value, new)
                text = text[: span.start] + written + text[span.end :]
        return text


def read_compose(
    text: str, values: Digests[str, str] | None = None, profiles: Collection[str] = ()
) -> ComposeFile:
    """Find the images of a compose file's services, also merged (``<<``) and extended ones.

    ``values`` are those of its variables, ``profiles`` the active ones.

    Raises:
        InvalidComposeError: too large, not YAML, no services, no image, an image that is not text
            or has a variable without a value and a default; it names the service.
        InvalidReferenceError: an invalid image; it names the service.
    """
    if len(text.encode()) > MAX_BYTES:
        raise InvalidComposeError(f"the compose file is larger than {MAX_BYTES // 1024} KiB")
    document, variables = read_document(text), Variables(values or {})
    found, skipped, without_image = list[ServiceImage](), list[tuple[str, str]](), list[str]()
    nodes, warnings = dict[str, Node](), [f"{file}: not read" for file in list_includes(document)]
    for service in read_services(document):
        if service.other_file:
            warnings.append(f"{service.name}: {service.other_file}, which it extends, is not read")
        if not service.is_active(frozenset(profiles), variables):
            skipped.append((service.name, "none of its profiles is active"))
        elif (node := service.find("image")) is None:
            without_image.append(service.name)
        elif reason := _NOT_PULLED.get(service.text("pull_policy", variables)):
            skipped.append((service.name, reason))
        else:
            nodes[service.name] = node
            found.append(_image(service, node, variables))
    _require_some(found, skipped)
    _require_own_anchors(document, nodes)
    warnings += [f"{name}: not set, its default is used" for name in sorted(variables.defaulted)]
    return ComposeFile(
        text,
        tuple(found),
        tuple(without_image),
        tuple(skipped),
        tuple(warnings),
        frozenset(variables.used),
    )


def _require_some(found: list[ServiceImage], skipped: list[tuple[str, str]]) -> None:
    if 0 < len(found) <= MAX_IMAGES:
        return
    reasons = ", ".join(f"{name}: {reason}" for name, reason in skipped[:MAX_IMAGES])
    raise InvalidComposeError(
        f"a compose file needs 1 to {MAX_IMAGES} services with an image, "
        f"this one has {len(found)}{f' ({reasons})' if reasons else ''}"
    )


def _image(service: Service, node: Node, variables: Variables) -> ServiceImage:
    scalar, name = resolve(node), service.name
    if not isinstance(node, Scalar | Alias) or not isinstance(scalar, Scalar) or not scalar.is_text:
        raise InvalidComposeError(f"the image of {name} is not text", remedy="Quote it.")
    if len(scalar.value) > MAX_IMAGE_CHARACTERS:
        raise InvalidComposeError(
            f"the image of {name} has more than {MAX_IMAGE_CHARACTERS} characters"
        )
    try:
        spelled = variables.fill(scalar.value)
        reference = parse_reference(spelled).tagged()
    except (InvalidComposeError, InvalidReferenceError) as error:
        raise type(error)(f"the image of {name}: {error.message}", remedy=error.remedy) from None
    return ServiceImage(
        name,
        reference,
        scalar.value,
        spelled,
        node.span,
        only_if_missing=service.text("pull_policy", variables) in _IF_MISSING,
        can_be_built=service.find("build") is not None,
    )


def _require_own_anchors(document: Document, nodes: dict[str, Node]) -> None:
    """Refuse a pin that would change more than images, for example a container's name."""
    images = set(nodes.values())
    for alias in document.aliases:
        if alias not in images and alias.target in images:
            raise InvalidComposeError(
                f"the anchor of the image {scalar_value(alias)} is also used for another value",
                remedy="Write that value without the anchor.",
            )
