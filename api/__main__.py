"""``python -m api``: serve the API; its settings come from the environment."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from api.main import create_app, leave
from api.procedure.context import Resources
from api.sockets.acceptor import Acceptor, listen
from api.sockets.protocol import HttpConnection
from shared.errors import SetupError, in_sentences
from shared.logs import OncePerSecond, configure_logs
from shared.networks import is_loopback
from shared.settings import ApiSettings, load
from shared.tls import ServerCertificate

GRACE_SECONDS = 5
WAIT_SECONDS = 3
"""After so long a request that waits for a job is answered with the job's id; the job continues."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="wharf api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    arguments = parser.parse_args()
    log = configure_logs("api")
    # Any client can trigger these lines, so each is logged at most once a second.
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(OncePerSecond())
    try:
        settings = load(ApiSettings, os.environ)
        certificate = load_certificate(settings, arguments.host)
        key_file = os.environ.get("WHARF_VAULT_PUBLIC_KEY_FILE")
        app = create_app(settings, log=log, vault_key_file=Path(key_file) if key_file else None)
        config = make_config(app, arguments.host, arguments.port, settings.trusted_proxies)
        asyncio.run(serve(app, config, certificate))
    except SetupError as error:
        sys.exit(f"wharf api: {in_sentences(error.message, error.remedy)}")


def make_config(app: Starlette, host: str, port: int, proxies: str) -> uvicorn.Config:
    """Return the configuration of uvicorn; what ``proxies`` say of a caller counts."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="off",
        # Queries may contain inputs, and inputs may contain secrets, so uvicorn logs no requests.
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        # A client that bypasses the proxy could forge the headers with its address.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def load_certificate(settings: ApiSettings, host: str) -> ServerCertificate | None:
    """Return the certificate with which the API serves TLS; ``None``: plain HTTP.

    Raises:
        SetupError: the certificate cannot be used, or other machines would get plain HTTP.
    """
    if settings.tls_certificate is not None and settings.tls_key is not None:
        return ServerCertificate.load(settings.tls_certificate, settings.tls_key)
    if settings.tls_certificate is not None or settings.tls_key is not None:
        missing = "WHARF_TLS_KEY" if settings.tls_key is None else "WHARF_TLS_CERTIFICATE"
        raise SetupError(
            f"{missing} is missing", remedy="TLS needs both, the certificate and its key."
        )
    if not settings.allow_plain_http and not is_loopback(host):
        raise SetupError(
            f"without TLS the API does not listen on {host}, which other machines reach",
            remedy="Set WHARF_TLS_CERTIFICATE and WHARF_TLS_KEY. Where a proxy does TLS in front "
            "of the API, set WHARF_ALLOW_PLAIN_HTTP to true.",
        )
    return None


async def serve(
    app: Starlette, config: uvicorn.Config, certificate: ServerCertificate | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, with TLS if there is a certificate.

    Raises:
        SetupError: the API cannot start with its settings.
    """
    async with app.router.lifespan_context(app):
        # uvicorn handles these signals, and raises them again after it has stopped.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _already_stopping)
        await Server(config, app, certificate).serve()


class Server(uvicorn.Server):
    """Limit connections. On shutdown finish the received requests; end event streams and waits."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: Starlette,
        certificate: ServerCertificate | None = None,
    ) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._app = app

    @property
    def _resources(self) -> Resources:
        resources: Resources = self._app.state.resources
        return resources

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the sockets and accept connections.

        Raises:
            SetupError: a socket cannot be opened.
        """
        listeners = sockets or await listen(self.config.host, self.config.port)
        # Without uvicorn's own listener: our acceptor accepts connections.
        await super().startup(sockets=[])
        connections = self._resources.connections

        def make_protocol() -> HttpConnection:
            return HttpConnection(self.config, self.server_state, self.lifespan.state, connections)

        acceptor = Acceptor(listeners, connections, make_protocol, self._certificate)
        self.servers.append(acceptor)  # type: ignore[arg-type]

    async def on_tick(self, counter: int) -> bool:
        """Check the connections, and whether the certificate changed, twice a second."""
        if counter % 5 == 0:
            self._resources.connections.check(asyncio.get_running_loop().time())
            if self._certificate is not None:
                self._certificate.refresh()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        leave(self._app, timedelta(seconds=WAIT_SECONDS))
        await super().shutdown(sockets)


def _already_stopping(_number: int, _frame: FrameType | None) -> None: ...


if __name__ == "__main__":
    main()
