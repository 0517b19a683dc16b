"""The signature format of cosign 2: a small JSON document that names one digest.

Source: cosign, ``specs/SIGNATURE_SPEC.md``. The registry stores the document as a layer of media
type `LAYER_TYPE`; the layer's annotation `SIGNATURE_ANNOTATION` has the signature of its bytes.
"""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.oci.signatures.documents import SIGNATURE, Statement

LAYER_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
PAYLOAD_TYPE = "cosign container image signature"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Identity(_Part):
    docker_reference: str = Field(alias="docker-reference")


class _Image(_Part):
    digest: str = Field(alias="docker-manifest-digest")


class _Critical(_Part):
    identity: _Identity
    image: _Image
    type: Literal["cosign container image signature", "atomic container signature"]


class _Payload(_Part):
    critical: _Critical


def make_payload(repository: str, digest: str) -> bytes:
    """Return the bytes to sign. ``repository`` has its registry's host: ``ghcr.io/team/app``."""
    critical = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": digest},
        "type": PAYLOAD_TYPE,
    }
    return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()


def parse_payload(payload: bytes) -> Statement | None:
    """Return what a payload states; ``None`` if it is not such a document."""
    try:
        critical = _Payload.model_validate_json(payload).critical
    except ValidationError:
        return None
    subjects = frozenset({critical.image.digest})
    return Statement(subjects, SIGNATURE, critical.identity.docker_reference)
