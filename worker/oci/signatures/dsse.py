"""Signed envelopes (DSSE) around in-toto statements.

Sources: ``secure-systems-lab/dsse``, ``protocol.md`` (pre-authentication encoding) and in-toto's
attestation framework, "Statement". cosign 2 stores an attestation as a layer of media type
`LAYER_TYPE`; cosign 3 puts the same envelope into a bundle.
"""

import base64
import binascii
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.oci.signatures.documents import Form, SignedDocument, Statement

LAYER_TYPE = "application/vnd.dsse.envelope.v1+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPES = frozenset(
    {"https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"}
)
MAX_SIGNATURES = 16
MAX_SUBJECTS = 1000


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Signature(_Part):
    sig: str


class Envelope(_Part):
    """An envelope as JSON stores it: payload and signatures in base64."""

    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: list[_Signature] = Field(min_length=1, max_length=MAX_SIGNATURES)


class _Subject(_Part):
    digest: dict[str, str]


class _Statement(_Part):
    type: str = Field(alias="_type")
    subject: list[_Subject] = Field(min_length=1, max_length=MAX_SUBJECTS)
    predicate_type: str = Field(alias="predicateType", min_length=1, max_length=500)


def encode_for_signing(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding (PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def make_statement(digest: str, predicate_type: str, predicate: dict[str, Any]) -> bytes:
    """Return an in-toto statement about the image with this digest."""
    algorithm, _, value = digest.partition(":")
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {algorithm: value}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return json.dumps(statement, separators=(",", ":")).encode()


def make_envelope(payload: bytes, signature: bytes) -> dict[str, Any]:
    """Return an envelope around a statement, ready for JSON."""
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }


def parse_envelope(content: bytes, form: Form) -> SignedDocument | None:
    """Return the signed document of an envelope; ``None`` if it is not one about a digest."""
    try:
        return read_envelope(Envelope.model_validate_json(content), form)
    except ValidationError:
        return None


def read_envelope(envelope: Envelope, form: Form) -> SignedDocument | None:
    """Return the signed document of a parsed envelope, as `parse_envelope`."""
    payload = decode_base64(envelope.payload)
    signatures = tuple(decode_base64(one.sig) for one in envelope.signatures)
    if payload is None or envelope.payload_type != PAYLOAD_TYPE:
        return None
    statement = parse_statement(payload)
    if statement is None:
        return None
    content = encode_for_signing(envelope.payload_type, payload)
    return SignedDocument(form, statement, content, tuple(one for one in signatures if one))


def parse_statement(payload: bytes) -> Statement | None:
    """Return what an in-toto statement states; ``None`` if it is not one."""
    try:
        statement = _Statement.model_validate_json(payload)
    except ValidationError:
        return None
    digests = (one.digest.get("sha256") for one in statement.subject)
    subjects = frozenset(f"sha256:{digest}" for digest in digests if digest)
    if statement.type not in STATEMENT_TYPES or not subjects:
        return None
    return Statement(subjects, statement.predicate_type)


def decode_base64(text: str) -> bytes | None:
    """Return the bytes of standard base64; ``None`` if it is malformed."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
