"""Copy an image from one registry to another, or within one, byte for byte.

```text
resolve the reference ──► layers, four at a time ──► configurations
    ──► manifests, each before the ones that name it ──► signatures, SBOMs and attestations
    ──► the tag ──► check the tag at the target
```

So a failed copy has changed no tag, and the next copy does not send the same blobs again. If the
target already has the manifest, everything below it is checked, and missing parts are sent.

Signatures precede the tag: whoever pulls the tag and requires a signature finds it.
"""

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.oci.attachment_writer import AttachmentWriter
from worker.oci.concurrency import run_concurrently
from worker.oci.copy_progress import CopyProgress
from worker.oci.images.attached_manifests import ABSENT, Attachments, find_attachments, list_blobs
from worker.oci.images.plan import Plan, make_plan
from worker.oci.registry import manifests
from worker.oci.registry.blob import BlobReader
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.registry.presence import require_present
from worker.oci.registry.uploads import Upload, Uploads
from worker.progress import LayerState, TransferProgress


@dataclass(frozen=True)
class Copied:
    """The descriptor that the target reports for the copy.

    ``left_behind`` are sentences about signatures, SBOMs and attestations that the target lacks.
    """

    descriptor: Descriptor
    left_behind: tuple[str, ...]

    @property
    def digest(self) -> str:
        return self.descriptor.digest


async def copy_image(
    source: RegistryClient,
    source_reference: Reference,
    target: RegistryClient,
    target_reference: Reference,
    on_progress: Callable[[TransferProgress], None],
) -> Copied:
    """Copy an image to ``target_reference``, with its signatures, SBOMs and attestations.

    If ``target_reference`` has a digest, the source must have it. Cancelling ends all traffic at
    once.

    Raises:
        RegistryError: either registry refused or could not be reached; ``digest_mismatch`` if the
            source has another digest than given, or if the target finally has another one;
            ``image_incomplete`` if the source has lost a part of the image, or if the target keeps
            a damaged part and accepts no other.
    """
    plan = await make_plan(source, source_reference)
    digest = plan.root.descriptor.digest
    _require_same(source_reference, digest, expected=target_reference.digest or digest)
    parts = [digest, *(child.descriptor.digest for child in plan.children)]
    attached = await find_attachments(source, source_reference.repository, parts)
    progress = CopyProgress(_all_blobs(plan, attached), on_progress)
    copy = _Copy(source, source_reference, target, target_reference, progress)
    if await copy.find_existing() == digest:
        await copy.repair(plan, attached)
    else:
        await copy.copy_all(plan, attached)
    stored = await manifests.describe(target, target_reference.repository, copy.name)
    _require_same(target_reference, stored.digest, expected=digest)
    return Copied(stored, (*attached.gaps, *copy.left_behind))


def _all_blobs(plan: Plan, attached: Attachments) -> tuple[Descriptor, ...]:
    blobs = {blob.digest: blob for one in attached.found for blob in list_blobs(one.manifest)}
    blobs |= {blob.digest: blob for blob in plan.blobs}
    return tuple(blobs.values())


