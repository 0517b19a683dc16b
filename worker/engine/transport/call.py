"""One call to an Engine, and the validation of its response."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.engine.errors import EngineOperation
from worker.engine.transport.stream import Watchdog

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Call:
    """A call to send.

    ``path`` has no version and no leading slash; long calls have a ``watchdog``.
    """

    method: str
    path: str
    operation: EngineOperation
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes | AsyncIterator[bytes] | None = field(default=None, repr=False)
    watchdog: Watchdog | None = None
    is_versioned: bool = True

    def watch(self) -> AbstractAsyncContextManager[None]:
        """Return the context for each wait for the Engine."""
        return self.watchdog.watch() if self.watchdog else nullcontext()

    def watch_data(self) -> bytes | AsyncIterator[bytes] | None:
        """Return the body; while the Engine reads it, the call does not count as idle."""
        if self.watchdog is None or self.data is None or isinstance(self.data, bytes):
            return self.data
        return self.watchdog.watch_chunks(self.data)

    @property
    def is_repeatable(self) -> bool:
        """True unless the body is a stream, which exists only once."""
        return self.data is None or isinstance(self.data, bytes)


def validate_response(model: type[Model], value: JsonValue, operation: EngineOperation) -> Model:
    """Validate an Engine's response against a model.

    Raises:
        EngineError: ``engine_refused``, it has another shape.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = error.error_count()
    raise EngineError(  # outside the ``except``, so that the response is not in its context
        FaultCode.ENGINE_REFUSED,
        f"{operation}: the answer is not that of a Docker Engine ({wrong} invalid fields)",
        remedy="Check that DOCKER_HOST leads to a Docker Engine.",
    )
