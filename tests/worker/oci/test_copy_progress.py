"""The reported progress of a copy."""

import json
from collections.abc import AsyncIterator

from tests.worker.oci.sample_images import LAYER
from worker.oci.copy_progress import REPORT_INTERVAL_BYTES, CopyProgress
from worker.oci.registry.manifest import Descriptor
from worker.progress import MAX_LAYERS, LayerProgress, LayerState, TransferProgress


def blobs(number: int, size_bytes: int = 10) -> list[Descriptor]:
    return [Descriptor(LAYER, f"sha256:{index:064x}", size_bytes) for index in range(number)]


async def pieces(number: int, size_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"x" * size_bytes


async def test_a_copy_reports_every_change_of_state_and_every_mebibyte() -> None:
    seen: list[TransferProgress] = []
    (blob,) = blobs(1, 4 * REPORT_INTERVAL_BYTES)
    progress = CopyProgress([blob], seen.append)

    progress.set_state(blob, LayerState.MOVING)
    moved = [
        len(chunk)
        async for chunk in progress.count_moved(blob, pieces(16, REPORT_INTERVAL_BYTES // 4))
    ]
    progress.set_state(blob, LayerState.DONE)

    assert sum(moved) == 4 * REPORT_INTERVAL_BYTES
    steps = [moment.current_bytes // REPORT_INTERVAL_BYTES for moment in seen]
    assert steps == [0, 1, 2, 3, 4, 4]
    assert seen[-1].layers == (
        LayerProgress(
            "0" * 12, LayerState.DONE, 4 * REPORT_INTERVAL_BYTES, 4 * REPORT_INTERVAL_BYTES
        ),
    )


def test_blobs_beyond_the_limit_are_summed_up_in_one_layer() -> None:
    seen: list[TransferProgress] = []
    many = blobs(MAX_LAYERS + 10)
    progress = CopyProgress(many, seen.append)

    for blob in many:
        progress.set_state(blob, LayerState.DONE)

    shown = seen[-1].as_json()["layers"]
    assert isinstance(shown, list) and len(shown) == MAX_LAYERS
    assert "11 others" in json.dumps(shown[-1])
    assert sum(layer.total_bytes for layer in seen[-1].layers) == seen[-1].total_bytes
    assert seen[-1].is_last_step and not seen[-2].is_last_step
