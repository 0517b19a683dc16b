"""How much the sources of one build may be."""

from dataclasses import dataclass
from datetime import timedelta

from shared.errors import SourceError
from shared.faults import FaultCode


@dataclass(frozen=True)
class Limits:
    """``total_bytes`` holds for what travels, and again for what it unfolds to.

    ``memory_bytes`` and ``processor_time`` are for the process that unpacks. ``repositories`` are
    one with its submodules, which are within one another up to ``nesting``.
    """

    total_bytes: int = 2 * 1024**3
    files: int = 200_000
    time: timedelta = timedelta(minutes=15)
    memory_bytes: int = 512 * 1024**2
    processor_time: timedelta = timedelta(minutes=10)
    repositories: int = 500
    nesting: int = 10

    def require(self, what: str, *, total_bytes: int = 0, files: int = 0) -> None:
        """Raises `SourceError` (``source_too_large``) where there is more."""
        if total_bytes > self.total_bytes:
            raise SourceError(
                FaultCode.SOURCE_TOO_LARGE, f"{what}: more than {self.total_bytes} bytes"
            )
        if files > self.files:
            raise SourceError(FaultCode.SOURCE_TOO_LARGE, f"{what}: more than {self.files} files")


LIMITS = Limits()
