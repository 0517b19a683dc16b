"""Bytes, rate, time left and stalls, as pure functions of reports and their times."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from api.events.transfer import (
    ReportedLayer,
    ReportedTransfer,
    TransferShown,
    TransferWatch,
    parse_transfer,
)

MB = 1_000_000

layers = st.builds(
    ReportedLayer,
    id=st.sampled_from("abc"),
    state=st.sampled_from(["waiting", "moving", "retrying", "extracting", "present", "done"]),
    current_bytes=st.integers(0, 10**9),
    total_bytes=st.integers(0, 10**9),
)
moments = st.tuples(
    st.builds(ReportedTransfer, layers=st.lists(layers, max_size=4).map(tuple)),
    st.integers(0, 1),  # attempts that pass
    st.floats(0, 100),  # seconds that pass
)


def report(**current_bytes: int) -> ReportedTransfer:
    """Layers of a megabyte, on their way."""
    return ReportedTransfer(
        layers=tuple(
            ReportedLayer(id=name, state="moving", current_bytes=count, total_bytes=MB)
            for name, count in current_bytes.items()
        )
    )


def show_all(reports: list[tuple[ReportedTransfer, int, float]]) -> list[TransferShown]:
    watch, attempt, now, shown = TransferWatch(), 1, 0.0, []
    for transfer, attempts, seconds in reports:
        attempt, now = attempt + attempts, now + seconds
        watch.see(transfer, attempt, now)
        shown.append(watch.show(now))
    return shown


@given(st.lists(moments, min_size=2, max_size=20))
def test_bytes_never_fall_whatever_attempts_report(
    reports: list[tuple[ReportedTransfer, int, float]],
) -> None:
    shown = show_all(reports)

    for before, after in pairwise(shown):
        assert before.current_bytes <= after.current_bytes
        assert before.total_bytes <= after.total_bytes
        was = {layer.id: layer for layer in before.layers}
        for layer in after.layers:
            if layer.id in was:
                assert was[layer.id].current_bytes <= layer.current_bytes
                assert was[layer.id].total_bytes <= layer.total_bytes


@given(st.lists(moments, min_size=1, max_size=20))
@example([(report(a=0), 0, 0.0), (report(a=1), 0, 5e-324)])
def test_the_figures_of_a_transfer_are_consistent(
    reports: list[tuple[ReportedTransfer, int, float]],
) -> None:
    for shown in show_all(reports):
        assert shown.current_bytes == sum(layer.current_bytes for layer in shown.layers)
        assert all(layer.current_bytes <= layer.total_bytes for layer in shown.layers)
        assert shown.rate is None or shown.rate >= 0
        assert shown.seconds_left is None or shown.seconds_left >= 0
        assert shown.stalled is None or shown.stalled.seconds >= 30


def test_a_second_attempt_shows_what_the_first_had_reached() -> None:
    watch = TransferWatch()
    watch.see(report(a=700_000, b=100_000), attempt=1, now=0)
    watch.see(report(a=10_000), attempt=2, now=5)

    shown = watch.show(5)

    assert (shown.current_bytes, shown.total_bytes) == (800_000, 2 * MB)


def test_rate_and_time_left_are_those_of_the_bytes_that_really_move() -> None:
    watch = TransferWatch()
    watch.see(report(a=900_000), attempt=1, now=0)
    watch.see(report(a=0), attempt=2, now=100)
    for second in range(1, 6):
        watch.see(report(a=100_000 * second), attempt=2, now=100 + second)

    shown = watch.show(105)

    assert shown.current_bytes == 900_000
    assert shown.rate == 100_000
    assert shown.seconds_left == 5


def test_the_pace_of_looking_does_not_change_the_rate() -> None:
    often, seldom = TransferWatch(), TransferWatch()
    for tenth in range(101):
        often.see(report(a=tenth * 1000), attempt=1, now=tenth / 10)
    for tenth in range(0, 101, 50):
        seldom.see(report(a=tenth * 1000), attempt=1, now=tenth / 10)

    assert often.show(10).rate == seldom.show(10).rate == 10_000


def test_a_rate_dies_away_when_nothing_moves() -> None:
    watch = TransferWatch()
    for second in range(3):
        watch.see(report(a=second * 100_000), attempt=1, now=second)
    before = watch.show(2).rate
    watch.see(report(a=200_000), attempt=1, now=62)

    after = watch.show(62)

    assert before == 100_000
    assert after.rate == 1
    assert after.seconds_left is None or after.seconds_left > 100_000


def test_a_layer_without_a_byte_for_thirty_seconds_is_stalled() -> None:
    watch = TransferWatch()
    watch.see(report(a=1, b=1), attempt=1, now=0)
    watch.see(report(a=2, b=1), attempt=1, now=10)
    watch.see(report(a=3, b=1), attempt=1, now=29.9)
    early = watch.show(29.9)
    watch.see(report(a=3, b=1), attempt=1, now=30)
    late = watch.show(45.5)

    assert early.stalled is None
    assert late.stalled is not None
    assert late.stalled.model_dump() == {"layer": "b", "seconds": 45}


def test_a_layer_that_moves_again_is_no_longer_stalled() -> None:
    watch = TransferWatch()
    watch.see(report(a=1), attempt=1, now=0)
    watch.see(report(a=2), attempt=1, now=31)

    assert watch.show(31).stalled is None


def test_bytes_that_a_second_attempt_moves_again_count_as_moving() -> None:
    watch = TransferWatch()
    watch.see(report(a=900_000), attempt=1, now=0)
    watch.see(report(a=0), attempt=2, now=5)
    watch.see(report(a=5), attempt=2, now=20)

    assert watch.show(40).stalled is None
    assert watch.show(50).stalled is not None


def test_a_transfer_that_waits_or_is_done_is_not_stalled() -> None:
    watch = TransferWatch()
    still = [("a", "waiting"), ("b", "extracting"), ("c", "done"), ("d", "present")]
    layers = tuple(ReportedLayer(id=name, state=state, total_bytes=9) for name, state in still)
    watch.see(ReportedTransfer(layers=layers), attempt=1, now=0)

    assert watch.show(1000).stalled is None


def test_progress_that_is_no_transfer_is_recognized() -> None:
    assert parse_transfer(None) is None
    assert parse_transfer({"stage": "login"}) is None
    assert parse_transfer({"layers": [{"id": "a", "state": "moving", "current_bytes": -1}]}) is None
    assert parse_transfer({"layers": [{"id": "x" * 1000, "state": "moving"}]}) is None
    found = parse_transfer(
        {"layers": [{"id": "a", "state": "moving", "new": 1}], "current_bytes": 0}
    )
    assert found == ReportedTransfer(layers=(ReportedLayer(id="a", state="moving"),))


def test_a_worker_that_names_ever_new_layers_fills_no_memory() -> None:
    watch = TransferWatch()
    for number in range(1000):
        watch.see(report(**{f"layer{number}": 1}), attempt=1, now=number)

    assert len(watch.show(1000).layers) == 256
