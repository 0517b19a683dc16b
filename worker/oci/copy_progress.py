"""How far a copy is, added up blob by blob."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import replace

from worker.oci.registry.manifest import Descriptor
from worker.progress import MAX_LAYERS, LayerProgress, LayerState, TransferProgress

STEP_BYTES = 1024 * 1024
"""Fewer are not worth a word."""

SHORT = slice(len("sha256:"), len("sha256:") + 12)


class Tally:
    """Tells ``on_progress`` of every change of state, and of every mebibyte that moved."""

    def __init__(
        self, blobs: Sequence[Descriptor], on_progress: Callable[[TransferProgress], None]
    ) -> None:
        self._on_progress = on_progress
        self._untold_bytes = 0
        self._layers = {
            blob.digest: LayerProgress(
                blob.digest[SHORT], LayerState.WAITING, total_bytes=blob.size_bytes
            )
            for blob in blobs
        }

    def enter(self, blob: Descriptor, state: LayerState) -> None:
        """Note what a blob does now."""
        self._layers[blob.digest] = replace(self._layers[blob.digest], state=state)
        self._tell()

    async def count(self, blob: Descriptor, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The same chunks, counted as moved."""
        async for chunk in chunks:
            yield chunk
            before = self._layers[blob.digest]
            self._layers[blob.digest] = replace(
                before, current_bytes=before.current_bytes + len(chunk)
            )
            self._untold_bytes += len(chunk)
            if self._untold_bytes >= STEP_BYTES:
                self._tell()

    def _tell(self) -> None:
        self._untold_bytes = 0
        layers = tuple(self._layers.values())
        self._on_progress(
            TransferProgress(
                _shown(layers),
                sum(layer.current_bytes for layer in layers),
                sum(layer.total_bytes for layer in layers),
            )
        )


def _shown(layers: tuple[LayerProgress, ...]) -> tuple[LayerProgress, ...]:
    """At most so many as a job keeps; what is left over stands together in the last one."""
    if len(layers) <= MAX_LAYERS:
        return layers
    shown, rest = layers[: MAX_LAYERS - 1], layers[MAX_LAYERS - 1 :]
    is_there = all(layer.state.is_complete for layer in rest)
    others = LayerProgress(
        f"{len(rest)} others",
        LayerState.DONE if is_there else LayerState.MOVING,
        sum(layer.current_bytes for layer in rest),
        sum(layer.total_bytes for layer in rest),
    )
    return (*shown, others)
