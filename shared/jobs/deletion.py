"""Decide whether an image is deleted from its registry, in one pure function.

```text
control:  the database's rows ───────► Known ───────┐
                                                    ├─► decide ─► deleted | untagged | kept | gone
a server: the registry's answers ────► Observation ─┘
```

Bytes are deleted only if nothing else needs them. Anything that could not be read counts as a need.
Signatures, SBOMs and attestations do not need their image: they are deleted with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.reference import Reference, make_attachments_tag

MAX_TAGS = 2000
"""The limit of a repository's tags; with more, nothing is deleted."""

MAX_KNOWN = 500
"""The limit of further images of a repository in the database; with more, nothing is deleted."""

MAX_REFERRERS = 500
"""The limit of an image's referrers; with more, nothing is deleted."""

MAX_REASONS = 10

ATTACHMENT_SUFFIXES = ("", ".sig", ".att", ".sbom")
"""What follows an image's digest in the tags of what belongs to it. Without a suffix: the index of
its referrers (OCI distribution 1.1, "Referrers Tag Schema"); the others are cosign's."""


class Claim(BaseModel):
    """A row of the database that needs an image in a repository.

    ``name`` is for messages; ``tag`` is its own tag there. A claim that ``passes`` ends by itself:
    the deletion waits for that.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["build", "point", "deployment", "application", "bound"]
    name: str
    build_id: str | None = None
    tag: str | None = None
    passes: bool = False


class Known(BaseModel):
    """The database's knowledge about the image that is to be deleted.

    ``given_up`` are the builds whose rollback points were dropped: they no longer need the image.
    ``others`` are the digests of further images in the repository, which may be an index of it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    claims: tuple[Claim, ...] = ()
    given_up: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[Claim, ...]:
        """Return the claims that still need the image."""
        return tuple(claim for claim in self.claims if not self._is_given_up(claim))

    @property
    def passing(self) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.needs if claim.passes)

    @property
    def own_tags(self) -> frozenset[str]:
        """Return the tags of given-up builds that no other claim has."""
        given_up = {claim.tag for claim in self.claims if self._is_given_up(claim)}
        others = {claim.tag for claim in self.needs}
        return frozenset(tag for tag in given_up - others if tag is not None)

    def _is_given_up(self, claim: Claim) -> bool:
        return claim.kind == "build" and claim.build_id in self.given_up


@dataclass(frozen=True)
class Observation:
    """The facts about a repository that its registry reports.

    ``tags`` are digests by tag. ``children`` are the manifests that each index lists, ``subjects``
    the subject of each manifest. ``referrers`` is the answer of the registry's referrers API.
    ``gaps`` name what could not be read.
    """

    is_there: bool
    tags: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, frozenset[str]] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    referrers: Sequence[str] = ()
    deletes_tags: bool = False
    gaps: Sequence[str] = ()


class Outcome(StrEnum):
    """The decision about an image.

    ``untagged``: only our own tags are deleted. ``gone``: the image was not there.
    """

    DELETED = "deleted"
    UNTAGGED = "untagged"
    KEPT = "kept"
    GONE = "gone"


@dataclass(frozen=True)
class Decision:
    """The decision; ``tags`` are to be deleted alone; ``reasons`` are why the bytes stay.

    ``attached`` are the digests of the manifests that are to be deleted with the image.
    """

    outcome: Outcome
    tags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()


def decide(image: Reference, known: Known, observed: Observation) -> Decision:
    """Decide to delete the bytes, only our own tags, or nothing.

    A tag is deleted alone only if another tag still names the image: many registries delete images
    without a tag.
    """
    digest = image.digest or ""
    if not observed.is_there:
        return Decision(Outcome.GONE)
    attached = _Attached(digest, known, observed)
    reasons = [*_reasons(digest, known, observed), *attached.reasons()]
    if not reasons:
        return Decision(Outcome.DELETED, attached=attached.deletable())
    own, others = _split(digest, known, observed)
    shown = tuple(reasons[:MAX_REASONS])
    if own and others and observed.deletes_tags and not observed.gaps:
        return Decision(Outcome.UNTAGGED, own, shown)
    return Decision(Outcome.KEPT, (), shown)


def _split(
    digest: str, known: Known, observed: Observation
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tags that name the image: our own, and all others."""
    naming = sorted(tag for tag, named in observed.tags.items() if named == digest)
    own = known.own_tags
    return (
        tuple(tag for tag in naming if tag in own),
        tuple(tag for tag in naming if tag not in own),
    )


def _reasons(digest: str, known: Known, observed: Observation) -> Iterator[str]:
    for claim in known.needs:
        yield f"{claim.name} needs it"
    yield from observed.gaps
    _, others = _split(digest, known, observed)
    for tag in others:
        yield f"the tag {tag} names it"
    for index, children in observed.children.items():
        if digest in children and index != digest:
            yield f"the index {index} lists it"


class _Attached:
    """What belongs to an image: manifests under the tags of its digest, and its referrers."""

    def __init__(self, digest: str, known: Known, observed: Observation) -> None:
        self._digest = digest
        self._others = frozenset(known.others)
        self._observed = observed
        self._prefix = make_attachments_tag(digest)
        self._tags = {tag: observed.tags.get(tag) for tag in _attachment_tags(self._prefix)}
        found = (key for key, subject in observed.subjects.items() if subject == digest)
        self._referrers = tuple(dict.fromkeys([*observed.referrers, *found]))

    def reasons(self) -> Iterator[str]:
        """Yield why the image stays: something that belongs to it has a use of its own."""
        for referrer in self._referrers:
            if self._is_used_otherwise(referrer):
                yield f"{referrer} refers to it"
        for tag in sorted(self._observed.tags):
            if tag.startswith(self._prefix) and not self._is_attachment(tag):
                yield f"the tag {tag} refers to it"

    def deletable(self) -> tuple[str, ...]:
        """Return the manifests that nothing else needs."""
        tagged = (one for tag, one in self._tags.items() if one and self._is_attachment(tag))
        found = dict.fromkeys([*self._referrers, *tagged])
        return tuple(sorted(one for one in found if not self._is_used_otherwise(one)))

    def _is_attachment(self, tag: str) -> bool:
        """Return whether a tag is one of those; the one without suffix has to name an index."""
        named = self._tags.get(tag)
        return named is not None and (tag != self._prefix or named in self._observed.children)

    def _is_used_otherwise(self, manifest: str) -> bool:
        if manifest == self._digest or manifest in self._others:
            return True
        is_tagged = any(
            one == manifest and tag not in self._tags for tag, one in self._observed.tags.items()
        )
        own_index = self._tags.get(self._prefix)
        is_listed = any(
            manifest in children and index not in {manifest, own_index}
            for index, children in self._observed.children.items()
        )
        return is_tagged or is_listed


def _attachment_tags(start: str) -> tuple[str, ...]:
    return tuple(f"{start}{suffix}" for suffix in ATTACHMENT_SUFFIXES) if start else ()
