"""One pull or push: run it and read its result from the Engine's lines.

A transfer has succeeded if the Engine reported no error, sent the message that only a completed one
has, and ended its response properly. All three are required: a stalled or broken response looks
like a short one.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.engine.credentials import make_registry_auth_header
from worker.engine.errors import EngineOperation, make_error
from worker.engine.progress import ProgressSum
from worker.engine.transport.connection import Engine
from worker.engine.transport.stream import JsonObject
from worker.progress import TransferProgress

OnProgress = Callable[[TransferProgress], None]
"""Called for every change, several hundred times a second; the caller has to coalesce."""

_PULLED = ("Status: Downloaded newer image for", "Status: Image is up to date for")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST = re.compile(r"Digest: (sha256:[0-9a-f]{64})")
_ENDED_BY_PODMAN = re.compile(r"[0-9a-f]{12}")
_PUSHED = re.compile(r"\S+: digest: (sha256:[0-9a-f]{64}) size: (\d+)")


@dataclass
class TransferResult:
    """The result of a transfer, read from its lines.

    ``last_part`` is the id in the last line, if that reports a complete download: Podman ends a
    pull so, with the image's id, and reports no digest.
    """

    succeeded: bool = False
    digest: str = ""
    size_bytes: int = 0
    last_part: str = ""

    def feed(self, line: JsonObject) -> None:
        """Read one decoded line."""
        status, aux, part = line.get("status"), line.get("aux"), str(line.get("id", ""))
        is_complete = status == "Download complete" and _ENDED_BY_PODMAN.fullmatch(part)
        self.last_part = part if is_complete else ""
        if isinstance(status, str):
            self._read_status(status)
        if isinstance(aux, Mapping):
            self._read_aux(aux)

    def _read_status(self, status: str) -> None:
        if status.startswith(_PULLED):
            self.succeeded = True
        elif match := _DIGEST.fullmatch(status):
            self.digest = match[1]
        elif match := _PUSHED.fullmatch(status):
            self.succeeded, self.digest, self.size_bytes = True, match[1], int(match[2])

    def _read_aux(self, aux: JsonObject) -> None:
        """Read ``{"Tag": …, "Digest": …, "Size": …}`` of Engines without the containerd store."""
        digest, size = aux.get("Digest"), aux.get("Size")
        if isinstance(digest, str) and isinstance(size, int) and _SHA256.fullmatch(digest):
            self.succeeded, self.digest, self.size_bytes = True, digest, size


async def transfer(
    engine: Engine,
    path: str,
    params: Mapping[str, str],
    operation: EngineOperation,
    *,
    on_progress: OnProgress,
    idle: timedelta,
    may_end_with_part: bool = False,
) -> TransferResult:
    """Run a transfer to its successful end; ``may_end_with_part`` accepts one of Podman's, too.

    Raises:
        EngineError: it failed. ``auth_missing`` if the login is for another host; then nothing was
            sent. ``engine_stalled`` if nothing moved for ``idle``, ``engine_unreachable`` if the
            Engine did not answer a ping then, either.
    """
    headers = make_registry_auth_header(operation)
    result, progress = TransferResult(), ProgressSum()
    async with (
        _explain_stall(engine),
        engine.stream(
            "POST", path, params=params, headers=headers, idle=idle, operation=operation
        ) as lines,
    ):
        async for line in lines:
            _require_no_error(line, operation)
            result.feed(line)
            if progress.feed(line):
                on_progress(progress.snapshot())
    if not result.succeeded and not (may_end_with_part and result.last_part):
        raise make_truncated_error(operation)
    return result


@asynccontextmanager
async def _explain_stall(engine: Engine) -> AsyncIterator[None]:
    """Tell a transfer that stands still within the block from an Engine that hangs itself.

    Raises:
        EngineError: ``engine_unreachable``, the Engine does not answer a ping, either.
    """
    try:
        yield
    except EngineError as error:
        if error.code != FaultCode.ENGINE_STALLED:
            raise
        try:
            await engine.ping()
        except EngineError as hanging:
            raise EngineError(
                FaultCode.ENGINE_UNREACHABLE,
                f"{error.message}, and the Docker Engine does not answer",
            ) from hanging
        raise


def make_truncated_error(operation: EngineOperation) -> EngineError:
    """Make the error of a response that ended without its result."""
    return EngineError(
        FaultCode.ENGINE_STREAM_TRUNCATED,
        f"{operation}: the Docker Engine ended its response too early",
    )


def _require_no_error(line: JsonObject, operation: EngineOperation) -> None:
    # From API 1.48 on "error" is deprecated in favour of "errorDetail".
    detail = line.get("errorDetail", line.get("error"))
    if detail is None:
        return
    text = detail.get("message", "") if isinstance(detail, Mapping) else detail
    raise make_error(str(text), operation)
