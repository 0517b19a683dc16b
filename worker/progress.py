"""How far a transfer of an image is, whether an Engine carries it or we do.

Bytes are those that moved over the network, never more than the total and never fewer than before.
"""

from dataclasses import dataclass
from enum import StrEnum

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

    @property
    def is_last_step(self) -> bool:
        """Whether every layer has arrived: of a push or a copy, only the tag is left to write."""
        return bool(self.layers) and all(layer.state.is_there for layer in self.layers)

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
