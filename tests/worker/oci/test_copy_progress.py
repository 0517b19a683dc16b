"""What a reader sees of a copy."""

import json
from collections.abc import AsyncIterator

from tests.worker.oci.sample_images import LAYER
from worker.oci.copy_progress import STEP_BYTES, Tally
from worker.oci.registry.manifest import Descriptor
from worker.progress import MAX_LAYERS, LayerProgress, LayerState, TransferProgress


def blobs(number: int, size_bytes: int = 10) -> list[Descriptor]:
    return [Descriptor(LAYER, f"sha256:{index:064x}", size_bytes) for index in range(number)]


async def pieces(number: int, size_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"x" * size_bytes


async def test_every_change_of_state_is_told_and_every_mebibyte() -> None:
    seen: list[TransferProgress] = []
    (blob,) = blobs(1, 4 * STEP_BYTES)
    tally = Tally([blob], seen.append)

    tally.enter(blob, LayerState.MOVING)
    moved = [len(chunk) async for chunk in tally.count(blob, pieces(16, STEP_BYTES // 4))]
    tally.enter(blob, LayerState.DONE)

    assert sum(moved) == 4 * STEP_BYTES
    steps = [moment.current_bytes // STEP_BYTES for moment in seen]
    assert steps == [0, 1, 2, 3, 4, 4]
    assert seen[-1].layers == (
        LayerProgress("0" * 12, LayerState.DONE, 4 * STEP_BYTES, 4 * STEP_BYTES),
    )


def test_more_blobs_than_are_kept_are_shown_together() -> None:
    seen: list[TransferProgress] = []
    many = blobs(MAX_LAYERS + 10)
    tally = Tally(many, seen.append)

    for blob in many:
        tally.enter(blob, LayerState.DONE)

    shown = seen[-1].as_json()["layers"]
    assert isinstance(shown, list) and len(shown) == MAX_LAYERS
    assert "11 others" in json.dumps(shown[-1])
    assert sum(layer.total_bytes for layer in seen[-1].layers) == seen[-1].total_bytes
    assert seen[-1].is_last_step and not seen[-2].is_last_step
