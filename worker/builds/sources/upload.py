"""Receive sources that were uploaded as a tar, check them, and unpack them on disk.

The content of an uploaded tar is not trusted. So a separate process unpacks it, with limits of
memory, time and output, without our environment and our sockets.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.builds.sources.limits import LIMITS, Limits

UNPACKER = "worker.builds.sources.unpacker"
MAX_REPORT_BYTES = 16 * 1024 * 1024


class Unpacked(BaseModel):
    """The result of unpacking; ``modes`` are file modes by inode that differ from the default.

    ``notes`` describe the parts of the tar that are not kept.
    """

    files: int
    modes: dict[int, int]
    notes: tuple[str, ...] = ()


class _Refusal(BaseModel):
    code: FaultCode
    message: str
    remedy: str = ""


async def receive(
    chunks: AsyncIterable[bytes], archive: Path, *, sha256: str = "", limits: Limits = LIMITS
) -> None:
    """Write the chunks to disk.

    Raises:
        SourceError: ``source_too_large``, or ``source_altered`` if ``sha256`` (hexadecimal)
            differs.
    """
    checksum, total = hashlib.sha256(), 0
    with await asyncio.to_thread(archive.open, "wb") as file:
        async for chunk in chunks:
            total += len(chunk)
            limits.require("the upload", total_bytes=total)
            checksum.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    if sha256 and checksum.hexdigest() != sha256.lower():
        raise SourceError(
            FaultCode.SOURCE_ALTERED,
            f"the upload has the checksum {checksum.hexdigest()} instead of {sha256[:64]}",
        )


async def unpack(archive: Path, directory: Path, limits: Limits = LIMITS) -> Unpacked:
    """Unpack a tar, compressed or not, completely into an empty directory.

    Raises:
        SourceError: ``source_invalid``; ``source_too_large``, also if it takes too much memory or
            time; ``source_corrupt``, it is not a complete tar; ``disk_full``.
    """
    try:
        async with (
            asyncio.timeout(limits.time.total_seconds()) as limit,
            _unpacking(archive, directory, limits) as process,
        ):
            report = await _read_report(process)
            status = await process.wait()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise _timeout_error() from error
    if not status:
        return _parse(report)
    if status == -signal.SIGXCPU:
        raise _timeout_error()
    raise SourceError(
        FaultCode.SOURCE_TOO_LARGE,
        "the upload cannot be unpacked within the limits: the program that unpacks ended with "
        f"status {status}",
    )


@asynccontextmanager
async def _unpacking(archive: Path, directory: Path, limits: Limits) -> AsyncIterator[Process]:
    numbers = (
        limits.total_bytes,
        limits.files,
        limits.memory_bytes,
        int(limits.processor_time.total_seconds()),
    )
    with await asyncio.to_thread(archive.open, "rb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-X", "utf8", "-m", UNPACKER),
            *map(str, numbers),
            cwd=directory,
            env={},
            stdin=file,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()  # a transport closes at the end of its pipes


async def _read_report(process: Process) -> bytes:
    assert process.stdout  # noqa: S101 - it is piped
    report = bytearray()
    while chunk := await process.stdout.read(64 * 1024):
        report += chunk
        if len(report) > MAX_REPORT_BYTES:
            raise SourceError(FaultCode.SOURCE_TOO_LARGE, "the upload has too many files")
    return bytes(report)


def _parse(report: bytes) -> Unpacked:
    try:
        return Unpacked.model_validate_json(report)
    except ValidationError:
        refusal = _Refusal.model_validate_json(report)
    raise SourceError(refusal.code, refusal.message, remedy=refusal.remedy)


def _timeout_error() -> SourceError:
    return SourceError(FaultCode.SOURCE_TOO_LARGE, "the upload takes too long to be unpacked")
