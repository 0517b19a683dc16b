"""What belongs to an image beside it: signatures, SBOMs and attestations.

They are stored in the image's repository in two ways:

- under a tag that names the image's digest: ``sha256-<hex>.sig``, ``.att`` or ``.sbom`` (cosign 2);
- as a manifest whose ``subject`` is the image, a *referrer* (OCI image 1.1). A registry lists them
  by its referrers API. Without that API the pusher lists them in an index under the tag
  ``sha256-<hex>`` (OCI distribution 1.1, "Referrers Tag Schema").
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import make_attachments_tag
from worker.oci.concurrency import run_concurrently
from worker.oci.images.contents import parse_contents
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor, Manifest, make_manifest
from worker.oci.registry.manifests import MISSING
from worker.oci.registry.referrers import list_referrers

TAG_SUFFIXES = ("sig", "att", "sbom")

MAX_SUBJECTS = 100
"""So many manifests of an image are looked at: the image itself, and its platforms."""

MAX_ATTACHMENTS = 200
ABSENT = MISSING | {FaultCode.PULL_DENIED}
"""The codes for an image that does not exist; some registries deny access to it instead."""

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Attachment:
    """A manifest that belongs to ``subject``; ``tag`` is empty for a referrer."""

    subject: str
    manifest: Manifest
    tag: str = ""


@dataclass(frozen=True)
class Attachments:
    """What was found. ``gaps`` are sentences about what could not be read or was too much."""

    found: tuple[Attachment, ...] = ()
    gaps: tuple[str, ...] = ()


def list_blobs(manifest: Manifest) -> tuple[Descriptor, ...]:
    """Return the blobs that a manifest needs."""
    contents = parse_contents(manifest)
    if contents is None:
        return ()
    return (*contents.layers, *((contents.config,) if contents.config else ()))


async def find_attachments(
    client: RegistryClient, repository: str, subjects: Sequence[str]
) -> Attachments:
    """Find everything that belongs to the given digests, and to what was found.

    Raises:
        RegistryError: the registry cannot answer now. What it refuses for good is a gap.
    """
    search = _Search(client, repository)
    if len(subjects) > MAX_SUBJECTS:
        search.gaps.append(
            f"only the first {MAX_SUBJECTS} of {len(subjects)} manifests were searched for "
            "signatures and attestations"
        )
    waiting: Sequence[str] = subjects[:MAX_SUBJECTS]
    while waiting:
        before = len(search.found)
        await run_concurrently(waiting, search.examine)
        waiting = [one.manifest.descriptor.digest for one in list(search.found.values())[before:]]
    found = sorted(search.found.values(), key=lambda one: (one.tag, one.manifest.descriptor.digest))
    return Attachments(tuple(found), tuple(search.gaps))


class _Search:
    def __init__(self, client: RegistryClient, repository: str) -> None:
        self._client = client
        self._repository = repository
        self.found: dict[tuple[str, str], Attachment] = {}
        self.gaps: list[str] = []

    async def examine(self, subject: str) -> None:
        for suffix in TAG_SUFFIXES:
            await self._examine_tag(subject, f"{make_attachments_tag(subject)}.{suffix}")
        for digest in await self._list_referrers(subject):
            if self._has_room() and (manifest := await self._fetch(digest)):
                self._add(Attachment(subject, manifest))

    async def _examine_tag(self, subject: str, tag: str) -> None:
        if await self._is_there(tag) and (manifest := await self._fetch(tag)):
            self._add(Attachment(subject, manifest, tag))

    async def _is_there(self, tag: str) -> bool:
        """Ask by HEAD: registries that limit pulls count every GET of a manifest."""
        try:
            await manifests.describe(self._client, self._repository, tag)
        except RegistryError as error:
            if error.code not in ABSENT:
                self._note(f"the tag {tag} cannot be read", error)
            return False
        return True

    async def _fetch(self, name: str) -> Manifest | None:
        try:
            manifest = await manifests.fetch(self._client, self._repository, name)
        except RegistryError as error:
            self._note(f"{name} cannot be read", error)
            return None
        if parse_contents(manifest) is None:
            self.gaps.append(f"{name} is not a manifest that can be copied")
            return None
        return manifest

    async def _list_referrers(self, subject: str) -> tuple[str, ...]:
        try:
            listed = await list_referrers(self._client, self._repository, subject, MAX_ATTACHMENTS)
        except RegistryError as error:
            self._note(f"the referrers of {subject} cannot be listed", error)
            return ()
        if listed is not None:
            if not listed.is_complete:
                self.gaps.append(f"the referrers of {subject} cannot all be listed")
            return listed.digests
        return tuple(one.digest for one in await self._read_referrers_tag(subject))

    async def _read_referrers_tag(self, subject: str) -> tuple[Descriptor, ...]:
        tag = make_attachments_tag(subject)
        if not await self._is_there(tag) or not (index := await self._fetch(tag)):
            return ()
        contents = parse_contents(index)
        return contents.children if contents else ()

    def _has_room(self) -> bool:
        if len(self.found) < MAX_ATTACHMENTS:
            return True
        gap = f"only the first {MAX_ATTACHMENTS} signatures and attestations were read"
        if gap not in self.gaps:
            self.gaps.append(gap)
        return False

    def _add(self, attachment: Attachment) -> None:
        self.found.setdefault((attachment.tag, attachment.manifest.descriptor.digest), attachment)

    def _note(self, problem: str, error: RegistryError) -> None:
        """Keep a permanent refusal as a gap; raise a temporary one again."""
        if error.retryable:
            raise error
        self.gaps.append(f"{problem} ({error.code})")


def list_in_index(index: Manifest | None, added: Iterable[Manifest]) -> Manifest:
    """Return an index of referrers with further manifests in it; each is listed once.

    The entries are as OCI distribution 1.1 wants them: with artifact type and annotations.
    """
    entries: list[dict[str, Any]] = []
    if index is not None:
        listed = json.loads(index.content).get("manifests")
        entries = [one for one in listed or [] if isinstance(one, dict)]
    present = {one.get("digest") for one in entries}
    entries += [_make_entry(one) for one in added if one.descriptor.digest not in present]
    document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
    return make_manifest(INDEX_TYPE, document)


def _make_entry(manifest: Manifest) -> dict[str, Any]:
    document = json.loads(manifest.content)
    config = document.get("config")
    kind = document.get("artifactType") or (config or {}).get("mediaType")
    entry = {
        "mediaType": manifest.descriptor.media_type,
        "digest": manifest.descriptor.digest,
        "size": manifest.descriptor.size_bytes,
    }
    if kind:
        entry["artifactType"] = kind
    if annotations := document.get("annotations"):
        entry["annotations"] = annotations
    return entry
