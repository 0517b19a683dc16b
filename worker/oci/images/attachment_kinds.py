"""The kind of what belongs to an image: a signature, an attestation or an SBOM."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from shared.jobs.results import AttachmentKind
from worker.oci.images.attached_manifests import Attachment
from worker.oci.registry.manifest import Manifest

IN_TOTO = "application/vnd.in-toto+json"

_OF_TAGS: Mapping[str, AttachmentKind] = {
    "sig": "signature",
    "att": "attestation",
    "sbom": "sbom",
}
"""The kinds of what cosign stores under its tags, by their endings."""

_SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle"
_BUNDLE_PREDICATE = "dev.sigstore.bundle.predicateType"
_LAYER_PREDICATE = "in-toto.io/predicate-type"
_COSIGN_SIGNATURE = "https://sigstore.dev/cosign/sign/"
_TYPES: Mapping[AttachmentKind, tuple[str, ...]] = {
    "signature": (
        "application/vnd.dev.cosign.artifact.sig.",
        "application/vnd.dev.cosign.simplesigning.",
        "application/vnd.cncf.notary.signature",
    ),
    "attestation": (
        "application/vnd.dev.cosign.artifact.att.",
        "application/vnd.in-toto",
        "application/vnd.dsse.envelope",
    ),
    "sbom": (
        "application/vnd.dev.cosign.artifact.sbom.",
        "application/vnd.goharbor.harbor.sbom.",
        "application/vnd.cyclonedx",
        "application/vnd.syft",
        "application/spdx",
        "text/spdx",
    ),
}
_SBOM_PREDICATES = ("https://spdx.dev/", "https://cyclonedx.org/")


def find_kind(attachment: Attachment) -> AttachmentKind:
    """Return the kind by cosign's tag, else by the type of the artifact."""
    if attachment.tag:
        return _OF_TAGS.get(attachment.tag.rpartition(".")[2], "other")
    found = _parse(attachment.manifest)
    return find_kind_of_type(find_artifact_type(attachment.manifest), found.annotations or {})


def find_kind_of_type(artifact_type: str, annotations: Mapping[str, str]) -> AttachmentKind:
    """Return the kind of an artifact type; of a bundle of Sigstore by what it states."""
    if artifact_type.startswith(_SIGSTORE_BUNDLE):
        predicate = annotations.get(_BUNDLE_PREDICATE, "")
        return _find_predicate_kind(predicate) if predicate else "signature"
    return next(
        (kind for kind, starts in _TYPES.items() if artifact_type.startswith(starts)), "other"
    )


def find_statement_kinds(manifest: Manifest) -> tuple[AttachmentKind, ...]:
    """Return the kinds of the statements that a build has put into an index, each once."""
    predicates = (
        (one.annotations or {}).get(_LAYER_PREDICATE, "") for one in _parse(manifest).layers
    )
    return tuple(sorted({_find_predicate_kind(predicate) for predicate in predicates}))


def find_artifact_type(manifest: Manifest) -> str:
    """Return the type of an artifact: its own, else that of its configuration; or nothing."""
    found = _parse(manifest)
    return found.artifact_type or (found.config.media_type if found.config else "")


def _find_predicate_kind(predicate: str) -> AttachmentKind:
    if predicate.startswith(_COSIGN_SIGNATURE):
        return "signature"
    return "sbom" if predicate.startswith(_SBOM_PREDICATES) else "attestation"


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    media_type: str = ""
    annotations: dict[str, str] | None = None


class _Document(_Part):
    artifact_type: str = ""
    config: _Part | None = None
    layers: list[_Part] = []


def _parse(manifest: Manifest) -> _Document:
    """Parse what tells the kind; nothing if it is malformed."""
    try:
        return _Document.model_validate_json(manifest.content)
    except ValidationError:
        return _Document()
