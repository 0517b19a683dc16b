"""How far a pull or a push is, added up from an Engine's lines; pure, fed by `images`.

An Engine counts a layer's bytes twice (downloading, then extracting), starts again after a broken
connection, and lets ``current`` run past ``total`` when pushing. Here bytes are those that moved
over the network, never more than the total, and never fewer than before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from pydantic import JsonValue

from worker.engine.stream import JsonObject

MAX_LAYERS = 128
"""Overlay file systems stop at 127 layers; a longer list is a hostile one."""

_MAX_ID = 64
_MAX_BYTES = 1 << 50


class LayerState(StrEnum):
    WAITING = "waiting"
    MOVING = "moving"
    RETRYING = "retrying"
    VERIFYING = "verifying"
    EXTRACTING = "extracting"
    PRESENT = "present"
    DONE = "done"


@dataclass(frozen=True)
class LayerProgress:
    """One layer; ``id`` is the Engine's short one, ``total_bytes`` is 0 until it is known."""

    id: str
    state: LayerState
    current_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True)
class TransferProgress:
    """A moment of a transfer: its layers in the Engine's order, and their sums."""

    layers: tuple[LayerProgress, ...] = ()
    current_bytes: int = 0
    total_bytes: int = 0

    @classmethod
    def of(cls, layers: Iterable[LayerProgress]) -> Self:
        """The layers with their sums."""
        layers = tuple(layers)
        return cls(
            layers,
            sum(layer.current_bytes for layer in layers),
            sum(layer.total_bytes for layer in layers),
        )

    @property
    def is_last_step(self) -> bool:
        """Whether every layer has arrived: of a push, only the writing of its tag is left."""
        return bool(self.layers) and all(layer.state in _THERE for layer in self.layers)

    def as_layer(self, name: str) -> LayerProgress:
        """All of it as one line of a larger transfer: in the state of what is still under way."""
        states = {layer.state for layer in self.layers}
        state = next((state for state in _UNDER_WAY if state in states), LayerState.EXTRACTING)
        return LayerProgress(name, state, self.current_bytes, self.total_bytes)

    def as_json(self) -> dict[str, JsonValue]:
        """As it is stored with the job: at most 128 layers of four fields."""
        return {
            "current_bytes": self.current_bytes,
            "total_bytes": self.total_bytes,
            "layers": [
                {
                    "id": layer.id,
                    "state": layer.state.value,
                    "current_bytes": layer.current_bytes,
                    "total_bytes": layer.total_bytes,
                }
                for layer in self.layers
            ],
        }


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
_UNDER_WAY = (
    LayerState.MOVING,
    LayerState.RETRYING,
    LayerState.VERIFYING,
    LayerState.EXTRACTING,
    LayerState.WAITING,
)
_THERE = {LayerState.PRESENT, LayerState.DONE}
_BYTES_ARRIVED = {LayerState.VERIFYING, LayerState.EXTRACTING, LayerState.DONE}


class ProgressSum:
    """Adds up the lines of one transfer."""

    def __init__(self) -> None:
        self._layers: dict[str, LayerProgress] = {}

    def feed(self, line: JsonObject) -> bool:
        """Take one decoded line in; whether anything changed by it."""
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
        """The sums of this moment."""
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
    """``{"current": 5, "total": 9}`` → (5, 9); what is missing or senseless is 0."""
    if not isinstance(detail, Mapping):
        return 0, 0
    return _count(detail.get("current")), _count(detail.get("total"))


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) and 0 < value <= _MAX_BYTES else 0
