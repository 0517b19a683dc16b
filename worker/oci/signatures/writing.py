"""Make what a registry stores for a signature, in both formats of cosign."""

import base64

from shared.reference import make_attachments_tag
from shared.signatures.keys import SigningKey
from worker.oci.images.artifact import Stored, describe, make_artifact
from worker.oci.images.attached_manifests import Attachment
from worker.oci.registry.manifest import Descriptor
from worker.oci.signatures import bundle, simple_signing
from worker.oci.signatures.tagged import add_layers


def sign_for_tag(repository: str, digest: str, key: SigningKey) -> str:
    """Sign an image in the format of cosign 2: return the signature in base64.

    ``repository`` has its registry's host.
    """
    return base64.b64encode(key.sign(simple_signing.make_payload(repository, digest))).decode()


def store_tag_signature(repository: str, digest: str, signature: str) -> Stored:
    """Return what a registry stores for a signature by `sign_for_tag`."""
    payload = simple_signing.make_payload(repository, digest)
    layer = describe(simple_signing.LAYER_TYPE, payload) | {
        "annotations": {simple_signing.SIGNATURE_ANNOTATION: signature}
    }
    config, manifest = add_layers(None, [layer])
    tag = f"{make_attachments_tag(digest)}.sig"
    blobs = {str(layer["digest"]): payload, manifest.config or "": config}
    return Stored(Attachment(digest, manifest, tag), blobs)


def store_bundle(subject: Descriptor, content: bytes, predicate_type: str) -> Stored:
    """Return the referrer that holds a bundle, in the format of cosign 3."""
    annotations = {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": predicate_type,
    }
    return make_artifact(subject, bundle.BUNDLE_TYPE, content, annotations)
