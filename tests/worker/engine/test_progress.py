"""The progress summed over an Engine's lines."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from worker.engine.progress import ProgressSum
from worker.progress import MAX_LAYERS, LayerState

STATUSES = [
    "Pulling fs layer",
    "Waiting",
    "Downloading",
    "Pushing",
    "Verifying Checksum",
    "Download complete",
    "Extracting",
    "Pull complete",
    "Pushed",
    "Already exists",
    "Layer already exists",
    "Mounted from team/app",
    "Retrying in 5 seconds",
    "Pulling from team/app",
    "nonsense",
]
counts = st.one_of(st.none(), st.integers(-5, 1 << 62), st.floats(), st.text(max_size=2))
details: st.SearchStrategy[JsonValue] = st.one_of(
    st.none(),
    st.just("x"),
    st.fixed_dictionaries({}, optional={"current": counts, "total": counts}),
)
lines = st.fixed_dictionaries(
    {"status": st.one_of(st.sampled_from(STATUSES), st.integers())},
    optional={"id": st.one_of(st.sampled_from("abcd"), st.integers()), "progressDetail": details},
)


def line(name: str, status: str, current: int = 0, total: int = 0) -> dict[str, JsonValue]:
    detail: JsonValue = {"current": current, "total": total} if total else {}
    return {"id": name, "status": status, "progressDetail": detail}


@given(st.lists(lines, max_size=40))
def test_bytes_never_decrease_and_never_exceed_the_total(fed: list[dict[str, JsonValue]]) -> None:
    progress = ProgressSum()
    moments = [progress.snapshot()]
    for each in fed:
        progress.feed(each)
        moments.append(progress.snapshot())

    for before, after in pairwise(moments):
        assert after.current_bytes >= before.current_bytes
        assert after.total_bytes >= before.total_bytes
    for layer in moments[-1].layers:
        assert 0 <= layer.current_bytes <= layer.total_bytes
    assert json.loads(json.dumps(moments[-1].as_json())) == moments[-1].as_json()


def test_a_pull_counts_only_the_download() -> None:
    progress = ProgressSum()
    for each in (
        line("2", "Pulling from team/app"),
        line("aa", "Pulling fs layer"),
        line("bb", "Already exists"),
        line("aa", "Downloading", 40, 100),
        line("aa", "Download complete"),
        line("aa", "Extracting", 10, 100),
    ):
        progress.feed(each)

    moment = progress.snapshot()

    assert [(layer.id, layer.state) for layer in moment.layers] == [
        ("aa", LayerState.EXTRACTING),
        ("bb", LayerState.PRESENT),
    ]
    assert (moment.current_bytes, moment.total_bytes) == (100, 100)


def test_a_push_that_reports_more_than_its_total_is_clamped() -> None:
    progress = ProgressSum()

    progress.feed(line("aa", "Pushing", 120, 100))

    assert progress.snapshot().current_bytes == 100


def test_a_retry_does_not_decrease_the_bytes() -> None:
    progress = ProgressSum()
    progress.feed(line("aa", "Downloading", 70, 100))
    progress.feed(line("aa", "Retrying in 5 seconds"))
    retrying = progress.snapshot().layers[0]
    progress.feed(line("aa", "Downloading", 1, 100))

    assert retrying.state is LayerState.RETRYING
    assert progress.snapshot().current_bytes == 70


def test_a_line_without_a_change_is_reported_as_such() -> None:
    progress = ProgressSum()

    assert progress.feed(line("aa", "Waiting"))
    assert not progress.feed(line("aa", "Waiting"))
    assert not progress.feed({"status": "Digest: sha256:…"})


def test_layers_are_counted_up_to_a_limit() -> None:
    progress = ProgressSum()
    for number in range(MAX_LAYERS + 50):
        progress.feed(line(f"{number:012x}", "Downloading", 1, 1))

    assert len(progress.snapshot().layers) == progress.snapshot().total_bytes == MAX_LAYERS


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        ([], LayerState.EXTRACTING),
        (["Waiting", "Already exists"], LayerState.WAITING),
        (["Downloading", "Extracting", "Waiting"], LayerState.MOVING),
        (["Retrying in 5 seconds", "Pull complete"], LayerState.RETRYING),
        (["Extracting", "Pull complete"], LayerState.EXTRACTING),
        (["Already exists", "Pull complete"], LayerState.EXTRACTING),
    ],
)
def test_an_image_is_one_layer_of_a_larger_transfer(statuses: list[str], state: LayerState) -> None:
    transfer = ProgressSum()
    for number, status in enumerate(statuses):
        transfer.feed(line(str(number), "Downloading", 40, 100))
        transfer.feed(line(str(number), status))

    shown = transfer.snapshot().as_layer("web")

    assert (shown.id, shown.state) == ("web", state)
    assert shown.total_bytes == 100 * len(statuses)


def test_the_last_step_begins_when_every_layer_has_arrived() -> None:
    transfer = ProgressSum()
    before = transfer.snapshot().is_last_step
    transfer.feed({"id": "a", "status": "Layer already exists"})
    transfer.feed({"id": "b", "status": "Pushing"})
    moving = transfer.snapshot().is_last_step
    transfer.feed({"id": "b", "status": "Pushed"})

    assert (before, moving, transfer.snapshot().is_last_step) == (False, False, True)
