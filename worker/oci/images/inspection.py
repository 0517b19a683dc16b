"""Describe an image at its registry: platforms, sizes, labels, and what is attached to it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ValidationError

from shared.errors import RegistryError
from shared.jobs.results import AttachmentKind
from shared.reference import Reference
from worker.oci.images.attached_manifests import find_attachments
from worker.oci.images.attachment_kinds import (
    IN_TOTO,
    find_artifact_type,
    find_kind,
    find_statement_kinds,
)
from worker.oci.images.config import CONFIG_TYPES, ImageConfig, read_config
from worker.oci.images.contents import INDEX_TYPES, Contents, parse_contents
from worker.oci.images.plan import Plan, make_plan
from worker.oci.images.platform import Platform
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Manifest

USUAL = Platform("linux", "amd64")
"""The platform whose configuration is read, if the image has it."""

_ATTESTATION = "vnd.docker.reference.type"
"""The annotation with which builds mark the attestations in an index."""


@dataclass(frozen=True)
class OfPlatform:
    """The image of one platform; ``size_bytes`` is the sum of its layers and configuration."""

    platform: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Beside:
    """A manifest that belongs to an image; ``tag`` is empty for one without a tag of cosign."""

    kind: AttachmentKind
    digest: str
    tag: str = ""
    artifact_type: str = ""


@dataclass(frozen=True)
class Inspection:
    """An image as its registry has it; ``size_bytes`` counts each blob once.

    ``artifact_type`` is empty for an image. ``gaps`` say what cannot be read.
    """

    root: Manifest
    size_bytes: int
    platforms: tuple[OfPlatform, ...]
    artifact_type: str
    created_at: datetime | None
    labels: Mapping[str, str]
    attached: tuple[Beside, ...]
    gaps: tuple[str, ...]


async def inspect(client: RegistryClient, reference: Reference) -> Inspection:
    """Read an image's manifests and one configuration, and look up what is attached to it.

    A registry may count each manifest as a pull.

    Raises:
        RegistryError: as `make_plan`. What is attached and cannot be read is a gap.
    """
    plan = await make_plan(client, reference)
    entries = list(_walk(plan))
    images = [one for one in entries if one.is_image]
    gaps: list[str] = []
    config = ImageConfig()
    if images:
        config = await _read(client, reference, images, gaps)
    found = await _find_beside(client, reference.repository, plan.root.descriptor.digest, gaps)
    is_index = plan.root.descriptor.media_type in INDEX_TYPES
    return Inspection(
        root=plan.root,
        size_bytes=sum(blob.size_bytes for blob in plan.blobs),
        platforms=tuple(
            one.summarize(str(one.platform) if is_index else str(config.platform)) for one in images
        ),
        artifact_type="" if images or is_index else find_artifact_type(plan.root),
        created_at=config.created,
        labels=config.labels,
        attached=(*_within(entries), *found),
        gaps=tuple(gaps),
    )


@dataclass(frozen=True)
class _Entry:
    """A manifest that is no index, with the platform that its index names."""

    manifest: Manifest
    contents: Contents
    platform: Platform
    is_attestation: bool

    @property
    def is_image(self) -> bool:
        config = self.contents.config
        return not self.is_attestation and config is not None and config.media_type in CONFIG_TYPES

    def summarize(self, platform: str) -> OfPlatform:
        blobs = {one.digest: one.size_bytes for one in self.contents.layers}
        if self.contents.config:
            blobs[self.contents.config.digest] = self.contents.config.size_bytes
        return OfPlatform(platform, self.manifest.descriptor.digest, sum(blobs.values()))


def _walk(plan: Plan) -> Iterator[_Entry]:
    """Yield each manifest that is no index once, in the order of the indexes."""
    known = {one.descriptor.digest: one for one in (*plan.children, plan.root)}
    waiting = [(plan.root.descriptor.digest, Platform("", ""), False)]
    seen: set[str] = set()
    while waiting:
        digest, platform, is_attestation = waiting.pop(0)
        manifest = known.get(digest)
        contents = manifest and parse_contents(manifest)
        if manifest is None or not contents or digest in seen:
            continue
        seen.add(digest)
        if manifest.descriptor.media_type not in INDEX_TYPES:
            yield _Entry(manifest, contents, platform, is_attestation)
            continue
        parts = {one.digest: one for one in _parse(manifest).manifests}
        listed = [parts.get(child.digest, _Part()) for child in contents.children]
        waiting += [
            (child.digest, part.named, _ATTESTATION in (part.annotations or {}))
            for child, part in zip(contents.children, listed, strict=True)
        ]


async def _read(
    client: RegistryClient, reference: Reference, images: list[_Entry], gaps: list[str]
) -> ImageConfig:
    """Read the configuration of the usual platform, or of the first one."""
    chosen = next((one for one in images if one.platform == USUAL), images[0])
    if chosen.contents.config is None:
        return ImageConfig()
    try:
        return await read_config(client, reference, chosen.contents.config)
    except RegistryError as error:
        gaps.append(f"the configuration cannot be read ({error.code})")
        return ImageConfig()


async def _find_beside(
    client: RegistryClient, repository: str, digest: str, gaps: list[str]
) -> list[Beside]:
    """Find what belongs to the image; a registry that cannot say it now leaves a gap."""
    try:
        attachments = await find_attachments(client, repository, [digest])
    except RegistryError as error:
        gaps.append(f"signatures and attestations cannot be read ({error.code})")
        return []
    gaps += attachments.gaps
    return [
        Beside(
            find_kind(one),
            one.manifest.descriptor.digest,
            one.tag,
            "" if one.tag else find_artifact_type(one.manifest),
        )
        for one in attachments.found
        if one.subject == digest
    ]


def _within(entries: list[_Entry]) -> Iterator[Beside]:
    """Yield the attestations that a build has put into the index itself, each kind once."""
    for entry in entries:
        if entry.is_attestation:
            for kind in find_statement_kinds(entry.manifest):
                yield Beside(kind, entry.manifest.descriptor.digest, "", IN_TOTO)


class _Platform(BaseModel):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Part(BaseModel):
    digest: str = ""
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None

    @property
    def named(self) -> Platform:
        found = self.platform or _Platform()
        return Platform(found.os, found.architecture, found.variant)


class _Index(BaseModel):
    manifests: list[_Part] = []


def _parse(manifest: Manifest) -> _Index:
    """Parse the platforms of an index; none if one of them is malformed."""
    try:
        return _Index.model_validate_json(manifest.content)
    except ValidationError:
        return _Index()
