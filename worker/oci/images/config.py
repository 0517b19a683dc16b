"""The configuration of an image: its platform, its layers, when it was made, its labels."""

from contextlib import closing
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.oci.images.platform import Platform
from worker.oci.registry.blob import BlobReader
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor

MAX_CONFIG_BYTES = 4 * 1024 * 1024
"""The size limit of a manifest, too; a configuration usually has some kilobytes."""

CONFIG_TYPES = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        "application/octet-stream",  # written by the oldest clients
        "",
    }
)

_MOMENT: TypeAdapter[datetime] = TypeAdapter(datetime)


def _read_moment(value: object) -> datetime | None:
    """Return a time with a zone; ``None`` for anything else."""
    try:
        moment = _MOMENT.validate_python(value) if isinstance(value, str) else None
    except ValidationError:
        return None
    return moment if moment and moment.tzinfo else None


def _read_labels(value: object) -> dict[str, str]:
    labels = value.get("Labels") if isinstance(value, dict) else None
    named = labels if isinstance(labels, dict) else {}
    return {name: text for name, text in named.items() if isinstance(text, str)}


class _RootFS(BaseModel):
    diff_ids: list[str] = []


class ImageConfig(BaseModel):
    """What is used of a configuration; unknown parts are empty."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    rootfs: _RootFS = _RootFS()
    created: Annotated[datetime | None, BeforeValidator(_read_moment)] = None
    labels: Annotated[dict[str, Any], BeforeValidator(_read_labels), Field(alias="config")] = {}

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)


async def read_config(
    source: RegistryClient, reference: Reference, config: Descriptor
) -> ImageConfig:
    """Read a configuration; an empty one if it is not that of an image.

    Raises:
        RegistryError: ``registry_error`` for one that is too large, ``image_incomplete`` …
    """
    if config.size_bytes > MAX_CONFIG_BYTES:
        raise make_unreadable(reference, f"a configuration of {config.size_bytes} bytes")
    with closing(BlobReader(source, reference.repository, config)) as chunks:
        try:
            content = b"".join([chunk async for chunk in chunks])
        except RegistryError as error:
            raise error.within(f"the configuration of {reference}") from error
    return parse_config(content)


def parse_config(content: bytes) -> ImageConfig:
    """Parse a configuration; an empty one if it is not that of an image."""
    try:
        return ImageConfig.model_validate_json(content)
    except ValidationError:
        return ImageConfig()


def make_unreadable(reference: Reference, problem: str) -> RegistryError:
    """Make the error for a part of an image that cannot be read."""
    return RegistryError(FaultCode.REGISTRY_ERROR, f"{reference} cannot be read: {problem}")
