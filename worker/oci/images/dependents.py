"""Dependents of a manifest: tags that name it, indexes that list it, referrers.

A registry lists only tags. An untagged index is examined if the database knows its digest.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from shared.errors import InvalidReferenceError, RegistryError
from shared.jobs.deletion import MAX_REFERRERS, MAX_TAGS, Observation
from shared.reference import Reference, make_attachments_tag, require_tag
from worker.oci.concurrency import run_concurrently
from worker.oci.images.contents import INDEX_TYPES
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.listing import list_all_tags
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.registry.manifests import MISSING
from worker.oci.registry.referrers import list_referrers


@dataclass(frozen=True)
class Links:
    """The manifests that a manifest names: the manifests of an index, and the subject.

    ``children`` is ``None`` for a manifest that is no index.
    """

    children: frozenset[str] | None = None
    subject: str | None = None


@dataclass
class Dependents:
    """Observe the dependents of one manifest; each digest is fetched only once."""

    registry: RegistryClient
    target: Reference
    others: Collection[str] = ()
    _links: dict[str, Links] = field(default_factory=dict)

    async def observe(self) -> Observation:
        """Return everything that depends on the target's digest, as far as the registry reports it.

        Raises:
            RegistryError: it cannot answer now; permanent refusals are among the gaps.
        """
        repository, digest = self.target.repository, self.target.digest or ""
        if not await manifests.has(self.registry, repository, digest):
            return Observation(is_there=False)
        gaps: list[str] = []
        referrers = await self._find_referrers(gaps)
        named = await self._resolve(await self._list_tags(gaps), gaps)
        found = {one.digest: one for one in named.values()}
        unseen = [one for one in self.others if one not in found and one != digest]
        tagged = [one for one in found.values() if one.digest != digest]
        # With the referrers API, the registry reports the subject of every image.
        requested = [
            one.digest for one in tagged if referrers is None or one.media_type in INDEX_TYPES
        ]
        await self._fetch([*requested, *unseen], frozenset(unseen), gaps)
        listed = self._list_untagged(named, found) if referrers is None else ()
        await self._fetch(listed, frozenset(listed), gaps)
        examined = (*requested, *unseen, *listed)
        links = {one: self._links[one] for one in examined if one in self._links}
        return Observation(
            is_there=True,
            tags={tag: one.digest for tag, one in named.items()},
            children={
                one: link.children for one, link in links.items() if link.children is not None
            },
            subjects={one: link.subject for one, link in links.items() if link.subject},
            referrers=referrers or (),
            deletes_tags=referrers is not None,
            gaps=tuple(gaps),
        )

    async def _find_referrers(self, gaps: list[str]) -> tuple[str, ...] | None:
        try:
            listed = await list_referrers(
                self.registry, self.target.repository, self.target.digest or "", MAX_REFERRERS
            )
        except RegistryError as error:
            gaps.append(_make_gap("its referrers cannot be listed", error))
            return None
        if listed is None:
            return None
        if not listed.is_complete:
            gaps.append(f"its referrers cannot all be listed, or are more than {MAX_REFERRERS}")
        return listed.digests

    async def _list_tags(self, gaps: list[str]) -> tuple[str, ...]:
        try:
            tags = await list_all_tags(self.registry, self.target.repository, MAX_TAGS)
        except RegistryError as error:
            gaps.append(_make_gap("the repository's tags cannot be listed", error))
            return ()
        if tags is None:
            gaps.append(f"the repository's tags cannot all be listed, or are more than {MAX_TAGS}")
        return tags or ()

    async def _resolve(self, tags: Collection[str], gaps: list[str]) -> Mapping[str, Descriptor]:
        found: dict[str, Descriptor] = {}

        async def resolve(tag: str) -> None:
            try:
                require_tag(tag)
                found[tag] = await manifests.describe(self.registry, self.target.repository, tag)
            except InvalidReferenceError:
                gaps.append("the repository has an invalid tag")
            except RegistryError as error:
                gaps.append(_make_gap(f"the tag {tag} cannot be read", error))

        await run_concurrently(tags, resolve)
        return found

    def _list_untagged(
        self, named: Mapping[str, Descriptor], found: Collection[str]
    ) -> tuple[str, ...]:
        """Return the referrers without a tag that the index under the image's tag lists."""
        index = named.get(make_attachments_tag(self.target.digest or ""))
        links = self._links.get(index.digest) if index else None
        children = links.children if links else None
        return tuple(sorted((children or frozenset()) - set(found)))

    async def _fetch(
        self, digests: Collection[str], may_be_gone: Collection[str], gaps: list[str]
    ) -> None:
        """Read the links of manifests; one that has no tag may have been deleted."""

        async def fetch(digest: str) -> None:
            try:
                manifest = await manifests.fetch(self.registry, self.target.repository, digest)
            except InvalidReferenceError:
                return
            except RegistryError as error:
                if error.code in MISSING and digest in may_be_gone:
                    return
                gaps.append(_make_gap(f"the manifest {digest} cannot be read", error))
                return
            links = parse_links(manifest)
            if links is None:
                gaps.append(f"the manifest {digest} cannot be read")
            else:
                self._links[digest] = links

        await run_concurrently([one for one in digests if one not in self._links], fetch)


def parse_links(manifest: Manifest) -> Links | None:
    """Return the manifests that a manifest names; ``None`` if it is not a JSON object."""
    try:
        document = json.loads(manifest.content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    listed, subject = document.get("manifests"), _digest(document.get("subject"))
    if not isinstance(listed, list):
        return Links(None, subject)
    return Links(frozenset(found for one in listed if (found := _digest(one))), subject)


def _digest(part: object) -> str | None:
    digest = part.get("digest") if isinstance(part, dict) else None
    return digest if isinstance(digest, str) else None


def _make_gap(problem: str, error: RegistryError) -> str:
    """Describe a permanent failure as a gap; raise a temporary one again."""
    if error.retryable:
        raise error
    return f"{problem} ({error.code})"
