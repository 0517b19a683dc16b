"""The bundle of cosign 3: one JSON document with the signed content and what checks it.

Source: ``sigstore/protobuf-specs``, ``sigstore_bundle.proto``, version 0.3. Only key pairs are
used here: certificates and transparency logs in a bundle are not read.
"""

import base64
import json
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.signatures.keys import PublicKey, SigningKey
from worker.oci.signatures.documents import SIGNATURE, Form, SignedDocument, Statement
from worker.oci.signatures.dsse import (
    PAYLOAD_TYPE,
    Envelope,
    decode_base64,
    encode_for_signing,
    make_envelope,
    make_statement,
    read_envelope,
)

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_TYPE_PREFIX = "application/vnd.dev.sigstore.bundle"
SHA256_BYTES = 32


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Digest(_Part):
    algorithm: str
    digest: str


class _MessageSignature(_Part):
    message_digest: _Digest = Field(alias="messageDigest")
    signature: str


class _Hint(_Part):
    hint: str = ""


class _Material(_Part):
    public_key: _Hint = Field(default_factory=_Hint, alias="publicKey")


class _Bundle(_Part):
    media_type: str = Field(alias="mediaType")
    material: _Material = Field(default_factory=_Material, alias="verificationMaterial")
    envelope: Envelope | None = Field(default=None, alias="dsseEnvelope")
    message: _MessageSignature | None = Field(default=None, alias="messageSignature")


def make_bundle(
    digest: str, predicate_type: str, predicate: dict[str, Any], key: SigningKey
) -> bytes:
    """Sign a statement about an image; return the bundle."""
    payload = make_statement(digest, predicate_type, predicate)
    signature = key.sign(encode_for_signing(PAYLOAD_TYPE, payload))
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": make_hint(key.public)}},
        "dsseEnvelope": make_envelope(payload, signature),
    }
    return json.dumps(bundle, separators=(",", ":")).encode()


def make_hint(key: PublicKey) -> str:
    """Return cosign's hint for a key: the base64 of its fingerprint."""
    return base64.b64encode(bytes.fromhex(key.fingerprint.removeprefix("sha256:"))).decode()


def parse_bundle(content: bytes) -> SignedDocument | None:
    """Return the signed document of a bundle; ``None`` if it is malformed."""
    try:
        bundle = _Bundle.model_validate_json(content)
    except ValidationError:
        return None
    is_ambiguous = (bundle.envelope is None) == (bundle.message is None)
    if is_ambiguous or not bundle.media_type.startswith(BUNDLE_TYPE_PREFIX):
        return None
    document = (
        read_envelope(bundle.envelope, Form.BUNDLE)
        if bundle.envelope
        else _read_message(bundle.message)
    )
    signer = _read_hint(bundle.material.public_key.hint)
    return replace(document, signer=signer) if document else None


def _read_hint(hint: str) -> str:
    """Return the fingerprint that a hint states; empty if it has another form."""
    fingerprint = decode_base64(hint)
    is_fingerprint = fingerprint is not None and len(fingerprint) == SHA256_BYTES
    return f"sha256:{fingerprint.hex()}" if fingerprint and is_fingerprint else ""


def _read_message(message: _MessageSignature | None) -> SignedDocument | None:
    """Return the document of a signature over the bytes of the manifest itself."""
    if message is None:
        return None
    digest = decode_base64(message.message_digest.digest)
    signature = decode_base64(message.signature)
    if message.message_digest.algorithm != "SHA2_256" or not digest or not signature:
        return None
    if len(digest) != SHA256_BYTES:
        return None
    statement = Statement(frozenset({f"sha256:{digest.hex()}"}), SIGNATURE)
    return SignedDocument(Form.BUNDLE, statement, digest, (signature,), is_prehashed=True)
