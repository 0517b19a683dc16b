"""The use of a login follows from its refusals and successes alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.databases import Database
from worker.local.postgres import OWNER

BEGIN = datetime(2027, 1, 1, tzinfo=UTC)
SERVERS = ("first", "second", "third", "control")


@dataclass(frozen=True)
class Event:
    """The evidence of an attempt at its end; it started ``age`` before."""

    how: str
    server: str
    age: int = 0


events = st.builds(
    Event,
    st.sampled_from(("used", "accepted", "tested", "refused", "refused")),
    st.sampled_from(SERVERS),
    st.integers(0, 4),
)
histories = st.lists(events, max_size=12)
bounded = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True)
class Use:
    """The record of a login: when it was accepted, the refusals of servers, and the verdict."""

    accepted_at: float | None
    refusals: dict[str, Any]
    verdict: str

    @property
    def stopped(self) -> set[str]:
        return {server for server, refused in self.refusals.items() if refused["times"] >= 2}


@dataclass(frozen=True)
class Records:
    """The functions of the database."""

    connection: psycopg.Connection

    def after(self, history: Sequence[Event]) -> Use:
        """Record a history; the n-th event ends at second 2n, or one later if it is a refusal."""
        accepted: int | None = None
        refusals: dict[str, Any] = {}
        for number, event in enumerate(history, 1):
            at = ended(number) if event.how == "refused" else started(number, event)
            if event.how in {"accepted", "tested"}:
                accepted = max(at, accepted or 0)
            [refusals] = self._ask(
                "SELECT login_refusals_after(%s, %s, %s, %s, 'auth_bad_credentials', 'job')",
                *(Jsonb(refusals), event.how, event.server, BEGIN + timedelta(seconds=at)),
            )
        moment = None if accepted is None else BEGIN + timedelta(seconds=accepted)
        [verdict] = self._ask("SELECT login_verdict(%s, %s)", moment, Jsonb(refusals))
        return Use(accepted, refusals, verdict)

    def _ask(self, statement: str, *values: object) -> tuple[Any, ...]:
        row = self.connection.execute(statement.encode(), values).fetchone()
        assert row is not None
        return row


def ended(number: int) -> int:
    return 2 * number + 1


def started(number: int, event: Event) -> int:
    return max(2 * (number - event.age), 0)


@pytest.fixture(scope="module")
def records(shared_database: Database) -> Iterator[Records]:
    with psycopg.connect(shared_database.url(OWNER), autocommit=True) as connection:
        yield Records(connection)


@bounded
@given(histories)
def test_two_servers_refused_since_the_last_success_are_what_refuses_it(
    records: Records, history: list[Event]
) -> None:
    starts = [
        started(number, event)
        for number, event in enumerate(history, 1)
        if event.how in {"accepted", "tested"}
    ]
    refusing = {
        event.server
        for number, event in enumerate(history, 1)
        if event.how == "refused" and ended(number) > max(starts, default=0)
    }

    verdict = records.after(history).verdict

    if len(refusing) >= 2:
        assert verdict == "refused"
    elif refusing or not starts:
        assert verdict == "trial"
    else:
        assert verdict == "free"


@bounded
@given(histories)
def test_a_server_that_alone_is_refused_stops_nobody_else(
    records: Records, history: list[Event]
) -> None:
    alone = [event for event in history if event.how != "refused" or event.server == "first"]

    use = records.after(alone)

    assert use.verdict != "refused"
    assert use.stopped <= {"first"}


@bounded
@given(histories, st.sampled_from(SERVERS))
def test_a_later_test_that_succeeds_ends_all(
    records: Records, history: list[Event], server: str
) -> None:
    use = records.after([*history, Event("tested", server)])

    assert (use.verdict, use.refusals) == ("free", {})


@bounded
@given(histories, st.sampled_from(SERVERS))
def test_two_refusals_in_a_row_stop_a_server(
    records: Records, history: list[Event], server: str
) -> None:
    use = records.after([*history, Event("refused", server), Event("refused", server)])

    assert server in use.stopped
    assert use.verdict in {"trial", "refused"}


@bounded
@given(histories, st.sampled_from(SERVERS))
def test_a_later_success_frees_its_server(
    records: Records, history: list[Event], server: str
) -> None:
    use = records.after([*history, Event("accepted", server)])

    assert server not in use.stopped
    assert use.verdict == "free"
