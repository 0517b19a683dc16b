"""What a signed document states, whatever its format."""

from dataclasses import dataclass
from enum import StrEnum

SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type of a plain signature in a bundle. A document of another type describes the
image (an SBOM, a provenance) and is not a signature of it, although it is signed as well."""

MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
"""The size limit of one signed document; an attestation may contain an SBOM."""


class Form(StrEnum):
    """Where and how a signed document is stored."""

    TAG = "tag"
    """Version 2 of cosign: under the tag ``sha256-….sig`` or ``sha256-….att``."""

    BUNDLE = "bundle"
    """Version 3 of cosign: a bundle that refers to the image."""


@dataclass(frozen=True)
class Statement:
    """The content that was signed, parsed.

    ``subjects`` are the digests that it is about, such as ``sha256:…``. ``predicate_type`` is
    `SIGNATURE` for a plain signature. ``repository`` is the name that the signer gave the image,
    with its registry's host; empty if the format has none.
    """

    subjects: frozenset[str]
    predicate_type: str
    repository: str = ""

    @property
    def is_signature(self) -> bool:
        return self.predicate_type == SIGNATURE


@dataclass(frozen=True)
class SignedDocument:
    """A statement with what proves it: the exact bytes that were signed, and their signatures.

    ``is_prehashed`` says that ``content`` is only the SHA-256 digest of those bytes.
    ``signer`` is the fingerprint of the key that the document names; empty if it names none.
    """

    form: Form
    statement: Statement
    content: bytes
    signatures: tuple[bytes, ...]
    is_prehashed: bool = False
    signer: str = ""
