"""Where the audit log is forwarded to: a file, a syslog server, or a web endpoint.

Each destination gets entries as JSON lines, as `wharf audit export` writes them. A destination
that returns has the entries as far as it can tell: a file is on the disk, an endpoint answered 2xx,
a syslog server took the bytes (its protocol has no answer).
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

import httpx2

from shared.audit.entries import Entry
from shared.audit.lines import write_line
from shared.errors import SetupError, WharfError
from shared.networks import is_loopback

SETTING = "WHARF_AUDIT_FORWARD"
EXAMPLES = (
    "file:///var/log/wharfinger/audit.jsonl, syslog+tls://logs.example.com:6514 or "
    "https://logs.example.com/audit"
)
SYSLOG_PORTS = {"syslog+tcp": 514, "syslog+tls": 6514}
PRIORITY = 13 * 8 + 6
"""Facility "log audit" and severity "informational" (RFC 5424, section 6.2.1)."""


class NotForwardedError(WharfError):
    """A destination did not take entries; they are sent again."""

    code = "audit_not_forwarded"
    retryable = True


class Destination(Protocol):
    """``name`` is its URL, which has no secret: it is stored, logged and shown."""

    @property
    def name(self) -> str: ...

    async def send(self, entries: Sequence[Entry]) -> None:
        """Send all of them in this order.

        Raises:
            NotForwardedError: it may have got none, some or all of them.
        """
        ...


@dataclass(frozen=True)
class FileDestination:
    """Entries are added to the file, which is opened anew each time, so it may be rotated."""

    name: str
    path: Path

    async def send(self, entries: Sequence[Entry]) -> None:
        try:
            await asyncio.to_thread(self._append, "".join(map(write_line, entries)))
        except OSError as error:
            raise _not_forwarded(self.name, error) from error

    def _append(self, text: str) -> None:
        """Add whole lines: what was written before a failure is taken back."""
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", 0) as file:
            former = file.seek(0, os.SEEK_END)
            content = memoryview(text.encode())
            try:
                while content:
                    content = content[file.write(content) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(former)
                raise


@dataclass(frozen=True)
class SyslogDestination:
    """Messages of RFC 5424 over TCP, each with its length before it (RFC 6587), or TLS (5425)."""

    name: str
    host: str
    port: int
    tls: ssl.SSLContext | None = None

    async def send(self, entries: Sequence[Entry]) -> None:
        try:
            await self._write(b"".join(map(frame_message, entries)))
        except OSError as error:
            raise _not_forwarded(self.name, error) from error

    async def _write(self, content: bytes) -> None:
        _, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls)
        try:
            writer.write(content)
            await writer.drain()
        finally:
            writer.close()


@dataclass(frozen=True)
class WebDestination:
    """A ``POST`` of the lines as ``application/x-ndjson``; ``token`` is sent as a bearer token."""

    name: str
    token: str | None = None

    async def send(self, entries: Sequence[Entry]) -> None:
        headers = {"Content-Type": "application/x-ndjson"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        content = "".join(map(write_line, entries)).encode()
        try:
            async with (
                httpx2.AsyncClient() as client,
                client.stream("POST", self.name, content=content, headers=headers) as answer,
            ):
                status = answer.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise _not_forwarded(self.name, error) from error
        if not 200 <= status < 300:
            raise NotForwardedError(f"{self.name} answered {status} to entries of the audit log")


def frame_message(entry: Entry) -> bytes:
    """Return an entry as a syslog message, with its length before it."""
    header = f"<{PRIORITY}>1 {entry.at} {socket.gethostname()} wharfinger - audit -"
    message = f"{header} {write_line(entry).rstrip()}".encode()
    return f"{len(message)} ".encode() + message


def parse_destinations(text: str, token: str | None = None) -> list[Destination]:
    """Read ``WHARF_AUDIT_FORWARD``: URLs, separated by commas.

    Raises:
        SetupError: one of them is not a URL of a destination.
    """
    urls = [part.strip() for part in text.split(",") if part.strip()]
    destinations = [_parse(url, token) for url in dict.fromkeys(urls)]
    web = [one for one in destinations if isinstance(one, WebDestination)]
    if token is not None and len(web) > 1:
        raise _refused("there are two web endpoints, and only one may get the token")
    return destinations


def _parse(url: str, token: str | None) -> Destination:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("it is not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise _refused("a URL has a user or password")
    if parts.query or parts.fragment:
        # The URL is shown in messages, so a token does not belong there.
        raise _refused("a URL has a query")
    match parts.scheme:
        case "file" if not parts.netloc and parts.path.startswith("/"):
            return FileDestination(url, _require_writable(Path(parts.path)))
        case "syslog+tcp" | "syslog+tls" if parts.hostname:
            tls = ssl.create_default_context() if parts.scheme == "syslog+tls" else None
            return SyslogDestination(url, parts.hostname, port or SYSLOG_PORTS[parts.scheme], tls)
        case "https" if parts.hostname:
            return WebDestination(url, token)
        case "http" if _is_near(parts):
            return WebDestination(url, token)
        case "http":
            raise _refused("an http:// URL does not name a loopback address")
        case _:
            raise _refused("a URL is of none of the three kinds")


def _is_near(parts: SplitResult) -> bool:
    return parts.hostname is not None and is_loopback(parts.hostname)


def _require_writable(path: Path) -> Path:
    wanted = path if path.exists() else path.parent
    if not os.access(wanted, os.W_OK):
        raise SetupError(
            f"{SETTING} cannot be written: {path}",
            remedy="Make its directory, and give it to the user that runs wharf control.",
        )
    return path


def _refused(problem: str) -> SetupError:
    return SetupError(f"{SETTING}: {problem}", remedy=f"Give URLs such as {EXAMPLES}.")


def _not_forwarded(name: str, error: Exception) -> NotForwardedError:
    reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
    return NotForwardedError(f"{name} did not take entries of the audit log: {reason}")
