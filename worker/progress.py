"""The progress of a transfer of an image, by an Engine or by the worker itself.

Bytes are those sent over the network, never more than the total and never fewer than before.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pydantic import JsonValue

MAX_LAYERS = 128
"""Overlay file systems allow 127 layers, so a longer list of one image is hostile."""


class LayerState(StrEnum):
    WAITING = "waiting"
    MOVING = "moving"
    RETRYING = "retrying"
    VERIFYING = "verifying"
    EXTRACTING = "extracting"
    PRESENT = "present"
    DONE = "done"

    @property
    def is_complete(self) -> bool:
        """True if nothing of the layer remains to be transferred."""
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
    """One layer; ``id`` is a short id, ``total_bytes`` is 0 until it is known."""

    id: str
    state: LayerState
    current_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True)
class TransferProgress:
    """The state of a transfer at one moment: its layers in order, and their sums."""

    layers: tuple[LayerProgress, ...] = ()
    current_bytes: int = 0
    total_bytes: int = 0

    @classmethod
    def of(cls, layers: Iterable[LayerProgress]) -> Self:
        """Make the progress of the layers with their sums."""
        layers = tuple(layers)
        return cls(
            layers,
            sum(layer.current_bytes for layer in layers),
            sum(layer.total_bytes for layer in layers),
        )

    @property
    def is_last_step(self) -> bool:
        """True if every layer has arrived, so that only the tag of a push or copy is missing."""
        return bool(self.layers) and all(layer.state.is_complete for layer in self.layers)

    def as_layer(self, name: str) -> LayerProgress:
        """Return the transfer as one line of a larger one, in the state of an unfinished layer."""
        states = {layer.state for layer in self.layers}
        state = next((state for state in UNDER_WAY if state in states), LayerState.EXTRACTING)
        return LayerProgress(name, state, self.current_bytes, self.total_bytes)

    def as_json(self) -> dict[str, JsonValue]:
        """Return the document that is stored with the job: at most 128 layers of four fields."""
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
