"""The ledger of pulls: rules that hold for any history, and the same rules in SQL."""

import random
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.shared.jobs import quotas
from tests.shared.jobs.quotas import Quota, Seen
from tests.world import World

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SEED = 20270139
MOMENTS = ("observed_at", "window_ends_at", "blocked_until")
HOUR = 3600

seconds = st.integers(-2 * HOUR, 2 * HOUR).map(lambda s: NOW + timedelta(seconds=s))
counts = st.none() | st.integers(0, 200)
rows = st.builds(
    Quota,
    observed_at=seconds,
    pull_limit=counts,
    remaining=counts,
    window_seconds=st.none() | st.integers(1, 6 * HOUR),
    window_ends_at=st.none() | seconds,
    blocked_until=st.none() | seconds,
    refusals=st.integers(0, 30),
)
observations = st.builds(
    Seen,
    limit=counts,
    remaining=counts,
    window_seconds=st.none() | st.integers(1, 6 * HOUR),
    refused=st.booleans(),
    retry_after_seconds=st.none() | st.integers(0, 2 * HOUR),
    age_seconds=st.integers(0, 60),
)
histories = st.lists(st.tuples(st.integers(0, 600), observations), max_size=12)


@given(rows, st.integers(0, 50))
def test_more_pulls_under_way_never_allow_more(quota: Quota, active: int) -> None:
    now, more = (quotas.available(quota, active + extra, NOW) for extra in (0, 1))

    assert (now is None) == (more is None)
    assert now is None or more is None or max(now - 1, 0) <= more <= now


@given(rows, st.integers(0, 50))
def test_a_blocked_quota_lets_one_pull_try_after_the_block(quota: Quota, active: int) -> None:
    found = quotas.available(quota, active, NOW)

    if quota.blocked_until is not None and quota.blocked_until > NOW:
        assert found == 0
    elif quota.blocked_until is not None:
        assert found == (0 if active else 1)


@given(histories)
def test_nothing_waits_for_ever(history: list[tuple[int, Seen]]) -> None:
    quota, at = Quota(NOW - timedelta(days=1)), NOW
    for passed, seen in history:
        at += timedelta(seconds=passed)
        quota = quotas.after(quota, seen, at)

    assert quota.blocked_until is None or quota.blocked_until <= at + timedelta(hours=2)
    later = quotas.available(quota, 0, at + timedelta(hours=7))
    used_up = quota.blocked_until is None and quota.pull_limit == 0
    assert later is None or later >= 1 or used_up


@given(rows, st.lists(observations, min_size=1, max_size=8))
def test_refusals_at_once_count_as_one(quota: Quota, seen: list[Seen]) -> None:
    after = quota
    for one in seen:
        refused = Seen(refused=True, retry_after_seconds=one.retry_after_seconds)
        after = quotas.after(after, refused, max(NOW, quota.observed_at))

    assert after.refusals <= min(quota.refusals + 1, 30)


@given(rows, observations)
def test_an_older_observation_changes_nothing(quota: Quota, seen: Seen) -> None:
    at = quota.observed_at - timedelta(seconds=1)

    assert quotas.after(quota, seen, at) == quota


@given(st.integers(1, 300), st.integers(1, HOUR), st.integers(0, 400), st.integers(1, 40))
def test_pulls_that_nobody_observed_never_exceed_the_limit(
    limit: int, window: int, used: int, more: int
) -> None:
    quota = quotas.after(
        Quota(NOW - timedelta(days=1)),
        Seen(limit=limit, remaining=max(limit - used, 0), window_seconds=window),
        NOW,
    )
    begun = used
    for _ in range(more):
        room = quotas.available(quota, 0, NOW)
        assert room is not None
        if room == 0:
            break
        begun += 1
        quota = quotas.spent(quota, 1, NOW)

    assert begun <= max(limit, used)


