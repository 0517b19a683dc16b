"""Run programs whose helpers end with them."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

MAX_OUTPUT = 300


@asynccontextmanager
async def running(
    program: str, *arguments: str, cwd: Path, env: Mapping[str, str], has_input: bool = False
) -> AsyncIterator[Process]:
    """Run a program with an environment of its own; its whole process group ends with the block."""
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=cwd,
        env=env,
        stdin=PIPE if has_input else DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # Also its helpers, which use the network: they are in its process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdout, process.stderr):
            await read_end(stream)  # a transport closes at the end of its pipes
        await process.wait()


async def read_end(stream: asyncio.StreamReader | None) -> str:
    """Return the end of the output; a server may make a program print without end."""
    kept = b""
    while stream is not None and (chunk := await stream.read(4096)):
        kept = (kept + chunk)[-MAX_OUTPUT:]
    return " ".join(kept.decode(errors="replace").split())
