"""The health check of a server worker tests its enrolment and its Engine."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"


async def answer_ping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    if b"/_ping" in request.partition(b"\r\n")[0]:
        writer.write(ANSWER)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def run_health_check(directory: Path) -> tuple[int | None, str]:
    """Run the health check; return its exit code and its output."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.server.health"),
        env={
            **os.environ,
            "DOCKER_HOST": f"unix://{directory}/docker.sock",
            "WHARF_STATE_DIR": str(directory),
        },
        stderr=asyncio.subprocess.PIPE,
    )
    _, output = await program.communicate()
    return program.returncode, output.decode()


@pytest.mark.parametrize(("enrolled", "status"), [(True, 0), (False, 1)])
async def test_a_worker_is_healthy_when_it_is_enrolled_and_has_its_engine(
    tmp_path: Path, *, enrolled: bool, status: int
) -> None:
    if enrolled:
        (tmp_path / "server.json").write_text("{}")
    engine = await asyncio.start_unix_server(answer_ping, tmp_path / "docker.sock")

    async with engine:
        exit_code, output = await run_health_check(tmp_path)

    assert exit_code == status
    assert ("has not joined" in output) is not enrolled


async def test_a_worker_without_its_engine_is_not_healthy(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text("{}")

    exit_code, output = await run_health_check(tmp_path)

    assert exit_code == 1
    assert "docker.sock" in output
