"""Store signatures, SBOMs and attestations beside an image."""

from collections.abc import AsyncIterator, Iterable

from shared.errors import RegistryError
from shared.reference import make_attachments_tag
from worker.oci.images.artifact import Stored
from worker.oci.images.attached_manifests import ABSENT, Attachment, list_in_index
from worker.oci.images.contents import parse_contents
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.registry.referrers import has_referrers_api
from worker.oci.registry.uploads import Uploads
from worker.oci.signatures.tagged import add_layers, has_all_layers, read_layers


class AttachmentWriter:
    """Write to one repository. What is there already stays there."""

    def __init__(self, client: RegistryClient, repository: str) -> None:
        self._client = client
        self._repository = repository
        self._uploads = Uploads(client, repository)

    async def store(self, attachment: Attachment) -> None:
        """Store an attachment whose blobs are there already.

        Raises:
            RegistryError: ``push_denied``, ``tag_immutable`` …
        """
        if attachment.tag:
            await self._store_tagged(attachment)
        else:
            await self._store_referrer(attachment)

    async def store_with_blobs(self, stored: Stored) -> None:
        """Store an attachment and its blobs.

        Raises:
            RegistryError: ``push_denied``, ``tag_immutable`` …
        """
        for digest, content in stored.blobs.items():
            await self.store_blob(content, digest)
        await self.store(stored.attachment)

    async def store_blob(self, content: bytes, digest: str) -> None:
        """Upload a small blob, unless it is there.

        Raises:
            RegistryError: ``push_denied`` …
        """
        blob = Descriptor("application/octet-stream", digest, len(content))
        if not await self._uploads.has(blob):
            await self._uploads.finish(await self._uploads.start(), blob, _once(content))

    async def find(self, name: str) -> Manifest | None:
        """Return the manifest under a tag or digest; ``None`` if there is none.

        Raises:
            RegistryError: the registry refuses for another reason.
        """
        try:
            await manifests.describe(self._client, self._repository, name)
            return await manifests.fetch(self._client, self._repository, name)
        except RegistryError as error:
            if error.code not in ABSENT:
                raise
            return None

    async def _store_tagged(self, attachment: Attachment) -> None:
        """Store under the tag; join the layers with those of another manifest under it."""
        existing, manifest = await self.find(attachment.tag), attachment.manifest
        if existing is not None:
            layers = read_layers(manifest)
            if has_all_layers(existing, layers):
                return
            config, manifest = add_layers(existing, layers)
            await self.store_blob(config, manifest.config or "")
        await manifests.store(self._client, self._repository, attachment.tag, manifest)

    async def _store_referrer(self, attachment: Attachment) -> None:
        manifest, subject = attachment.manifest, attachment.subject
        await manifests.store(self._client, self._repository, manifest.descriptor.digest, manifest)
        if not await has_referrers_api(self._client, self._repository, subject):
            await self._list_in_tag(subject, [manifest])

    async def _list_in_tag(self, subject: str, added: Iterable[Manifest]) -> None:
        """List referrers under a tag, for a registry without the API."""
        tag = make_attachments_tag(subject)
        existing = await self.find(tag)
        index = list_in_index(existing, added)
        if existing is None or not _lists_all(existing, index):
            await manifests.store(self._client, self._repository, tag, index)


def _lists_all(existing: Manifest, index: Manifest) -> bool:
    old, new = parse_contents(existing), parse_contents(index)
    return old is not None and new is not None and set(new.children) <= set(old.children)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
