"""One row of the table of messages."""

from dataclasses import dataclass
from typing import Literal

from shared.faults import FAULTS, FaultCode

Source = Literal["20.10", "26", "28", "28 containerd", "podman", "socket proxy"]
"""The Engine that sent a message: its version, and the image store if it is containerd's.

Or what answers in its place.
"""


@dataclass(frozen=True)
class MessageRule:
    """A pattern and the ``code`` that it decides on; with a ``verb`` only for that operation.

    ``example`` is a recorded message of the Engine ``source``. ``is_certain`` is set where the
    words say more, or less, about the cause than the code usually does (`shared.faults`).
    """

    pattern: str
    code: FaultCode
    example: str
    source: Source
    verb: str | None = None
    is_certain: bool | None = None
    remedy: str = ""

    @property
    def decides(self) -> bool:
        """True if no other cause has these words."""
        return FAULTS[self.code].certain if self.is_certain is None else self.is_certain
