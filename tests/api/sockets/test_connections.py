"""The connection that makes room, the one that is refused, the one that waited too long."""

from dataclasses import dataclass, field

import pytest

from api.sockets.connections import (
    Awaited,
    Connected,
    Connections,
    Patience,
    bound_connections,
)
from shared.networks import network_of

PATIENCE = Patience()


@dataclass(eq=False)
class Line(Connected):
    """A connection in a state of the test's choice."""

    address: str = "192.0.2.1"
    active_at: float = 0.0
    state: Awaited = Awaited.HEAD
    is_asking: bool = False
    ended: list[str] = field(default_factory=list)

    def awaited(self) -> Awaited:
        return self.state

    def has_request(self) -> bool:
        return self.is_asking

    def check(self, patience: Patience, now: float) -> bool:
        return patience.is_over(self.state, now - self.active_at, 0)

    def abort(self) -> None:
        self.ended.append("aborted")


def connect(connections: Connections, line: Line) -> bool:
    admitted = connections.admit(line.address)
    if admitted:
        connections.add(line)
    return admitted


def test_the_connection_of_which_nothing_moved_for_longest_makes_room() -> None:
    connections = Connections(limit=4, per_address=4)
    lines = [Line(active_at=float(age)) for age in (5, 1, 3, 4)]
    assert all(connect(connections, line) for line in lines)

    assert connect(connections, Line(active_at=9.0))

    assert [bool(line.ended) for line in lines] == [False, True, False, False]
    assert (connections.count, connections.evicted, connections.refused) == (4, 1, 0)


def test_a_connection_at_work_is_never_closed_to_make_room() -> None:
    connections = Connections(limit=3, per_address=3)
    lines = [Line(state=Awaited.NOTHING) for _ in range(3)]
    assert all(connect(connections, line) for line in lines)

    assert not connect(connections, Line())

    assert not any(line.ended for line in lines)
    assert (connections.count, connections.refused) == (3, 1)


def test_a_connection_whose_request_has_arrived_is_not_closed_to_make_room() -> None:
    connections = Connections(limit=2, per_address=2)
    asking, silent = Line(active_at=1.0, is_asking=True), Line(active_at=2.0)
    assert all(connect(connections, line) for line in (asking, silent))

    assert connect(connections, Line(active_at=3.0))

    assert (asking.ended, silent.ended) == ([], ["aborted"])


@pytest.mark.parametrize("state", [Awaited.BODY, Awaited.REST, Awaited.READER])
def test_a_connection_can_make_room_whatever_it_waits_for(state: Awaited) -> None:
    connections = Connections(limit=1, per_address=1)
    assert connect(connections, Line(state=state))

    assert connect(connections, Line())


def test_an_address_with_its_share_takes_room_from_itself_alone() -> None:
    connections = Connections(limit=10, per_address=2)
    other = Line(address="198.51.100.7", active_at=0.0)
    ours = [Line(active_at=float(age)) for age in (1, 2)]
    assert all(connect(connections, line) for line in (other, *ours))

    assert connect(connections, Line(active_at=3.0))

    assert not other.ended
    assert [bool(line.ended) for line in ours] == [True, False]


def test_an_address_whose_connections_are_all_at_work_is_refused_and_no_other_one() -> None:
    connections = Connections(limit=10, per_address=2)
    assert all(connect(connections, Line(state=Awaited.NOTHING)) for _ in range(2))

    assert not connect(connections, Line())
    assert connect(connections, Line(address="198.51.100.7"))


def test_a_connection_that_is_gone_counts_no_longer() -> None:
    connections = Connections(limit=1, per_address=1)
    line = Line(state=Awaited.NOTHING)
    assert connect(connections, line)

    connections.discard(line)
    connections.discard(line)

    assert connections.count == 0
    assert connect(connections, Line())


@pytest.mark.parametrize(
    ("awaited", "seconds", "moved_bytes", "over"),
    [
        (Awaited.HEAD, 9.9, 0, False),
        (Awaited.HEAD, 10.0, 9_999_999, True),
        (Awaited.REST, 10.0, 9_999_999, True),
        (Awaited.READER, 29.9, 0, False),
        (Awaited.READER, 30.0, 16_383, True),
        (Awaited.READER, 30.0, 16_384, False),
        (Awaited.BODY, 9999.0, 0, False),
        (Awaited.NOTHING, 9999.0, 0, False),
    ],
)
def test_a_client_has_its_time_for_each_act(
    awaited: Awaited, seconds: float, moved_bytes: int, *, over: bool
) -> None:
    assert PATIENCE.is_over(awaited, seconds, moved_bytes) is over


@pytest.mark.parametrize(
    ("files", "limit"), [(20_000, 4096), (1024, 720), (256, 144), (70, 16), (10, 16)]
)
def test_open_files_for_the_database_and_for_uploads_are_left_over(files: int, limit: int) -> None:
    assert bound_connections(4096, files) == limit


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", "testclient"),
    ],
)
def test_a_network_that_one_client_has_is_one_address(host: str, network: str) -> None:
    assert network_of(host) == network