async def test_the_functions_do_what_the_model_does(world: World) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable
    cases = [(_random_row(chance), _random_seen(chance), chance.randrange(4)) for _ in range(400)]

    found = await world.rows(
        "SELECT to_jsonb(quota_after(q, c->'seen', %s)) AS after,"
        " to_jsonb(quota_spent(q, 1 + (c->>'active')::integer, %s)) AS spent,"
        " quota_available(q, (c->>'active')::integer, %s) AS available"
        " FROM jsonb_array_elements(%s) WITH ORDINALITY AS case_ (c, number)"
        " CROSS JOIN LATERAL jsonb_populate_record(NULL::registry_quota, c->'row') q"
        " ORDER BY number",
        *(NOW, NOW, NOW),
        Jsonb([{"row": _show(row), "seen": asdict(seen), "active": n} for row, seen, n in cases]),
    )

    for (row, seen, active), one in zip(cases, found, strict=True):
        assert _read(one["after"]) == quotas.after(row, seen, NOW), (row, seen)
        assert _read(one["spent"]) == quotas.spent(row, 1 + active, NOW), (row, active)
        assert one["available"] == quotas.available(row, active, NOW), (row, active)


@given(
    st.integers(1, 300), st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=30)
)
def test_the_ledger_follows_copies_that_tell_what_they_spent(
    limit: int, copies: list[tuple[int, int]]
) -> None:
    quota = quotas.after(
        Quota(NOW - timedelta(days=1)), Seen(limit=limit, remaining=limit, window_seconds=60), NOW
    )
    left = limit
    for reserved, spent in copies:
        room = quotas.available(quota, 0, NOW)
        assert room == max(left, 0)
        if room < reserved:
            break
        left -= spent
        quota = quotas.spent(quota, spent, NOW)


@given(
    st.lists(st.sampled_from("abc"), max_size=8),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 300)),
)
def test_a_repetition_reserves_all_it_needs_and_gives_nothing_back(
    keys: list[str], needed: dict[str, int]
) -> None:
    found = quotas.reserve(keys, needed)

    assert all(found.count(key) >= keys.count(key) for key in keys)
    assert all(found.count(key) >= min(pulls, 100) for key, pulls in needed.items())
    assert quotas.reserve(found, needed) == found


async def test_the_keys_of_a_repetition_are_those_of_the_model(world: World) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable
    cases = [
        (
            sorted(chance.choices("abc", k=chance.randrange(6))),
            {key: chance.choice([1, 2, 7, 300]) for key in chance.sample("abcd", 2)},
        )
        for _ in range(100)
    ]

    found = await world.rows(
        "SELECT quota_reserve(ARRAY(SELECT jsonb_array_elements_text(c->0))::varchar[], c->1)"
        " AS keys FROM jsonb_array_elements(%s) WITH ORDINALITY AS case_ (c, number)"
        " ORDER BY number",
        Jsonb(cases),
    )

    for (keys, needed), one in zip(cases, found, strict=True):
        assert sorted(one["keys"]) == quotas.reserve(keys, needed)


def _random_row(chance: random.Random) -> Quota:
    def moment() -> datetime:
        return NOW + timedelta(seconds=chance.choice([-HOUR, -30, -1, 0, 1, 30, HOUR]))

    return Quota(
        observed_at=moment(),
        pull_limit=chance.choice([None, 0, 10, 100]),
        remaining=chance.choice([None, 0, 1, 2, 50]),
        window_seconds=chance.choice([None, 2, HOUR, 6 * HOUR]),
        window_ends_at=chance.choice([None, moment(), moment()]),
        blocked_until=chance.choice([None, moment(), moment()]),
        refusals=chance.choice([0, 1, 5, 30]),
    )


def _random_seen(chance: random.Random) -> Seen:
    return Seen(
        limit=chance.choice([None, 0, 10, 100]),
        remaining=chance.choice([None, 0, 1, 2, 50]),
        window_seconds=chance.choice([None, 2, HOUR]),
        refused=chance.random() < 0.5,
        retry_after_seconds=chance.choice([None, 0, 7, 2 * HOUR]),
        age_seconds=chance.choice([0, 0, 3]),
    )


def _show(quota: Quota) -> dict[str, Any]:
    shown = asdict(quota)
    return shown | {name: shown[name] and shown[name].isoformat() for name in MOMENTS}


def _read(row: dict[str, Any]) -> Quota:
    known = {name: row[name] for name in Quota.__dataclass_fields__}
    moments = {name: known[name] and datetime.fromisoformat(known[name]) for name in MOMENTS}
    return Quota(**(known | moments))
