"""Remedies in a provider's terms, and the limits that its headers tell."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.faults import FAULTS, FaultCode
from worker.oci.providers.rate_limit import RateLimit
from worker.oci.providers.remedies import REMEDIES, WORD_RULES, WordRule, find_remedy

GHCR = "ghcr.io"


@pytest.mark.parametrize("rule", WORD_RULES, ids=lambda rule: rule.pattern)
def test_each_rule_reads_its_example_and_no_other_one(rule: WordRule) -> None:
    found = find_remedy(GHCR, FaultCode.PUSH_DENIED, rule.example.encode())

    assert found == rule.remedy
    assert find_remedy("registry.example", FaultCode.PUSH_DENIED, rule.example.encode()) == ""


def test_a_provider_says_something_else_than_the_table_of_all_faults() -> None:
    for remedies in REMEDIES.values():
        for code, remedy in remedies.items():
            assert remedy.endswith(".")
            assert remedy != FAULTS[code].remedy


def test_a_registry_of_ones_own_has_no_terms_of_a_provider() -> None:
    assert all(find_remedy("registry.example:5000", code) == "" for code in FaultCode)


@pytest.mark.parametrize(
    ("host", "location"),
    [("gcr.io", "us"), ("us.gcr.io", "us"), ("eu.gcr.io", "europe"), ("asia.gcr.io", "asia")],
)
def test_a_missing_repository_of_container_registry_is_explained(host: str, location: str) -> None:
    remedy = find_remedy(host, FaultCode.REPO_MISSING)

    assert f"create {host} --repository-format=docker --location={location}" in remedy


def test_a_role_that_a_registry_of_azure_does_not_honour_is_named() -> None:
    for code, role in ((FaultCode.PUSH_DENIED, "Writer"), (FaultCode.PULL_DENIED, "Reader")):
        remedy = find_remedy("myregistry.azurecr.io", code)
        assert "not honoured" in remedy
        assert remedy.endswith(f"Container Registry Repository {role}.")


@pytest.mark.parametrize(
    ("limit", "remaining", "shown"),
    [
        ("100;w=21600", "76;w=21600", "76 of 100 pulls in 6 h are left"),
        ("100;w=3600", "0;w=3600", "0 of 100 pulls in 1 h are left"),
        ("200;w=90", "199;w=90", "199 of 200 pulls in 90 s are left"),
        ("5000;w=86400", "", "the limit is 5000 pulls in 1 d"),
        ("100", "99", "99 of 100 pulls are left"),
        ("100", "99;w=60", "99 of 100 pulls in 1 min are left"),
    ],
)
def test_a_limit_is_shown_with_its_own_window(limit: str, remaining: str, shown: str) -> None:
    found = RateLimit.parse({"ratelimit-limit": limit, "ratelimit-remaining": remaining})

    assert str(found) == shown


@pytest.mark.parametrize("value", ["", "many", "-1;w=60", "100;w=", "100;x=1", "9" * 20])
def test_a_header_of_another_form_tells_no_limit(value: str) -> None:
    assert RateLimit.parse({"ratelimit-limit": value}) is None


@given(st.integers(0, 10**9 - 1), st.integers(1, 10**9 - 1), st.text(max_size=12))
def test_a_window_is_never_assumed(count: int, seconds: int, rest: str) -> None:
    found = RateLimit.parse(
        {"ratelimit-limit": f"{count};w={seconds}", "ratelimit-remaining": rest}
    )

    assert found is not None
    assert (found.limit, found.window) == (count, timedelta(seconds=seconds))
    assert str(found)
