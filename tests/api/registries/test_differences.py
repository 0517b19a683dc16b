"""A matrix says in words from which servers a registry works, and why not from the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.registries.differences import MAX_NAMES, Check, describe_differences
from shared.jobs.states import State

GOOD, BAD = State.SUCCEEDED, State.FAILED


def of(server: str, code: str | None = None, registry: str = "ghcr") -> Check:
    return Check(registry, server, BAD if code else GOOD, code)


def test_the_server_that_does_not_trust_the_ca_is_named() -> None:
    found = describe_differences([of("A"), of("B"), of("C", "tls_unknown_ca")])

    assert found == ["ghcr works from A and B, not from C: C does not trust the CA."]


def test_each_failing_server_has_its_own_reason() -> None:
    found = describe_differences([of("A"), of("B", "dns_not_found"), of("C", "no_such_code")])

    reasons = "B does not find the name and C fails with no_such_code."
    assert found == [f"ghcr works from A, not from B and C: {reasons}"]


@pytest.mark.parametrize(
    "tests", [[], [of("A"), of("B")], [of("A", "dns_not_found"), of("B", "dns_not_found")]]
)
def test_a_registry_that_is_the_same_everywhere_needs_no_words(tests: list[Check]) -> None:
    assert describe_differences(tests) == []


def test_registries_are_told_apart() -> None:
    tests = [of("A"), of("B", "conn_timeout"), of("A", "conn_timeout", "hub"), of("B", None, "hub")]

    assert describe_differences(tests) == [
        "ghcr works from A, not from B: B gets no answer.",
        "hub works from B, not from A: A gets no answer.",
    ]


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_sentence_names_few_servers(good: int, bad: int) -> None:
    tests = [of(f"good-{n}") for n in range(good)]
    tests += [of(f"bad-{n}", "conn_timeout") for n in range(bad)]

    [found] = describe_differences(tests)

    assert found.count("good-") == min(good, MAX_NAMES)
    assert found.count("bad-") == 2 * min(bad, MAX_NAMES)
    assert (f"{good - MAX_NAMES} more" in found) or good <= MAX_NAMES
