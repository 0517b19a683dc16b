"""The progress of a transfer, as far as what the worker reported can be read."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

Bytes = Annotated[int, Field(ge=0, le=1 << 60)]
MAX_LAYERS = 256


class Layer(BaseModel):
    """A layer; ``total_bytes`` is 0 until it is known."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    id: Annotated[str, Field(max_length=500)]
    state: Annotated[str, Field(max_length=20)]
    current_bytes: Bytes = 0
    total_bytes: Bytes = 0

    @property
    def is_complete(self) -> bool:
        return self.state in {"present", "done"}


class Progress(BaseModel):
    """All layers of a transfer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    layers: Annotated[tuple[Layer, ...], Field(max_length=MAX_LAYERS)]

    @property
    def current_bytes(self) -> int:
        return sum(layer.current_bytes for layer in self.layers)

    @property
    def total_bytes(self) -> int:
        return sum(layer.total_bytes for layer in self.layers)

    @property
    def complete(self) -> int:
        """Return how many layers have arrived."""
        return sum(layer.is_complete for layer in self.layers)

    def mean_rate(self, since: str | None) -> float | None:
        """Return the bytes a second since an attempt began."""
        if since is None:
            return None
        seconds = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
        return self.current_bytes / seconds if seconds >= 1 else None


def read_progress(document: object) -> Progress | None:
    """Return a transfer; ``None`` if the progress is something else."""
    try:
        return Progress.model_validate(document)
    except ValidationError:
        return None
