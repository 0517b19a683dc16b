"""The choice of one of several accounts at a host: by the longest prefix, and who may use it."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from api.jobs.registry_choice import choose_registry
from shared.models import Registry
from shared.reference import Reference

HOST = "registry.example"
PARTS = st.sampled_from(["team", "app", "a", "ab"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
SERVERS = st.lists(st.sampled_from(["one", "two"]), unique=True)


def make(
    name: str,
    prefix: str | None,
    *,
    allowed_servers: Sequence[str] = (),
    allowed_applications: Sequence[str] = (),
) -> Registry:
    return Registry(
        registry_id=name,
        registry_name=name,
        image_prefix=prefix,
        username="alice",
        registry_url=HOST,
        registry_type="selfHosted",
        organization_id="ours",
        host=HOST,
        allowed_servers=list(allowed_servers),
        allowed_applications=list(allowed_applications),
    )


def choose(repository: str, *registries: Registry, must_fit: bool = True) -> str | None:
    reference = Reference(HOST, repository, "1")
    found = choose_registry(reference, registries, ["one"], must_fit=must_fit)
    return found.registry_id if found else None


def test_the_longest_prefix_that_fits_wins() -> None:
    stored = [make("all", None), make("team", "team/"), make("app", f"{HOST}/team/app")]

    assert choose("team/app", *stored) == "app"
    assert choose("team/app/part", *stored) == "app"
    assert choose("team/apple", *stored) == "team"
    assert choose("teams/app", *stored) == "all"


def test_without_a_prefix_that_fits_there_is_none_unless_any_will_do() -> None:
    stored = [make("first", "a"), make("second", "b")]

    assert choose("team/app", *stored) is None
    assert choose("team/app", *stored, must_fit=False) == "first"


def test_of_equal_ones_the_oldest_wins() -> None:
    assert choose("team/app", make("old", "team"), make("new", "team/")) == "old"


def test_what_may_not_be_used_here_is_not_chosen() -> None:
    elsewhere = make("elsewhere", "team/app", allowed_servers=["two"])
    others = make("others", "team/app", allowed_applications=["another"])

    assert choose("team/app", elsewhere, others, make("ours", "team")) == "ours"
    assert choose("team/app", elsewhere, others) is None
    reference = Reference(HOST, "team/app", "1")
    assert choose_registry(reference, [others], ["one"], "another") is others
    assert choose_registry(reference, [elsewhere], ["one", "two"]) is None
    assert choose_registry(reference, [elsewhere]) is None


def test_another_host_has_other_logins() -> None:
    assert (
        choose_registry(Reference("other.example", "team/app", "1"), [make("ours", None)]) is None
    )


@given(
    repository=PATHS,
    stored=st.lists(st.tuples(st.none() | PATHS, SERVERS), max_size=6),
    servers=SERVERS,
)
def test_the_choice_is_stable_fits_best_and_is_allowed(
    repository: str, stored: list[tuple[str | None, list[str]]], servers: list[str]
) -> None:
    registries = [
        make(str(number), prefix, allowed_servers=allowed)
        for number, (prefix, allowed) in enumerate(stored)
    ]
    reference = Reference(HOST, repository, "1")

    chosen = choose_registry(reference, registries, servers)

    fitting = [
        one
        for one in registries
        if (not one.image_prefix or f"{repository}/".startswith(f"{one.image_prefix}/"))
        and (not one.allowed_servers or (servers and set(servers) <= set(one.allowed_servers)))
    ]
    if chosen is None:
        assert not fitting
        return
    longest = max(len(one.image_prefix or "") for one in fitting)
    equals = [one for one in fitting if len(one.image_prefix or "") == longest]
    assert chosen is equals[0]
