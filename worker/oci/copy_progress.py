"""The progress of a copy, summed over its blobs."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import replace

from worker.oci.registry.manifest import Descriptor
from worker.progress import MAX_LAYERS, LayerProgress, LayerState, TransferProgress

REPORT_INTERVAL_BYTES = 1024 * 1024
"""Progress is reported once per this many transferred bytes."""

SHORT_DIGEST = slice(len("sha256:"), len("sha256:") + 12)


class CopyProgress:
    """Report to ``on_progress`` every change of state and every mebibyte that was transferred."""

    def __init__(
        self, blobs: Sequence[Descriptor], on_progress: Callable[[TransferProgress], None]
    ) -> None:
        self._on_progress = on_progress
        self._unreported_bytes = 0
        self._layers = {
            blob.digest: LayerProgress(
                blob.digest[SHORT_DIGEST], LayerState.WAITING, total_bytes=blob.size_bytes
            )
            for blob in blobs
        }

    def set_state(self, blob: Descriptor, state: LayerState) -> None:
        """Record the state of a blob and report it."""
        self._layers[blob.digest] = replace(self._layers[blob.digest], state=state)
        self._report()

    async def count_moved(
        self, blob: Descriptor, chunks: AsyncIterable[bytes]
    ) -> AsyncIterator[bytes]:
        """Yield the same chunks and count them as transferred."""
        async for chunk in chunks:
            yield chunk
            before = self._layers[blob.digest]
            self._layers[blob.digest] = replace(
                before, current_bytes=before.current_bytes + len(chunk)
            )
            self._unreported_bytes += len(chunk)
            if self._unreported_bytes >= REPORT_INTERVAL_BYTES:
                self._report()

    def _report(self) -> None:
        self._unreported_bytes = 0
        layers = tuple(self._layers.values())
        self._on_progress(
            TransferProgress(
                _limit_layers(layers),
                sum(layer.current_bytes for layer in layers),
                sum(layer.total_bytes for layer in layers),
            )
        )


def _limit_layers(layers: tuple[LayerProgress, ...]) -> tuple[LayerProgress, ...]:
    """Return at most as many layers as a job stores; the last one sums up the remaining ones."""
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
