"""Progress of a transfer over all attempts of its job. Pure; time is an argument.

Bytes only grow, though a second attempt begins at 0 again; rate, time left and the verdict that it
stalled come from the bytes that really moved in the attempt that runs. ``now`` is a moment of any
one monotonic clock, in seconds.
"""

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.fields.shapes import Output

STALLED_AFTER = timedelta(seconds=30)
SHORTEST = timedelta(milliseconds=1)
"""What moves in less time than that tells nothing of a rate."""

SMOOTHING = timedelta(seconds=5)
"""After so long, what a rate was before counts for a third of it."""

MAX_LAYERS = 256
LONGEST = timedelta(days=7)
"""A longer time left is none that anybody can use."""

MOVES = frozenset({"moving", "retrying"})
ARRIVED = frozenset({"present", "done"})

Bytes = Annotated[int, Field(ge=0, le=1 << 60)]


class ReportedLayer(BaseModel):
    """A layer in a worker's words; ``total_bytes`` is 0 until it is known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(min_length=1, max_length=100)]
    state: Annotated[str, Field(max_length=20)]
    current_bytes: Bytes = 0
    total_bytes: Bytes = 0

    @property
    def left_bytes(self) -> int:
        return 0 if self.state in ARRIVED else max(0, self.total_bytes - self.current_bytes)


class ReportedTransfer(BaseModel):
    """A transfer in a worker's words, as they stand in the job's row."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    layers: Annotated[tuple[ReportedLayer, ...], Field(max_length=MAX_LAYERS)]


class LayerShown(Output):
    id: str
    state: str
    current_bytes: int
    total_bytes: int


class Stalled(Output):
    """No byte of this layer moved for so many seconds; it is the one that waits longest."""

    layer: str
    seconds: int


class TransferShown(Output):
    """``rate`` is in bytes a second, smoothed; what is not known (yet) is null."""

    current_bytes: int
    total_bytes: int
    layers: list[LayerShown]
    rate: int | None
    seconds_left: int | None
    stalled: Stalled | None


def parse_transfer(progress: object) -> ReportedTransfer | None:
    """Return the progress that a worker reported; ``None`` if it is something else."""
    try:
        return ReportedTransfer.model_validate(progress)
    except ValidationError:
        return None


@dataclass
class _Layer:
    """``moved_bytes`` of the running attempt; the others are the most that was ever seen."""

    state: str
    since: float
    moved_bytes: int = 0
    current_bytes: int = 0
    total_bytes: int = 0


@dataclass
class TransferWatch:
    """Follows one job's transfer through its attempts."""

    _attempt: int = 0
    _layers: dict[str, _Layer] = field(default_factory=dict)
    _running: tuple[str, ...] = ()
    _left_bytes: int = 0
    _rate: float | None = None
    _measured: float | None = None
    _unmeasured_bytes: int = 0

    def see(self, reported: ReportedTransfer, attempt: int, now: float) -> None:
        """Take in the progress that a worker reported; the same again says that nothing moved."""
        if attempt != self._attempt:
            self._begin(attempt, now)
        moved = sum(self._see_layer(layer, now) for layer in reported.layers)
        self._running = tuple(layer.id for layer in reported.layers if layer.state in MOVES)
        self._left_bytes = sum(layer.left_bytes for layer in reported.layers)
        self._measure(moved, now)

    def show(self, now: float) -> TransferShown:
        """Return the progress so far."""
        return TransferShown(
            current_bytes=sum(layer.current_bytes for layer in self._layers.values()),
            total_bytes=sum(layer.total_bytes for layer in self._layers.values()),
            layers=[
                LayerShown(
                    id=name,
                    state=layer.state,
                    current_bytes=layer.current_bytes,
                    total_bytes=layer.total_bytes,
                )
                for name, layer in self._layers.items()
            ],
            rate=None if self._rate is None else round(self._rate),
            seconds_left=self._seconds_left(),
            stalled=self._stalled(now),
        )

    def _begin(self, attempt: int, now: float) -> None:
        self._attempt = attempt
        self._rate = self._measured = None
        for layer in self._layers.values():
            layer.moved_bytes, layer.since = 0, now

    def _see_layer(self, reported: ReportedLayer, now: float) -> int:
        """Return the bytes that moved since the layer was last observed."""
        layer = self._layers.get(reported.id)
        if layer is None:
            if len(self._layers) >= MAX_LAYERS:
                return 0
            layer = self._layers[reported.id] = _Layer(reported.state, now)
        moved = max(0, reported.current_bytes - layer.moved_bytes)
        if moved or reported.state != layer.state:
            layer.since = now
        layer.state, layer.moved_bytes = reported.state, reported.current_bytes
        layer.current_bytes = max(layer.current_bytes, reported.current_bytes)
        layer.total_bytes = max(layer.total_bytes, reported.total_bytes, layer.current_bytes)
        return moved

    def _measure(self, moved_bytes: int, now: float) -> None:
        """Smooth the rate by the time that passed, so that the pace of looking does not matter."""
        if self._measured is None:
            self._measured, self._unmeasured_bytes = now, 0
            return
        self._unmeasured_bytes += moved_bytes
        passed = now - self._measured
        if passed < SHORTEST.total_seconds():
            return
        rate = self._unmeasured_bytes / passed
        weight = 1 - math.exp(-passed / SMOOTHING.total_seconds())
        self._rate = rate if self._rate is None else self._rate + weight * (rate - self._rate)
        self._measured, self._unmeasured_bytes = now, 0

    def _seconds_left(self) -> int | None:
        if self._rate is None or self._left_bytes > self._rate * LONGEST.total_seconds():
            return None
        return math.ceil(self._left_bytes / self._rate) if self._left_bytes else 0

    def _stalled(self, now: float) -> Stalled | None:
        still = [(self._layers[name].since, name) for name in self._running if name in self._layers]
        since, name = min(still, default=(now, ""))
        if now - since < STALLED_AFTER.total_seconds():
            return None
        return Stalled(layer=name, seconds=int(now - since))
