"""A mistyped host is met with the one that was probably meant, and no other is suggested."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.oci.providers.nearest import HOSTS, find_nearest, find_nearest_host


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gchr.io", "ghcr.io"),
        ("ghcr.oi", "ghcr.io"),
        ("dcoker.io", "docker.io"),
        ("quai.io", "quay.io"),
        ("registry.gitlab.co", "registry.gitlab.com"),
        ("myregistry.azurecr.oi", "myregistry.azurecr.io"),
        (
            "123456789012.dkr.ecr.eu-central-1.amazonaw.com",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
        ),
        ("registry.example.com", ""),
        ("registry.internal", ""),
        ("localhost", ""),
        ("", ""),
    ],
)
def test_a_host_that_is_spelled_alike_is_suggested(typed: str, meant: str) -> None:
    assert find_nearest_host(typed) == meant


@pytest.mark.parametrize("host", HOSTS)
def test_a_right_host_is_not_corrected(host: str) -> None:
    assert find_nearest_host(host) == ""


@given(st.text(), st.lists(st.text()))
def test_only_a_known_name_is_suggested_and_never_the_same(name: str, known: list[str]) -> None:
    found = find_nearest(name, known)

    assert not found or (found in known and found != name)
