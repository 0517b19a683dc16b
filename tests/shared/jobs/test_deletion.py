"""Nothing but our own tags ever disappears from a registry, whatever is in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.jobs.deletion import MAX_REASONS, Claim, Decision, Known, Observation, Outcome, decide
from shared.reference import Reference

DIGESTS = [f"sha256:{letter * 64}" for letter in "abcdef"]
IMAGE = Reference("registry.example", "team/app", digest=DIGESTS[0])
KINDS: list[Literal["point", "deployment", "application"]] = ["point", "deployment", "application"]
T = TypeVar("T")
TAGS = ["v1", "v2", "v3", "stable", "latest", f"sha256-{'a' * 64}", f"sha256-{'a' * 64}.sig"]


@dataclass
class Build:
    """A successful build of one of two applications; ``is_given_up`` with its rollback point."""

    build_id: str
    application: str
    digest: str
    tag: str
    is_given_up: bool


@dataclass
class Registry:
    """One repository, and who uses it: it deletes as the distribution specification says."""

    tags: dict[str, str]
    children: dict[str, frozenset[str]]
    subjects: dict[str, str]
    has_referrers: bool
    has_gap: bool
    manifests: set[str]
    builds: list[Build]
    others: list[Claim] = field(default_factory=list)

    @property
    def known(self) -> Known:
        """As control gathers it."""
        builds = [
            Claim(kind="build", name=each.build_id, build_id=each.build_id, tag=each.tag)
            for each in self.builds
            if each.digest == IMAGE.digest
        ]
        given_up = frozenset(each.build_id for each in self.builds if each.is_given_up)
        digests = {each.digest for each in self.builds if each.digest != IMAGE.digest}
        others = tuple(sorted(digests))
        return Known(claims=(*builds, *self.others), given_up=given_up, others=others)

    @property
    def look(self) -> Observation:
        """As a server gathers it: with a gap, half of the tags were not seen."""
        seen = dict(list(self.tags.items())[: len(self.tags) // 2]) if self.has_gap else self.tags
        referrers = [one for one, subject in self.subjects.items() if subject == IMAGE.digest]
        return Observation(
            is_there=IMAGE.digest in self.manifests,
            tags=seen,
            children=self.children,
            subjects={} if self.has_referrers else self.subjects,
            referrers=referrers if self.has_referrers else (),
            deletes_tags=self.has_referrers,
            gaps=("the repository's tags cannot be listed",) if self.has_gap else (),
        )

    def carry_out(self, decision: Decision) -> None:
        if decision.outcome is Outcome.DELETED:
            gone = {IMAGE.digest or "", *decision.attached}
            self.manifests -= gone
            self.tags = {tag: one for tag, one in self.tags.items() if one not in gone}
        for tag in decision.tags:
            del self.tags[tag]

    @property
    def own_tags(self) -> set[str]:
        """Return the tags that abandoned builds gave to the image, and nobody else did."""
        of_image = [each for each in self.builds if each.digest == IMAGE.digest]
        others = {each.tag for each in of_image if not each.is_given_up}
        others |= {claim.tag for claim in self.others if claim.tag}
        return {each.tag for each in of_image if each.is_given_up} - others


class RandomChoices:
    """Chooses by the bytes of a string, the first things by those that are over."""

    def __init__(self, content: bytes) -> None:
        self._bytes = iter(content)

    def number(self, most: int) -> int:
        return next(self._bytes, 0) % (most + 1)

    def one(self, things: Sequence[T]) -> T:
        return things[self.number(len(things) - 1)]

    def some(self, things: Sequence[T], most: int) -> list[T]:
        return [self.one(things) for _ in range(self.number(most))]


def make_registry(content: bytes) -> Registry:
    choose = RandomChoices(content)
    return Registry(
        tags={tag: choose.one(DIGESTS) for tag in choose.some(TAGS, 5)},
        children={one: frozenset(choose.some(DIGESTS, 2)) for one in choose.some(DIGESTS, 1)},
        subjects={one: choose.one(DIGESTS) for one in choose.some(DIGESTS, 1)},
        has_referrers=choose.one([False, True]),
        has_gap=choose.one([False, False, False, True]),
        manifests={DIGESTS[0], *choose.some(DIGESTS, 4)},
        builds=[
            Build(
                str(number),
                choose.one(["shop", "site"]),
                choose.one(DIGESTS),
                choose.one(TAGS[:4]),
                choose.one([True, True, False]),
            )
            for number in range(choose.number(3))
        ],
        others=[
            Claim(
                kind=choose.one(KINDS),
                name="a deployment of site",
                tag=choose.one([None, *TAGS[:4]]),
                build_id=choose.one([None, "0", "1"]),
                passes=choose.one([False, True]),
            )
            for _ in range(choose.one([0, 0, 0, 1]))
        ],
    )


registries = st.binary(min_size=50, max_size=50).map(make_registry)


def test_nothing_but_our_own_tags_disappears_and_what_can_be_deployed_stays() -> None:
    seen = set()

    @given(registries)
    @settings(max_examples=2000, deadline=None, database=None)
    def check(registry: Registry) -> None:
        seen.add(require_harmless(registry))

    check()

    # That a tag goes alone is rare among these, and has a test of its own.
    assert seen >= {Outcome.DELETED, Outcome.KEPT}


def require_harmless(registry: Registry) -> Outcome:
    """Decide, carry it out, and look at what was lost."""
    tags, manifests = dict(registry.tags), set(registry.manifests)

    decision = decide(IMAGE, registry.known, registry.look)
    registry.carry_out(decision)

    of_image = {f"sha256-{'a' * 64}", f"sha256-{'a' * 64}.sig"}
    gone = set(tags) - set(registry.tags)
    assert gone <= registry.own_tags | of_image
    assert all(tags[tag] == IMAGE.digest for tag in gone - of_image)
    referrers = {one for one, subject in registry.subjects.items() if subject == IMAGE.digest}
    belonging = {tags[tag] for tag in of_image & set(tags)} | referrers
    lost = manifests - registry.manifests
    assert lost <= {IMAGE.digest, *belonging}
    assert not (lost and IMAGE.digest in registry.manifests)
    assert not lost & {each.digest for each in registry.builds if not each.is_given_up}
    assert not (lost and registry.others)
    assert not lost & set(registry.tags.values())
    for parent, children in registry.children.items():
        if parent != tags.get(f"sha256-{'a' * 64}"):
            assert not lost & (children - {parent})
    assert not (registry.has_gap and (lost or gone))
    # A tag goes alone only where another one keeps the image.
    assert lost or not gone or IMAGE.digest in registry.tags.values()
    # What stays, stays for a reason.
    assert lost or decision.reasons
    return decision.outcome


@given(registries)
def test_the_decision_does_not_depend_on_the_order_in_which_things_were_found(
    registry: Registry,
) -> None:
    before = decide(IMAGE, registry.known, registry.look)

    registry.builds.reverse()
    if not registry.has_gap:
        registry.tags = dict(reversed(registry.tags.items()))

    after = decide(IMAGE, registry.known, registry.look)
    assert (after.outcome, after.tags) == (before.outcome, before.tags)


OWN = Claim(kind="build", name="build 1 of shop", build_id="1", tag="v1")
GIVEN_UP = Known(claims=(OWN,), given_up=frozenset({"1"}))
D = DIGESTS[0]
ATTACHED = f"sha256-{'a' * 64}"


def test_what_belongs_to_an_image_goes_with_it() -> None:
    tags = {
        "v1": D,
        f"{ATTACHED}.sig": DIGESTS[1],
        f"{ATTACHED}.sbom": DIGESTS[2],
        f"sha256-{'b' * 64}.sbom": DIGESTS[2],
        ATTACHED: DIGESTS[3],
    }
    look = Observation(
        is_there=True,
        tags=tags,
        children={DIGESTS[3]: frozenset({DIGESTS[4]})},
        subjects={DIGESTS[4]: D},
    )

    decision = decide(IMAGE, GIVEN_UP, look)

    # The SBOM is also another image's.
    assert decision == Decision(Outcome.DELETED, attached=(DIGESTS[1], DIGESTS[3], DIGESTS[4]))


def test_the_bytes_go_where_nothing_else_needs_them() -> None:
    look = Observation(
        is_there=True, tags={"v1": D, "v2": DIGESTS[1]}, children={DIGESTS[1]: frozenset()}
    )

    assert decide(IMAGE, GIVEN_UP, look) == Decision(Outcome.DELETED)


def test_a_missing_image_is_not_deleted() -> None:
    assert decide(IMAGE, GIVEN_UP, Observation(is_there=False)).outcome is Outcome.GONE


@pytest.mark.parametrize(
    ("known", "look", "reason"),
    [
        (
            GIVEN_UP,
            Observation(is_there=True, tags={"v1": D, "stable": D}),
            "the tag stable names it",
        ),
        (
            Known(claims=(OWN, Claim(kind="build", name="build 2 of shop", build_id="2"))),
            Observation(is_there=True),
            "build 1 of shop needs it",
        ),
        (
            GIVEN_UP,
            Observation(is_there=True, children={DIGESTS[1]: frozenset({D})}),
            f"the index {DIGESTS[1]} lists it",
        ),
        (
            GIVEN_UP,
            Observation(is_there=True, tags={"sbom": DIGESTS[1]}, subjects={DIGESTS[1]: D}),
            f"{DIGESTS[1]} refers to it",
        ),
        (
            GIVEN_UP,
            Observation(is_there=True, tags={"sbom": DIGESTS[2]}, referrers=(DIGESTS[2],)),
            f"{DIGESTS[2]} refers to it",
        ),
        (
            GIVEN_UP,
            Observation(is_there=True, tags={f"{ATTACHED}.other": DIGESTS[3]}),
            f"the tag {ATTACHED}.other refers to it",
        ),
        (
            GIVEN_UP,
            Observation(is_there=True, tags={ATTACHED: DIGESTS[3]}),
            f"the tag {ATTACHED} refers to it",
        ),
        (
            GIVEN_UP.model_copy(update={"others": (DIGESTS[2],)}),
            Observation(is_there=True, referrers=(DIGESTS[2],)),
            f"{DIGESTS[2]} refers to it",
        ),
        (
            GIVEN_UP,
            Observation(is_there=True, gaps=("its tags cannot be listed",)),
            "cannot be listed",
        ),
    ],
)
def test_the_bytes_stay_with_the_reason(known: Known, look: Observation, reason: str) -> None:
    decision = decide(IMAGE, known, look)

    assert decision.outcome is Outcome.KEPT
    assert reason in decision.reasons[0]


def test_a_point_of_a_build_that_was_given_up_elsewhere_still_needs_the_image() -> None:
    point = Claim(kind="point", name="a rollback point of shop", build_id="1", tag="v1")
    known = Known(claims=(OWN, point), given_up=frozenset({"1"}))
    look = Observation(is_there=True, tags={"v1": D, "stable": D}, deletes_tags=True)

    assert decide(IMAGE, known, look).outcome is Outcome.KEPT
    assert known.own_tags == frozenset()


def test_our_own_tag_goes_alone_only_where_another_one_keeps_the_image() -> None:
    claims = (OWN, Claim(kind="build", name="build 2 of shop", build_id="2", tag="v2"))
    known = Known(claims=claims, given_up=frozenset({"1"}))
    both = {"v1": D, "v2": D}

    stored = [
        decide(IMAGE, known, look)
        for look in (
            Observation(is_there=True, tags={"v1": D}, deletes_tags=True),
            Observation(is_there=True, tags=both, deletes_tags=False),
            Observation(
                is_there=True, tags=both, deletes_tags=True, gaps=("a tag cannot be read",)
            ),
            Observation(is_there=True, tags={"v1": DIGESTS[1], "v2": D}, deletes_tags=True),
        )
    ]
    alone = decide(IMAGE, known, Observation(is_there=True, tags=both, deletes_tags=True))

    assert [each.outcome for each in stored] == [Outcome.KEPT] * 4
    assert (alone.outcome, alone.tags) == (Outcome.UNTAGGED, ("v1",))


def test_many_reasons_are_shown_as_some() -> None:
    tags = {f"tag-{number}": D for number in range(50)}

    assert (
        len(decide(IMAGE, GIVEN_UP, Observation(is_there=True, tags=tags)).reasons) == MAX_REASONS
    )


def test_the_usage_from_the_database_is_serialized_whole() -> None:
    known = GIVEN_UP.model_copy(update={"others": (DIGESTS[1],)})

    assert Known.model_validate(known.model_dump(mode="json")) == known
