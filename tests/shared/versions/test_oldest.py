"""The oldest PostgreSQL, Redis, Valkey and Engine that the product works with."""

import pytest

from shared.errors import SetupError
from shared.versions.oldest import (
    OLDEST_ENGINE_API,
    is_older,
    parse_hello,
    require_broker_version,
    require_postgres_version,
)

REDIS_7_0 = [b"server", b"redis", b"version", b"7.0.15", b"proto", 2, b"modules", []]


@pytest.mark.parametrize(("version", "shown"), [(140011, "14.11"), (90624, "9.624")])
def test_a_postgres_before_15_is_refused_by_its_version(version: int, shown: str) -> None:
    with pytest.raises(SetupError, match=shown) as refused:
        require_postgres_version(version)

    assert "15" in refused.value.remedy


@pytest.mark.parametrize("version", [150000, 150018, 180004])
def test_a_postgres_from_15_is_accepted(version: int) -> None:
    require_postgres_version(version)


def test_a_broker_answers_with_names_and_values_in_turn_or_as_a_map() -> None:
    assert parse_hello(REDIS_7_0)["version"] == "7.0.15"
    assert parse_hello({b"server": b"valkey", b"version": b"9.1.2"}) == {
        "server": "valkey",
        "version": "9.1.2",
    }
    assert parse_hello(b"OK") == {}


def test_a_redis_before_7_2_is_refused_by_its_version() -> None:
    with pytest.raises(SetupError, match=r"Redis 7\.0\.15") as refused:
        require_broker_version(parse_hello(REDIS_7_0))

    assert "7.2" in refused.value.remedy


@pytest.mark.parametrize(
    "hello",
    [
        {"server": "redis", "version": "7.2.4"},
        {"server": "redis", "version": "8.0.0"},
        {"server": "valkey", "version": "9.1.2"},
        {"server": "another", "version": "1.0"},
        {"server": "redis", "version": "unstable"},
        {},
    ],
)
def test_a_broker_that_is_new_enough_or_names_no_version_is_accepted(hello: dict[str, str]) -> None:
    require_broker_version(hello)


@pytest.mark.parametrize(
    ("version", "older"), [("1.40", True), ("1.41", False), ("1.51", False), ("x.y", True)]
)
def test_versions_are_compared_by_their_numbers(version: str, *, older: bool) -> None:
    assert is_older(version, OLDEST_ENGINE_API) is older
