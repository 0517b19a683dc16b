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
from shared.settings import ApiSettings, load

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
        key_file = os.environ.get("WHARF_VAULT_PUBLIC_KEY_FILE")
        app = create_app(settings, log=log, vault_key_file=Path(key_file) if key_file else None)
        asyncio.run(serve(app, arguments.host, arguments.port, settings.trusted_proxies))
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


async def serve(app: Starlette, host: str, port: int, proxies: str = "") -> None:
    """Serve until SIGTERM or SIGINT; believe these proxies what they say of a caller.

    Raises:
        SetupError: the API cannot start with its settings.
    """
    config = make_config(app, host, port, proxies)
    async with app.router.lifespan_context(app):
        # uvicorn handles these signals, and raises them again after it has stopped.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _already_stopping)
        await Server(config, app).serve()


class Server(uvicorn.Server):
    """Limit connections. On shutdown finish the received requests; end event streams and waits."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
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

        self.servers.append(Acceptor(listeners, connections, make_protocol))  # type: ignore[arg-type]

    async def on_tick(self, counter: int) -> bool:
        """Check the connections twice a second."""
        if counter % 5 == 0:
            self._resources.connections.check(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        leave(self._app, timedelta(seconds=WAIT_SECONDS))
        await super().shutdown(sockets)


def _already_stopping(_number: int, _frame: FrameType | None) -> None: ...


if __name__ == "__main__":
    main()
