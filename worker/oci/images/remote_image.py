"""One image of a registry as a server would pull it: for its platform, with its layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.oci.images.config import CONFIG_TYPES, make_unreadable, read_config
from worker.oci.images.contents import INDEX_TYPES, parse_contents
from worker.oci.images.platform import Platform
from worker.oci.images.root import fetch_root
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.registry.manifests import MISSING

MAX_DEPTH = 4
"""An index may list another one; more levels than this are not followed."""

LAYER_TYPES = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.",
    "application/octet-stream",
)


@dataclass(frozen=True)
class RemoteImage:
    """The layers of an image at its registry.

    ``layers`` are compressed; ``diff_ids`` are the digests of the uncompressed layers, in the same
    order. ``diff_ids`` is empty if the two do not match, or if the configuration is not one of an
    image.
    """

    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]


async def find_image(
    source: RegistryClient, reference: Reference, requested: Platform
) -> RemoteImage:
    """Return the image of a reference that runs on the requested platform.

    Raises:
        RegistryError: ``platform_missing``, ``image_not_found``, ``pull_denied`` …,
            ``not_an_image`` for other artifacts, and ``registry_error`` for unreadable content.
    """
    manifest = await _find_manifest(source, reference, requested)
    contents = parse_contents(manifest)
    if contents is None or contents.config is None:
        raise make_unreadable(reference, f"the manifest {manifest.descriptor.digest}")
    _require_image(reference, contents.config, contents.layers)
    config = await read_config(source, reference, contents.config)
    if not requested.runs(config.platform):
        raise make_platform_missing_error(reference, requested, str(config.platform))
    fits = len(config.rootfs.diff_ids) == len(contents.layers)
    return RemoteImage(contents.layers, tuple(config.rootfs.diff_ids) if fits else ())


def make_platform_missing_error(
    reference: Reference, requested: Platform, offered: str
) -> RegistryError:
    """Make the error ``platform_missing``: the reference has only other platforms."""
    return RegistryError(
        FaultCode.PLATFORM_MISSING, f"{reference} is for {offered or 'none'}, not for {requested}"
    )


def _require_image(reference: Reference, config: Descriptor, layers: Sequence[Descriptor]) -> None:
    """Raise ``not_an_image`` if the media types show that no container can be made of it."""
    kind = config.media_type
    if kind in CONFIG_TYPES:
        foreign = [layer.media_type for layer in layers if _is_foreign(layer.media_type)]
        if not foreign or len(foreign) < len(layers):
            return
        kind = foreign[0]
    raise RegistryError(FaultCode.NOT_AN_IMAGE, f"{reference} is not an image but {kind[:100]!r}")


def _is_foreign(media_type: str) -> bool:
    return media_type.startswith("application/") and not media_type.startswith(LAYER_TYPES)


async def _find_manifest(
    source: RegistryClient, reference: Reference, requested: Platform
) -> Manifest:
    target = reference.target
    for _ in range(MAX_DEPTH):
        manifest = await _fetch(source, reference, target)
        if manifest.descriptor.media_type not in INDEX_TYPES:
            return manifest
        target = _choose(manifest, reference, requested)
    raise make_unreadable(reference, "indexes nested too deeply")


async def _fetch(source: RegistryClient, reference: Reference, target: str) -> Manifest:
    if target == reference.target:
        return await fetch_root(source, reference)
    try:
        return await manifests.fetch(source, reference.repository, target)
    except RegistryError as error:
        if error.code not in MISSING:
            raise
        raise RegistryError(
            FaultCode.IMAGE_INCOMPLETE,
            f"{reference} is an index, and its manifest for this platform is missing: {target}",
            evidence=error.evidence,
        ) from error


def _choose(index: Manifest, reference: Reference, requested: Platform) -> str:
    """Return the digest of the best entry; an entry without a platform may be the right one."""
    try:
        entries = _Index.model_validate_json(index.content).manifests
    except ValidationError:
        raise make_unreadable(reference, f"the index {index.descriptor.digest}") from None
    fitting = [entry for entry in entries if requested.runs(entry.named)]
    if not fitting:
        offered = sorted({str(entry.named) for entry in entries} - {"unknown/unknown"})
        raise make_platform_missing_error(reference, requested, ", ".join(offered))
    return min(fitting, key=lambda entry: requested.distance(entry.named)).digest


class _Platform(BaseModel):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Entry(BaseModel):
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    platform: _Platform | None = None

    @property
    def named(self) -> Platform:
        found = self.platform or _Platform()
        return Platform(found.os, found.architecture, found.variant)


class _Index(BaseModel):
    manifests: list[_Entry]
