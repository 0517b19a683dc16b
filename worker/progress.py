"""How far a transfer of an image is, whether an Engine carries it or we do.

Bytes are those that moved over the network, never more than the total and never fewer than before.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pydantic import JsonValue

MAX_LAYERS = 128
"""Overlay file systems stop at 127 layers; a longer list of one image is a hostile one."""


class LayerState(StrEnum):
    WAITING = "waiting"
    MOVING = "moving"
    RETRYING = "retrying"
    VERIFYING = "verifying"
    EXTRACTING = "extracting"
    PRESENT = "present"
    DONE = "done"

    @property
    def is_there(self) -> bool:
        """Whether nothing of the layer is left to move."""
        return self in {LayerState.PRESENT, LayerState.DONE}


UNDER_WAY = (
    LayerState.MOVING,
    LayerState.RETRYING,
    LayerState.VERIFYING,
    LayerState.EXTRACTING,
    LayerState.WAITING,
)


@dataclass(frozen=True)
class LayerProgress:
    """One layer; ``id`` is a short one, ``total_bytes`` is 0 until it is known."""

    id: str
    state: LayerState
    current_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True)
class TransferProgress:
    """A moment of a transfer: its layers in order, and their sums."""

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
        """Whether every layer has arrived: of a push or a copy, only the tag is left to write."""
        return bool(self.layers) and all(layer.state.is_there for layer in self.layers)

    def as_layer(self, name: str) -> LayerProgress:
        """All of it as one line of a larger transfer: in the state of what is still under way."""
        states = {layer.state for layer in self.layers}
        state = next((state for state in UNDER_WAY if state in states), LayerState.EXTRACTING)
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
