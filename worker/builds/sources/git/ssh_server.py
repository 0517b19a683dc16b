"""Check a git server behind SSH before a key is used: it answers, and has a pinned host key.

The server proves later, to ssh, that the key is its own.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import SourceError
from shared.faults import FaultCode
from shared.ssh.address import SshAddress
from shared.ssh.host_keys import fingerprint_of
from worker.builds.sources.git.remote import ANSWER_SECONDS, make_unreachable_error
from worker.processes import read_end, running

COMMAND_SECONDS = 60
MAX_SCAN_BYTES = 64 * 1024


@dataclass(frozen=True)
class HostKey:
    """A key that the server has; ``encoded`` is its base64."""

    type: str
    encoded: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.fingerprint} ({self.type})"


async def check_server(address: SshAddress, ip: str, host_keys: Sequence[str]) -> Sequence[HostKey]:
    """Return those of the server's host keys whose fingerprints are in ``host_keys``.

    Raises:
        SourceError: ``host_key_not_pinned``, ``host_key_changed`` or ``source_unreachable``.
    """
    await _require_ssh_server(address, ip)
    return _require_pinned(address, await _scan(address, ip), host_keys)


async def run_program(
    program: str, words: Sequence[str], what: str, max_bytes: int, request: bytes = b""
) -> tuple[int, bytes, str]:
    """Run a program; return its exit status, its output and the end of its errors.

    ``what`` is the name of the output for an error, for example ``the host keys of HOST``.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    async with running(program, *words, cwd=Path("/"), env=environment, has_input=True) as process:
        assert process.stdin  # noqa: S101 - it is piped
        with contextlib.suppress(ConnectionError):
            process.stdin.write(request)
            process.stdin.close()
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                output, errors = await asyncio.gather(
                    _read(process.stdout, max_bytes, what), read_end(process.stderr)
                )
                return await process.wait(), output, errors
        except TimeoutError as error:
            raise SourceError(
                FaultCode.SOURCE_UNREACHABLE, f"{what} did not arrive within {COMMAND_SECONDS} s"
            ) from error


async def _require_ssh_server(address: SshAddress, ip: str) -> None:
    """Connect and read the first byte: an SSH server speaks first (RFC 4253, section 4.2)."""
    where = f"{address.hostname}:{address.port}"
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(ip, address.port)
            try:
                greeting = await reader.read(1)
            finally:
                writer.close()
    except OSError as error:  # also a timeout
        raise make_unreachable_error(error, where) from error
    if not greeting:
        raise SourceError(FaultCode.SOURCE_UNREACHABLE, f"{where} does not answer as an SSH server")


async def _scan(address: SshAddress, ip: str) -> Sequence[HostKey]:
    """Return the keys that the server presents; it has not proved yet that they are its own."""
    options = (f"-T{ANSWER_SECONDS}", f"-p{address.port}", "-ted25519,ecdsa,rsa", ip)
    what = f"the list of host keys of {address.host}"
    _, output, _ = await run_program("ssh-keyscan", options, what, MAX_SCAN_BYTES)
    found = []
    for line in output.decode(errors="replace").splitlines():
        _, _, key = line.partition(" ")
        key_type, _, encoded = key.strip().partition(" ")
        if fingerprint := fingerprint_of(key_type, encoded):
            found.append(HostKey(key_type, encoded, fingerprint))
    if not found:
        raise SourceError(
            FaultCode.SOURCE_UNREACHABLE,
            f"{address.hostname}:{address.port} does not answer as an SSH server",
        )
    return found


def _require_pinned(
    address: SshAddress, found: Sequence[HostKey], host_keys: Sequence[str]
) -> Sequence[HostKey]:
    pinned = [one for one in found if one.fingerprint in host_keys]
    if pinned:
        return pinned
    shown = ", ".join(map(str, found))
    if not host_keys:
        raise SourceError(
            FaultCode.HOST_KEY_NOT_PINNED,
            f"no host key is stored for {address.host}, which presents {shown}",
        )
    raise SourceError(
        FaultCode.HOST_KEY_CHANGED,
        f"{address.host} presents {shown} instead of the stored {', '.join(host_keys)[:500]}",
    )


async def _read(stream: asyncio.StreamReader | None, max_bytes: int, what: str) -> bytes:
    content = bytearray()
    while stream is not None and (chunk := await stream.read(64 * 1024)):
        content += chunk
        if len(content) > max_bytes:
            raise SourceError(
                FaultCode.SOURCE_TOO_LARGE,
                f"{what} is longer than {max_bytes} bytes",
                remedy=(
                    "If it is the answer to git-upload-pack, delete old branches and tags in the "
                    "repository. Otherwise check the git server."
                ),
            )
    return bytes(content)
