"""The limits of the sources of one build."""

from dataclasses import dataclass
from datetime import timedelta

from shared.errors import SourceError
from shared.faults import FaultCode


@dataclass(frozen=True)
class Limits:
    """The limits of one build's sources.

    ``total_bytes`` limits the transferred bytes, and separately the unpacked ones. ``memory_bytes``
    and ``processor_time`` limit the process that unpacks. ``repositories`` counts a repository and
    its submodules, which may be nested up to ``nesting``.
    """

    total_bytes: int = 2 * 1024**3
    files: int = 200_000
    time: timedelta = timedelta(minutes=15)
    memory_bytes: int = 512 * 1024**2
    processor_time: timedelta = timedelta(minutes=10)
    repositories: int = 500
    nesting: int = 10

    def require(self, subject: str, *, total_bytes: int = 0, files: int = 0) -> None:
        """Raise `SourceError` (``source_too_large``) if a limit is exceeded."""
        if total_bytes > self.total_bytes:
            raise SourceError(
                FaultCode.SOURCE_TOO_LARGE, f"{subject} has more than {self.total_bytes} bytes"
            )
        if files > self.files:
            raise SourceError(
                FaultCode.SOURCE_TOO_LARGE, f"{subject} has more than {self.files} files"
            )


LIMITS = Limits()
