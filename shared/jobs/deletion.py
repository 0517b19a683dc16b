"""Decide whether an image is deleted from its registry, in one pure function.

```text
control:  what the database says ─► Claim ─┐
                                           ├─► decide ─► deleted | untagged | kept | gone
a server: what the registry says ─► Look ──┘
```

Bytes go only where nothing else needs them. What could not be looked at counts as a need.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.reference import Reference

MAX_TAGS = 2000
"""Tags of a repository that are looked at; where there are more, nothing is deleted."""

MAX_KNOWN = 500
"""Images of a repository that the database may know besides; where there are more, likewise."""

MAX_REASONS = 10


class Claim(BaseModel):
    """A row of the database that needs an image at one place of a registry.

    ``name`` is what a person calls it; ``tag`` is its own tag there. A claim that ``passes`` ends
    by itself: the deletion waits for that.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["build", "point", "deployment", "application", "bound"]
    name: str
    build_id: str | None = None
    tag: str | None = None
    passes: bool = False


class Known(BaseModel):
    """Everything that the database says about the image that is to be deleted.

    ``given_up`` are the builds whose rollback points were dropped: they need the image no more.
    ``others`` are the digests of further images in the repository, which may be an index of it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    claims: tuple[Claim, ...] = ()
    given_up: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[Claim, ...]:
        """The claims that count."""
        return tuple(claim for claim in self.claims if not self._is_given_up(claim))

    @property
    def passing(self) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.needs if claim.passes)

    @property
    def own_tags(self) -> frozenset[str]:
        """The tags of given-up builds, without those that another claim has too."""
        given_up = {claim.tag for claim in self.claims if self._is_given_up(claim)}
        others = {claim.tag for claim in self.needs}
        return frozenset(tag for tag in given_up - others if tag is not None)

    def _is_given_up(self, claim: Claim) -> bool:
        return claim.kind == "build" and claim.build_id in self.given_up


@dataclass(frozen=True)
class Observation:
    """The facts about a repository that its registry reports.

    ``tags`` are digests by tag; ``children`` and ``subjects`` are what each manifest lists and
    refers to; ``referrers`` is the registry's own answer. ``gaps`` say what could not be seen.
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

    ``untagged``: our own tags go, the bytes stay. ``gone``: there was nothing to delete.
    """

    DELETED = "deleted"
    UNTAGGED = "untagged"
    KEPT = "kept"
    GONE = "gone"


@dataclass(frozen=True)
class Decision:
    """``tags`` are those to be deleted by themselves; ``reasons`` say why the bytes stay."""

    outcome: Outcome
    tags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def decide(image: Reference, known: Known, look: Observation) -> Decision:
    """Delete the bytes, our own tags alone, or nothing.

    A tag goes alone only where another one keeps naming the image: many registries collect what
    has no tag.
    """
    digest = image.digest or ""
    if not look.is_there:
        return Decision(Outcome.GONE)
    reasons = list(_reasons(digest, known, look))
    if not reasons:
        return Decision(Outcome.DELETED)
    own, others = _split(digest, known, look)
    shown = tuple(reasons[:MAX_REASONS])
    if own and others and look.deletes_tags and not look.gaps:
        return Decision(Outcome.UNTAGGED, own, shown)
    return Decision(Outcome.KEPT, (), shown)


def _split(digest: str, known: Known, look: Observation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tags that name the image: our own, and all others."""
    naming = sorted(tag for tag, named in look.tags.items() if named == digest)
    own = known.own_tags
    return (
        tuple(tag for tag in naming if tag in own),
        tuple(tag for tag in naming if tag not in own),
    )


def _reasons(digest: str, known: Known, look: Observation) -> Iterator[str]:
    for claim in known.needs:
        yield f"{claim.name} needs it"
    yield from look.gaps
    _, others = _split(digest, known, look)
    for tag in others:
        yield f"the tag {tag} names it"
    for index, children in look.children.items():
        if digest in children and index != digest:
            yield f"the index {index} lists it"
    referrers = [*look.referrers, *(who for who, what in look.subjects.items() if what == digest)]
    for referrer in dict.fromkeys(referrers):
        yield f"{referrer} refers to it"
    # Signatures and referrers of registries without the referrers API (OCI distribution 1.1,
    # "Referrers Tag Schema"; cosign).
    for tag in sorted(look.tags):
        if digest and tag.startswith(digest.replace(":", "-")):
            yield f"the tag {tag} refers to it"
