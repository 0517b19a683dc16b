"""The progress of a pull or a push, summed over an Engine's lines.

An Engine counts a layer's bytes twice (downloading, then extracting), starts again after a broken
connection, and lets ``current`` exceed ``total`` when pushing. This is corrected here.
"""

from collections.abc import Mapping
from dataclasses import replace

from pydantic import JsonValue

from worker.engine.transport.stream import JsonObject
from worker.progress import MAX_LAYERS, LayerProgress, LayerState, TransferProgress

_MAX_ID = 64
_MAX_BYTES = 1 << 50

_STATES = {
    "Pulling fs layer": LayerState.WAITING,
    "Waiting": LayerState.WAITING,
    "Preparing": LayerState.WAITING,
    "Downloading": LayerState.MOVING,
    "Pushing": LayerState.MOVING,
    "Verifying Checksum": LayerState.VERIFYING,
    "Download complete": LayerState.VERIFYING,
    "Extracting": LayerState.EXTRACTING,
    "Pull complete": LayerState.DONE,
    "Pushed": LayerState.DONE,
    "Already exists": LayerState.PRESENT,
    "Layer already exists": LayerState.PRESENT,
}
_PREFIXES = {"Retrying in": LayerState.RETRYING, "Mounted from": LayerState.PRESENT}
_BYTES_ARRIVED = {LayerState.VERIFYING, LayerState.EXTRACTING, LayerState.DONE}


class ProgressSum:
    """The sums over the lines of one transfer."""

    def __init__(self) -> None:
        self._layers: dict[str, LayerProgress] = {}

    def feed(self, line: JsonObject) -> bool:
        """Read one decoded line and return whether it changed anything."""
        name, state = line.get("id"), _state(line.get("status"))
        if state is None or not isinstance(name, str) or not 0 < len(name) <= _MAX_ID:
            return False
        before = self._layers.get(name)
        if before is None and len(self._layers) >= MAX_LAYERS:
            return False
        after = _advanced(before or LayerProgress(name, LayerState.WAITING), state, line)
        self._layers[name] = after
        return after != before

    def snapshot(self) -> TransferProgress:
        """Return the current sums."""
        return TransferProgress.of(self._layers.values())


def _state(status: JsonValue) -> LayerState | None:
    if not isinstance(status, str):
        return None
    if status in _STATES:
        return _STATES[status]
    return next((state for start, state in _PREFIXES.items() if status.startswith(start)), None)


def _advanced(layer: LayerProgress, state: LayerState, line: JsonObject) -> LayerProgress:
    current, total = layer.current_bytes, layer.total_bytes
    if state is LayerState.MOVING:
        reported, size = _counts(line.get("progressDetail"))
        total = max(total, size)
        current = max(current, min(reported, total))
    elif state in _BYTES_ARRIVED:
        current = total
    return replace(layer, state=state, current_bytes=current, total_bytes=total)


def _counts(detail: JsonValue) -> tuple[int, int]:
    """Parse ``{"current": 5, "total": 9}`` → (5, 9); a missing or invalid number is 0."""
    if not isinstance(detail, Mapping):
        return 0, 0
    return _count(detail.get("current")), _count(detail.get("total"))


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) and 0 < value <= _MAX_BYTES else 0
