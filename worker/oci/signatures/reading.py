"""Read the signed documents beside an image."""

from collections.abc import AsyncIterator
from contextlib import closing

from shared.errors import RegistryError
from worker.oci.images.artifact import Layer
from worker.oci.images.attached_manifests import Attachment, find_attachments
from worker.oci.registry.blob import BlobReader
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor
from worker.oci.signatures import bundle, dsse, simple_signing
from worker.oci.signatures.documents import MAX_DOCUMENT_BYTES, Form, SignedDocument
from worker.oci.signatures.tagged import read_layers


async def read_documents(
    client: RegistryClient, repository: str, digest: str
) -> tuple[tuple[SignedDocument, ...], tuple[str, ...]]:
    """Return the signed documents beside an image, and sentences about what cannot be read.

    Nothing is verified here: a document may state anything.

    Raises:
        RegistryError: the registry cannot answer now.
    """
    attached = await find_attachments(client, repository, [digest])
    documents: list[SignedDocument] = []
    gaps = list(attached.gaps)
    for attachment in attached.found:
        if attachment.subject != digest:
            continue
        async for name, document in _read_attachment(client, repository, attachment):
            if document is None:
                gaps.append(f"{name} beside {digest} is not a signed document")
            else:
                documents.append(document)
    return tuple(documents), tuple(gaps)


async def _read_attachment(
    client: RegistryClient, repository: str, attachment: Attachment
) -> AsyncIterator[tuple[str, SignedDocument | None]]:
    """Yield each signed document, with its digest; ``None`` for one that cannot be read."""
    for layer in read_layers(attachment.manifest):
        blob = _describe(layer)
        if not _is_signed(layer) or blob is None:
            continue
        content = await _read_blob(client, repository, blob)
        yield blob.digest, None if content is None else _parse(layer, content)


def _is_signed(layer: Layer) -> bool:
    kind = str(layer.get("mediaType"))
    formats = (simple_signing.LAYER_TYPE, dsse.LAYER_TYPE, bundle.BUNDLE_TYPE_PREFIX)
    return kind.startswith(formats)


def _describe(layer: Layer) -> Descriptor | None:
    digest, size = layer.get("digest"), layer.get("size")
    if not isinstance(digest, str) or not isinstance(size, int):
        return None
    return Descriptor(str(layer.get("mediaType")), digest, size)


async def _read_blob(client: RegistryClient, repository: str, blob: Descriptor) -> bytes | None:
    if blob.size_bytes > MAX_DOCUMENT_BYTES:
        return None
    try:
        with closing(BlobReader(client, repository, blob)) as chunks:
            return b"".join([chunk async for chunk in chunks])
    except RegistryError as error:
        if error.retryable:
            raise
        return None


def _parse(layer: Layer, content: bytes) -> SignedDocument | None:
    kind = str(layer["mediaType"])
    if kind.startswith(bundle.BUNDLE_TYPE_PREFIX):
        return bundle.parse_bundle(content)
    if kind == dsse.LAYER_TYPE:
        return dsse.parse_envelope(content, Form.TAG)
    annotations = layer.get("annotations")
    text = annotations.get(simple_signing.SIGNATURE_ANNOTATION) if annotations else None
    signature = dsse.decode_base64(text) if isinstance(text, str) else None
    statement = simple_signing.parse_payload(content)
    if statement is None or not signature:
        return None
    return SignedDocument(Form.TAG, statement, content, (signature,))
