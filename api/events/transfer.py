"""Progress of a transfer over all attempts of its job. Pure; time is an argument.

The shown bytes only grow, although a second attempt starts at 0 again. Rate, time left and
``stalled`` are computed from the bytes moved in the running attempt. ``now`` is a monotonic clock's
time in seconds.
"""

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.fields.shapes import Output

STALLED_AFTER = timedelta(seconds=30)
SHORTEST = timedelta(milliseconds=1)
"""The rate is not measured over a shorter time."""

SMOOTHING = timedelta(seconds=5)
"""Time constant: after so long, the earlier rate has a weight of about a third."""

MAX_LAYERS = 256
LONGEST = timedelta(days=7)
"""A longer time left is not shown."""

MOVES = frozenset({"moving", "retrying"})
ARRIVED = frozenset({"present", "done"})

Bytes = Annotated[int, Field(ge=0, le=1 << 60)]


class ReportedLayer(BaseModel):
    """A layer as a worker reports it; ``total_bytes`` is 0 until it is known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(min_length=1, max_length=100)]
    state: Annotated[str, Field(max_length=20)]
    current_bytes: Bytes = 0
    total_bytes: Bytes = 0

    @property
    def remaining_bytes(self) -> int:
        return 0 if self.state in ARRIVED else max(0, self.total_bytes - self.current_bytes)


class ReportedTransfer(BaseModel):
    """A transfer as a worker reports it, stored in the job's row."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    layers: Annotated[tuple[ReportedLayer, ...], Field(max_length=MAX_LAYERS)]


class LayerShown(Output):
    id: str
    state: str
    current_bytes: int
    total_bytes: int


class Stalled(Output):
    """The layer that waits longest: none of its bytes moved for ``seconds``."""

    layer: str
    seconds: int


class TransferShown(Output):
    """``rate`` is in bytes per second, smoothed; unknown values are null."""

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
    """``moved_bytes`` counts the running attempt; the other byte counts are maxima."""

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
    _remaining_bytes: int = 0
    _rate: float | None = None
    _measured: float | None = None
    _unmeasured_bytes: int = 0

    def see(self, reported: ReportedTransfer, attempt: int, now: float) -> None:
        """Add the progress that a worker reported; unchanged progress means that nothing moved."""
        if attempt != self._attempt:
            self._begin(attempt, now)
        moved = sum(self._see_layer(layer, now) for layer in reported.layers)
        self._running = tuple(layer.id for layer in reported.layers if layer.state in MOVES)
        self._remaining_bytes = sum(layer.remaining_bytes for layer in reported.layers)
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
        """Smooth the rate by elapsed time, so that the interval between reports does not matter."""
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
        if self._rate is None or self._remaining_bytes > self._rate * LONGEST.total_seconds():
            return None
        return math.ceil(self._remaining_bytes / self._rate) if self._remaining_bytes else 0

    def _stalled(self, now: float) -> Stalled | None:
        still = [(self._layers[name].since, name) for name in self._running if name in self._layers]
        since, name = min(still, default=(now, ""))
        if now - since < STALLED_AFTER.total_seconds():
            return None
        return Stalled(layer=name, seconds=int(now - since))
