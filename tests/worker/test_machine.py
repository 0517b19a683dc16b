import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.transport.connection import Engine
from worker.machine import SLOWEST_SECONDS, Clock, describe_machine


async def test_an_engine_that_is_away_has_no_description() -> None:
    async with Engine.open("unix:///nowhere/docker.sock") as engine:
        assert await describe_machine(engine) == {}


@given(
    ahead=st.floats(-1e6, 1e6),
    there=st.floats(0, SLOWEST_SECONDS / 2),
    back=st.floats(0, SLOWEST_SECONDS / 2),
)
def test_a_clock_is_compared_to_half_of_the_round_trip(
    ahead: float, there: float, back: float
) -> None:
    clock, theirs = Clock(), 1_700_000_000.0

    clock.compare(theirs - there + ahead, theirs + back + ahead, theirs)

    assert clock.ahead is not None
    assert abs(clock.ahead - ahead) <= (there + back) / 2 + 0.01


@pytest.mark.parametrize(
    ("answered", "theirs"), [(1000 + 2 * SLOWEST_SECONDS, 1000.0), (999.0, 1000.0), (1000.1, None)]
)
def test_an_imprecise_exchange_changes_nothing(answered: float, theirs: float | None) -> None:
    clock = Clock(ahead=1.5)

    clock.compare(1000, answered, theirs)

    assert clock.ahead == 1.5
