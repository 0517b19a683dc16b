"""Keep the certificates of one installation valid, and do TLS for servers that have none."""

import asyncio
import contextlib
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from shared.errors import SetupError
from shared.tls import ServerCertificate
from worker.local.tls.authority import CERTIFICATE, KEY, Authority
from worker.local.tls.certificates import Certificates
from worker.local.tls.relay import Address, Negotiate, Relay, after_ssl_request, at_once

API, DATABASE, BROKER, FLOWER = "api", "database", "broker", "flower"
NEGOTIATIONS: dict[str, Negotiate] = {
    DATABASE: after_ssl_request,
    BROKER: at_once,
    FLOWER: at_once,
}

LONGEST_PAUSE = timedelta(minutes=1)

log = structlog.get_logger()


@dataclass(frozen=True)
class Port:
    """A published port: ``name`` is `DATABASE`, `BROKER` or `FLOWER`."""

    name: str
    listen: Address
    target: Address


def find_authority(directory: Path) -> Authority | None:
    """Return the CA of a directory; make it if there is none; ``None`` if its key is elsewhere.

    Raises:
        SetupError: it cannot be read or made.
    """
    if not (directory / CERTIFICATE).exists():
        return Authority.create(directory)
    return Authority.open(directory) if (directory / KEY).exists() else None


async def serve(
    authority: Authority | None, certificates: Certificates, ports: Sequence[Port]
) -> None:
    """Serve the ports and renew all certificates, until SIGTERM or SIGINT.

    Without an ``authority``, renewed certificates have to be put in place by somebody else.

    Raises:
        SetupError: a port cannot be opened, or a certificate cannot be used.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if authority is not None:
        certificates.renew(authority)
    files = {port.name: certificates.path(port.name) for port in ports}
    loaded = {name: ServerCertificate.load(path, path) for name, path in files.items()}
    async with contextlib.AsyncExitStack() as stack:
        for port in ports:
            relay = Relay(port.target, loaded[port.name], NEGOTIATIONS[port.name])
            await stack.enter_async_context(relay.listening(port.listen))
        log.info("tls_ready", ports=[port.listen.port for port in ports])
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_pause(certificates).total_seconds()):
                    await stop.wait()
            _look_after(authority, certificates, loaded.values())


def _pause(certificates: Certificates) -> timedelta:
    return min(LONGEST_PAUSE, certificates.life / 20)


def _look_after(
    authority: Authority | None,
    certificates: Certificates,
    loaded: Iterable[ServerCertificate],
) -> None:
    """Renew what is due and use what has changed; a full disk is tried again at the next turn."""
    if authority is not None:
        try:
            renewed = certificates.renew(authority)
        except SetupError as error:
            log.warning("certificate_not_renewed", error=error.message)
        else:
            for name in renewed:
                log.info("certificate_renewed", certificate=name)
    for certificate in loaded:
        certificate.refresh()