class _Copy:
    def __init__(
        self,
        source: RegistryClient,
        source_reference: Reference,
        target: RegistryClient,
        target_reference: Reference,
        progress: CopyProgress,
    ) -> None:
        self._source = source
        self._source_repository = source_reference.repository
        self._target = target
        self._repository = target_reference.repository
        self.name = target_reference.tag or target_reference.target
        self._progress = progress
        is_within = source_reference.registry == target_reference.registry
        self._can_mount = is_within and self._source_repository != self._repository
        self._uploads = Uploads(
            target, self._repository, mount_from=self._source_repository if self._can_mount else ""
        )
        self._attachments = AttachmentWriter(target, self._repository)
        self.left_behind: list[str] = []

    async def find_existing(self) -> str | None:
        """Return the digest that the target already has under the name."""
        try:
            return (await manifests.describe(self._target, self._repository, self.name)).digest
        except RegistryError as error:
            if error.code not in ABSENT:
                raise
            return None

    async def copy_all(self, plan: Plan, attached: Attachments) -> None:
        await run_concurrently(plan.layers, self._copy_blob)
        await run_concurrently(plan.configs, self._copy_blob)
        for child in plan.children:
            await manifests.store(self._target, self._repository, child.descriptor.digest, child)
        await self._attach_all(attached, {blob.digest for blob in plan.blobs})
        await self._put_root(plan.root)

    async def _attach_all(self, attached: Attachments, sent: set[str]) -> None:
        for one in attached.found:
            blobs = {blob.digest: blob for blob in list_blobs(one.manifest)}
            try:
                for digest in blobs.keys() - sent:
                    await self._copy_blob(blobs[digest])
                await self._attachments.store(one)
            except RegistryError as error:
                if error.retryable:
                    raise
                name = one.tag or one.manifest.descriptor.digest
                self.left_behind.append(f"{name} stayed behind: {error.message} ({error.code})")
            sent |= blobs.keys()

    async def _put_root(self, root: Manifest) -> None:
        """Write the tag. If the request fails, check whether the target has stored the tag anyway.

        The response can be lost, and an immutable tag is then refused at the second attempt.
        """
        try:
            await manifests.store(self._target, self._repository, self.name, root)
        except RegistryError as error:
            with suppress(RegistryError):
                if await self.find_existing() == root.descriptor.digest:
                    return
            raise error from error.__cause__

    async def repair(self, plan: Plan, attached: Attachments) -> None:
        """Upload the parts of an image that the target has lost although it holds the manifest."""
        missing: set[str] = set()

        async def check(child: Manifest) -> None:
            digest = child.descriptor.digest
            if not await manifests.has(self._target, self._repository, digest):
                missing.add(digest)

        await run_concurrently(plan.blobs, self._repair_blob)
        await run_concurrently(plan.children, check)
        for child in plan.children:
            if (digest := child.descriptor.digest) in missing:
                await manifests.store(self._target, self._repository, digest, child)
        await self._attach_all(attached, {blob.digest for blob in plan.blobs})

    async def _repair_blob(self, blob: Descriptor) -> None:
        if await self._has_right_size(blob):
            self._progress.set_state(blob, LayerState.PRESENT)
            return
        await self._transfer(await self._start_upload(blob), blob)
        await require_present(self._target, self._repository, blob)

    async def _has_right_size(self, blob: Descriptor) -> bool:
        try:
            await require_present(self._target, self._repository, blob)
        except RegistryError as error:
            if error.code != FaultCode.IMAGE_INCOMPLETE:
                raise
            return False
        return True

    async def _copy_blob(self, blob: Descriptor) -> None:
        await self._transfer(await self._begin_upload(blob), blob)

    async def _transfer(self, upload: Upload | None, blob: Descriptor) -> None:
        """Upload a blob, unless the target needs none of it."""
        if upload is None:
            self._progress.set_state(blob, LayerState.PRESENT)
            return
        self._progress.set_state(blob, LayerState.MOVING)
        with closing(BlobReader(self._source, self._source_repository, blob)) as chunks:
            await self._uploads.finish(upload, blob, self._progress.count_moved(blob, chunks))
        self._progress.set_state(blob, LayerState.DONE)

    async def _begin_upload(self, blob: Descriptor) -> Upload | None:
        """Begin an upload, unless the target has the blob already or mounts it."""
        if not self._can_mount and await self._uploads.has(blob):
            return None
        # An existing blob can be mounted too: checking it first would double the requests.
        upload = await self._start_upload(blob)
        return None if self._can_mount and upload and await self._uploads.has(blob) else upload

    async def _start_upload(self, blob: Descriptor) -> Upload | None:
        """Start an upload, unless the target mounts the blob."""
        return await (
            self._uploads.mount(blob.digest) if self._can_mount else self._uploads.start()
        )


def _require_same(where: Reference, found: str, *, expected: str) -> None:
    if found != expected:
        raise RegistryError(
            FaultCode.DIGEST_MISMATCH, f"{where} has the digest {found} instead of {expected}"
        )
