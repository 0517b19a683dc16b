"""One call to an Engine before it is sent, and the shape that its answer has to have."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.engine.errors import Doing
from worker.engine.transport.stream import Watchdog

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Call:
    """``path`` is without version and leading slash; a ``watchdog`` is for long ones."""

    method: str
    path: str
    doing: Doing
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes | AsyncIterator[bytes] | None = field(default=None, repr=False)
    watchdog: Watchdog | None = None
    is_versioned: bool = True

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Around every wait for the Engine."""
        return self.watchdog.watching() if self.watchdog else nullcontext()

    def watched_data(self) -> bytes | AsyncIterator[bytes] | None:
        """The body, which counts as movement while it is taken."""
        if self.watchdog is None or self.data is None or isinstance(self.data, bytes):
            return self.data
        return self.watchdog.seen(self.data)

    @property
    def can_be_repeated(self) -> bool:
        """A body that is produced on the way exists once."""
        return self.data is None or isinstance(self.data, bytes)


def validated(answer: type[Answer], value: JsonValue, doing: Doing) -> Answer:
    """An Engine's answer, read.

    Raises:
        EngineError: ``engine_refused``, it has another shape.
    """
    try:
        return answer.model_validate(value)
    except ValidationError as error:
        wrong = error.error_count()
    raise EngineError(  # out here, so that what was answered does not ride along
        FaultCode.ENGINE_REFUSED,
        f"{doing}: that is not how a Docker Engine answers ({wrong} fields are wrong)",
    )
