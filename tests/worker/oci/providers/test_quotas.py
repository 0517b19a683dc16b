"""The limits in responses of registries, as an attempt collects and reports them."""

from ipaddress import IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.oci.providers.quotas import QuotaLog, Source

HUB = "docker.io"
HOLDER, ANYBODY = (HUB, "alice"), (HUB, "")
IDS = {HOLDER: "registry-1"}
HEADERS = {
    "ratelimit-limit": "100;w=3600",
    "ratelimit-remaining": "42;w=3600",
    "docker-ratelimit-source": "192.0.2.1",
}
NOTHING = {
    "pulls": None,
    "source": None,
    "by_address": False,
    "limit": None,
    "remaining": None,
    "window_seconds": None,
    "refused": False,
    "retry_after_seconds": None,
    "age_seconds": 0.0,
}


def make_log(*moments: float) -> QuotaLog:
    """Make a log whose clock shows these moments, one after the other."""
    return QuotaLog(clock=iter(moments).__next__, registry_ids=IDS)


def test_a_limit_is_reported_with_its_age() -> None:
    log = make_log(10.0, 12.5)

    log.note(ANYBODY, 200, HEADERS)

    assert log.report() == [
        {
            "host": HUB,
            "registry_id": None,
            "pulls": None,
            "source": "192.0.2.1",
            "by_address": True,
            "limit": 100,
            "remaining": 42,
            "window_seconds": 3600,
            "refused": False,
            "retry_after_seconds": None,
            "age_seconds": 2.5,
        }
    ]


def test_the_newest_limit_of_each_login_is_reported_under_its_registry() -> None:
    log = make_log(0.0, 1.0, 2.0, 2.0)

    log.note(HOLDER, 200, HEADERS)
    log.note(ANYBODY, 200, {"ratelimit-limit": "10"})
    log.note(HOLDER, 200, {**HEADERS, "ratelimit-remaining": "41;w=3600"})

    found = [(one["registry_id"], one["remaining"]) for one in log.report()]
    assert found == [("registry-1", 41), (None, None)]


def test_a_refusal_without_a_limit_is_reported_after_the_limit_before_it() -> None:
    log = make_log(0.0, 1.0, 1.0)

    log.note(HOLDER, 200, HEADERS)
    log.note(HOLDER, 429, {}, 30.0)

    first, second = log.report()
    assert (first["remaining"], first["refused"], first["age_seconds"]) == (42, False, 1.0)
    expected = {"host": HUB, "registry_id": "registry-1", "refused": True}
    assert second == NOTHING | expected | {"retry_after_seconds": 30.0}


def test_the_most_pulls_that_were_expected_are_reported_with_what_was_observed() -> None:
    log = make_log(0.0, 0.0)

    for pulls in (2, 5, 3):
        log.expect(HOLDER, pulls)
    log.note(HOLDER, 200, HEADERS)

    [report] = log.report()
    assert (report["pulls"], report["remaining"]) == (5, 42)


def test_pulls_are_reported_where_nothing_was_observed() -> None:
    log = make_log(0.0)

    log.expect(HOLDER, 5)
    log.expect((HUB, "bob"), 7)

    assert log.report() == [{"host": HUB, "registry_id": "registry-1", "pulls": 5}]


def test_a_refusal_that_no_response_showed_is_that_of_the_only_login() -> None:
    log = make_log(0.0, 0.0)

    log.refuse(7.0)

    [report] = log.report()
    assert (report["registry_id"], report["refused"]) == ("registry-1", True)
    assert report["retry_after_seconds"] == 7.0


def test_a_refusal_of_one_of_several_logins_is_not_guessed() -> None:
    log = QuotaLog(registry_ids={**IDS, ("ghcr.io", "bob"): "registry-2"})

    log.refuse(7.0)

    assert log.report() == []


def test_a_refusal_that_a_response_showed_is_reported_once() -> None:
    log = make_log(0.0, 1.0)

    log.note(ANYBODY, 429, {}, 30.0)
    log.refuse(7.0)

    assert [one["retry_after_seconds"] for one in log.report()] == [30.0]


def test_a_success_after_a_refusal_takes_its_place() -> None:
    log = make_log(0.0, 1.0, 1.0)

    log.note(HOLDER, 429, {})
    log.note(HOLDER, 200, HEADERS)

    assert [one["refused"] for one in log.report()] == [False]


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_an_answer_without_a_limit_says_nothing(status: int) -> None:
    log = make_log(0.0, 1.0)

    log.note(HOLDER, status, {})

    assert log.report() == []


def test_a_login_of_no_stored_registry_is_not_reported() -> None:
    log = make_log(0.0, 1.0)

    log.note((HUB, "bob"), 200, HEADERS)

    assert log.report() == []


@pytest.mark.parametrize(
    ("text", "name", "is_address"),
    [
        (" 192.0.2.1 ", "192.0.2.1", True),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("7f3f1bb0-6f1a-4f8e-9d5e-0d5b7d0a3e11", "7f3f1bb0-6f1a-4f8e-9d5e-0d5b7d0a3e11", False),
        ("alice", "alice", False),
    ],
)
def test_a_source_is_an_account_or_an_address(text: str, name: str, *, is_address: bool) -> None:
    assert Source.parse(text) == Source(name, is_address)


@pytest.mark.parametrize("text", ["", "  ", "x" * 201])
def test_a_source_without_a_usable_name_is_unknown(text: str) -> None:
    assert Source.parse(text) is None


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_addresses_of_one_64_are_one_source(address: IPv6Address, host: int) -> None:
    network = ip_network((int(address), 64), strict=False)
    other = IPv6Address(int(network.network_address) + host)

    if not address.ipv4_mapped and not other.ipv4_mapped:
        assert Source.parse(str(address)) == Source.parse(str(other))


@given(st.text(max_size=300))
def test_any_header_is_read(text: str) -> None:
    log = make_log(0.0, 1.0)

    log.note(HOLDER, 429, dict.fromkeys(HEADERS, text))

    assert len(log.report()) == 1
