"""One pull or push: from the Engine's lines to how it ended.

A transfer has succeeded when the Engine reported no error, said the words that only a finished one
has, and ended its answer properly. Nothing less: a stalled or broken answer looks like a short one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.engine.credentials import registry_auth
from worker.engine.errors import Doing, make_error
from worker.engine.progress import ProgressSum
from worker.engine.transport.connection import Engine
from worker.engine.transport.stream import JsonObject
from worker.progress import TransferProgress

OnProgress = Callable[[TransferProgress], None]
"""Called for every change, several hundred times a second: coalescing is the caller's."""

_PULLED = ("Status: Downloaded newer image for", "Status: Image is up to date for")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST = re.compile(r"Digest: (sha256:[0-9a-f]{64})")
_PUSHED = re.compile(r"\S+: digest: (sha256:[0-9a-f]{64}) size: (\d+)")


@dataclass
class Ending:
    """What the lines of a transfer said about its success."""

    succeeded: bool = False
    digest: str = ""
    size_bytes: int = 0

    def feed(self, line: JsonObject) -> None:
        """Take one decoded line in."""
        status, aux = line.get("status"), line.get("aux")
        if isinstance(status, str):
            self._read_status(status)
        if isinstance(aux, Mapping):
            self._read_receipt(aux)

    def _read_status(self, status: str) -> None:
        if status.startswith(_PULLED):
            self.succeeded = True
        elif match := _DIGEST.fullmatch(status):
            self.digest = match[1]
        elif match := _PUSHED.fullmatch(status):
            self.succeeded, self.digest, self.size_bytes = True, match[1], int(match[2])

    def _read_receipt(self, aux: JsonObject) -> None:
        """``{"Tag": …, "Digest": …, "Size": …}``: Engines without the containerd store send it."""
        digest, size = aux.get("Digest"), aux.get("Size")
        if isinstance(digest, str) and isinstance(size, int) and _SHA256.fullmatch(digest):
            self.succeeded, self.digest, self.size_bytes = True, digest, size


async def transfer(
    engine: Engine,
    path: str,
    params: Mapping[str, str],
    doing: Doing,
    *,
    on_progress: OnProgress,
    idle: timedelta,
) -> Ending:
    """Run a transfer to its good end.

    Raises:
        EngineError: anything else. ``auth_missing`` where the login is another host's; then
            nothing was sent.
    """
    headers = registry_auth(doing)
    ending, progress = Ending(), ProgressSum()
    async with engine.stream(
        "POST", path, params=params, headers=headers, idle=idle, doing=doing
    ) as lines:
        async for line in lines:
            _require_no_error(line, doing)
            ending.feed(line)
            if progress.feed(line):
                on_progress(progress.snapshot())
    if not ending.succeeded:
        raise EngineError(
            FaultCode.ENGINE_STREAM_TRUNCATED, f"{doing}: the Docker Engine stopped in the middle"
        )
    return ending


def _require_no_error(line: JsonObject, doing: Doing) -> None:
    # From API 1.48 on "error" is deprecated: "errorDetail" is what counts.
    detail = line.get("errorDetail", line.get("error"))
    if detail is None:
        return
    words = detail.get("message", "") if isinstance(detail, Mapping) else detail
    raise make_error(str(words), doing)
