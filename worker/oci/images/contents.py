"""The content of a manifest: configuration and layers of an image, manifests of an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from worker.oci.registry.manifest import Descriptor, Manifest

INDEX_TYPES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)


@dataclass(frozen=True)
class Contents:
    """The blobs and manifests that a manifest names.

    Blobs stored elsewhere by their ``urls`` (foreign layers) are not included.
    """

    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()


def parse_contents(manifest: Manifest) -> Contents | None:
    """Return the content that a manifest names; ``None`` if it is not unambiguous.

    A document is ambiguous if its media type differs from the registry's, or if it has both layers
    and manifests: clients that read it differently would see different images.
    """
    try:
        document = _Document.model_validate_json(manifest.content)
    except ValidationError:
        return None
    kind = manifest.descriptor.media_type
    if document.media_type not in {None, kind}:
        return None
    if kind in INDEX_TYPES:
        is_image = document.config or document.layers is not None
        return None if is_image else Contents(children=_descriptors(document.manifests))
    if document.manifests is not None or document.config is None:
        return None
    return Contents(document.config.descriptor, _descriptors(document.layers))


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", strict=True)

    media_type: str = ""
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0, le=1 << 50)]
    urls: list[str] | None = None

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, self.size)


class _Document(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", strict=True)

    media_type: str | None = None
    config: _Part | None = None
    layers: list[_Part] | None = None
    manifests: list[_Part] | None = None


def _descriptors(parts: Sequence[_Part] | None) -> tuple[Descriptor, ...]:
    return tuple(part.descriptor for part in parts or () if not part.urls)
