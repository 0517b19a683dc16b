"""The ledger of pulls as pure functions: an oracle for ``quotas.sql``."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tests.shared.jobs.transitions import delay

LONGEST_PAUSE = timedelta(minutes=15)
WITHOUT_WINDOW = timedelta(minutes=1)
MOST_REFUSALS = 30
MOST_RESERVED = 100


@dataclass(frozen=True)
class Quota:
    """The known state of a registry's limit."""

    observed_at: datetime
    pull_limit: int | None = None
    remaining: int | None = None
    window_seconds: int | None = None
    window_ends_at: datetime | None = None
    blocked_until: datetime | None = None
    refusals: int = 0


@dataclass(frozen=True)
class Seen:
    """An observation of a worker, ``age_seconds`` ago."""

    limit: int | None = None
    remaining: int | None = None
    window_seconds: int | None = None
    refused: bool = False
    retry_after_seconds: int | None = None
    age_seconds: int = 0


def available(quota: Quota, active: int, at: datetime) -> int | None:
    """Return how many more pulls may start; ``None`` for any number."""
    if quota.blocked_until is not None:
        return 0 if quota.blocked_until > at else max(1 - active, 0)
    is_over = quota.window_ends_at is not None and quota.window_ends_at <= at
    left = quota.pull_limit if is_over else quota.remaining
    return None if left is None else max(left - active, 0)


def next_try(quota: Quota, at: datetime) -> datetime:
    """Return when one job tries after the last pull of a window."""
    if quota.window_seconds is None or quota.window_ends_at is None:
        return at + WITHOUT_WINDOW
    pause = min(timedelta(seconds=quota.window_seconds) / 4, LONGEST_PAUSE)
    return min(quota.window_ends_at, at + pause)


def after(quota: Quota, seen: Seen, at: datetime) -> Quota:
    """Return the row after an observation."""
    seen_at = at - timedelta(seconds=seen.age_seconds)
    if quota.observed_at > seen_at:
        return quota
    if seen.limit is not None:
        quota = _count(quota, seen, seen_at)
    quota = replace(quota, observed_at=seen_at)
    if seen.refused:
        return _refuse(quota, seen, at, seen_at)
    if quota.remaining == 0:
        return replace(quota, blocked_until=next_try(quota, at))
    return replace(quota, refusals=0, blocked_until=None)


def spent(quota: Quota, pulls: int, at: datetime) -> Quota:
    """Return the row after pulls whose worker saw nothing."""
    if quota.blocked_until is not None and quota.blocked_until <= at:
        return replace(quota, blocked_until=None, refusals=0, remaining=None, window_ends_at=None)
    if quota.window_ends_at is not None and quota.window_ends_at <= at:
        lasts = quota.window_seconds
        ends_at = at + timedelta(seconds=lasts) if lasts is not None else None
        quota = replace(quota, window_ends_at=ends_at, remaining=quota.pull_limit)
    if quota.remaining is not None:
        quota = replace(quota, remaining=max(quota.remaining - pulls, 0))
    if quota.remaining == 0 and quota.blocked_until is None:
        quota = replace(quota, blocked_until=next_try(quota, at))
    return quota


def reserve(keys: list[str], needed: dict[str, int]) -> list[str]:
    """Return the keys of a job after it has found out how often it needs some of them."""
    more = ([key] * (min(pulls, MOST_RESERVED) - keys.count(key)) for key, pulls in needed.items())
    return sorted([*keys, *(key for each in more for key in each)])


def _count(quota: Quota, seen: Seen, seen_at: datetime) -> Quota:
    is_same_window = (
        quota.window_ends_at is not None
        and quota.window_ends_at > seen_at
        and None not in (seen.remaining, quota.remaining, seen.window_seconds)
        and (seen.remaining or 0) <= (quota.remaining or 0)
        and (quota.pull_limit, quota.window_seconds) == (seen.limit, seen.window_seconds)
    )
    ends_at = quota.window_ends_at
    if not is_same_window:
        lasts = seen.window_seconds
        ends_at = None if lasts is None else seen_at + timedelta(seconds=lasts)
    return replace(
        quota,
        pull_limit=seen.limit,
        remaining=seen.remaining,
        window_seconds=seen.window_seconds,
        window_ends_at=ends_at,
    )


def _refuse(quota: Quota, seen: Seen, at: datetime, seen_at: datetime) -> Quota:
    asked = seen.retry_after_seconds
    pause = None if asked is None else timedelta(seconds=min(asked, 3600))
    if quota.blocked_until is not None and quota.blocked_until > at:
        until = max(quota.blocked_until, seen_at + (pause or timedelta()))
        return replace(quota, blocked_until=until)
    quota = replace(quota, refusals=min(quota.refusals + 1, MOST_REFUSALS))
    if pause is not None:
        until = at + max(pause, timedelta(seconds=1))
    elif quota.remaining == 0:
        until = next_try(quota, at)
    else:
        until = at + delay(quota.refusals - 1, 0.0)
    return replace(quota, blocked_until=until)
