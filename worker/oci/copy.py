"""An image from one registry to another, or within one: everything below it, byte for byte.

```text
what the reference stands for now ──► layers, four at a time ──► configurations
    ──► manifests, each before who names it ──► the tag ──► the target is asked for it
```

So a copy that fails has changed no tag, and what it brought is not sent again by the next one.
Where the target has the manifest already, all below it is looked for, and what is missing is sent.
"""

from collections.abc import Callable
from contextlib import closing, suppress

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.oci.concurrency import in_lanes
from worker.oci.copy_progress import Tally
from worker.oci.images.plan import Plan, make_plan
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.registry.manifests import MISSING
from worker.oci.registry.uploads import Upload
from worker.progress import LayerState, TransferProgress

NOT_THERE = MISSING | {FaultCode.PULL_DENIED}
"""What registries say of an image that they do not have; some deny what does not exist."""


async def copy_image(
    source: RegistryClient,
    source_reference: Reference,
    target: RegistryClient,
    target_reference: Reference,
    on_progress: Callable[[TransferProgress], None],
) -> Descriptor:
    """Bring an image to ``target_reference``; gives what the target answers for it in the end.

    A digest in ``target_reference`` is a promise. A cancel stops all traffic at once.

    Raises:
        RegistryError: either registry refused or could not be reached; ``digest_mismatch`` where
            the source has something else than was promised, or the target does in the end;
            ``image_incomplete`` where the source has lost a part of it, or the target keeps a
            damaged one and takes no other.
    """
    plan = await make_plan(source, source_reference)
    digest = plan.root.descriptor.digest
    _require_same(source_reference, digest, promised=target_reference.digest or digest)
    tally = Tally(plan.blobs, on_progress)
    copy = _Copy(source, source_reference, target, target_reference, tally)
    if await copy.find() == digest:
        await copy.mend(plan)
    else:
        await copy.carry_out(plan)
    held = await target.head_manifest(target_reference.repository, copy.name)
    _require_same(target_reference, held.digest, promised=digest)
    return held


class _Copy:
    def __init__(
        self,
        source: RegistryClient,
        source_reference: Reference,
        target: RegistryClient,
        target_reference: Reference,
        tally: Tally,
    ) -> None:
        self._source = source
        self._source_repository = source_reference.repository
        self._target = target
        self._repository = target_reference.repository
        self.name = target_reference.tag or target_reference.target
        self._tally = tally
        is_within = source_reference.registry == target_reference.registry
        self._mounts = is_within and self._source_repository != self._repository
        self._uploads = target.uploads(
            self._repository, mounts=self._source_repository if self._mounts else ""
        )

    async def find(self) -> str | None:
        """The digest of what the target has under the name already."""
        try:
            return (await self._target.head_manifest(self._repository, self.name)).digest
        except RegistryError as error:
            if error.code not in NOT_THERE:
                raise
            return None

    async def carry_out(self, plan: Plan) -> None:
        await in_lanes(plan.layers, self._bring)
        await in_lanes(plan.configs, self._bring)
        for child in plan.children:
            await self._target.put_manifest(self._repository, child.descriptor.digest, child)
        await self._put_root(plan.root)

    async def _put_root(self, root: Manifest) -> None:
        """Write the tag; where the answer is no good one, it may be there all the same.

        An answer can be lost, and a tag that cannot be moved is then refused the second time.
        """
        try:
            await self._target.put_manifest(self._repository, self.name, root)
        except RegistryError as error:
            with suppress(RegistryError):
                if await self.find() == root.descriptor.digest:
                    return
            raise error from error.__cause__

    async def mend(self, plan: Plan) -> None:
        """Bring what the target has lost of an image whose manifest it holds."""
        missing: set[str] = set()

        async def look(child: Manifest) -> None:
            digest = child.descriptor.digest
            if not await self._target.has_manifest(self._repository, digest):
                missing.add(digest)

        await in_lanes(plan.blobs, self._mend)
        await in_lanes(plan.children, look)
        for child in plan.children:
            if (digest := child.descriptor.digest) in missing:
                await self._target.put_manifest(self._repository, digest, child)

    async def _mend(self, blob: Descriptor) -> None:
        if await self._is_whole(blob):
            self._tally.enter(blob, LayerState.PRESENT)
            return
        await self._take(await self._start(blob), blob)
        await self._target.require_blob(self._repository, blob)

    async def _is_whole(self, blob: Descriptor) -> bool:
        try:
            await self._target.require_blob(self._repository, blob)
        except RegistryError as error:
            if error.code != FaultCode.IMAGE_INCOMPLETE:
                raise
            return False
        return True

    async def _bring(self, blob: Descriptor) -> None:
        await self._take(await self._begin(blob), blob)

    async def _take(self, upload: Upload | None, blob: Descriptor) -> None:
        """Send a blob, unless the target needs none of it."""
        if upload is None:
            self._tally.enter(blob, LayerState.PRESENT)
            return
        self._tally.enter(blob, LayerState.MOVING)
        with closing(self._source.read_blob(self._source_repository, blob)) as chunks:
            await self._uploads.finish(upload, blob, self._tally.count(blob, chunks))
        self._tally.enter(blob, LayerState.DONE)

    async def _begin(self, blob: Descriptor) -> Upload | None:
        """An upload for what the target does not have, and cannot take over by itself."""
        if not self._mounts and await self._uploads.has(blob):
            return None
        # A blob that is there can be mounted too: asking for it first would double the requests.
        upload = await self._start(blob)
        return None if self._mounts and upload and await self._uploads.has(blob) else upload

    async def _start(self, blob: Descriptor) -> Upload | None:
        """An upload, unless the target takes the blob over by itself."""
        return await (self._uploads.mount(blob.digest) if self._mounts else self._uploads.start())


def _require_same(where: Reference, found: str, *, promised: str) -> None:
    if found != promised:
        raise RegistryError(
            FaultCode.DIGEST_MISMATCH, f"{where} is {found}, and should be {promised}"
        )
