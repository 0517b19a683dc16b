"""``python -m api``: serve the API; its settings come from the environment."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from datetime import timedelta
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.main import create_app, leave
from api.procedure.context import Resources
from api.sockets.acceptor import Acceptor, listen
from api.sockets.protocol import HttpConnection
from shared.errors import SetupError
from shared.logs import OncePerSecond, configure_logs
from shared.settings import ApiSettings, load

GRACE_SECONDS = 5
WAIT_SECONDS = 3
"""A request that still waits for a job then is answered with its id; the job goes on."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="wharf api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    arguments = parser.parse_args()
    log = configure_logs("api")
    # Anybody can have it say these: of each once a second.
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(OncePerSecond())
    try:
        app = create_app(load(ApiSettings, os.environ), log=log)
        asyncio.run(serve(app, arguments.host, arguments.port))
    except SetupError as error:
        sys.exit(f"wharf api: {error.message}. {error.remedy}".rstrip())


async def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SetupError: it cannot start as it is set up.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="off",
        # A query may hold an input, and an input may hold a secret: we log our own lines.
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        # A proxy's word on who asks can be forged by whoever reaches us beside it.
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    async with app.router.lifespan_context(app):
        # uvicorn takes these over, and raises the signal again once it has stopped serving.
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, _already_stopping)
        await Server(config, app).serve()


class Server(uvicorn.Server):
    """Bounds its connections; when it stops, finishes the requests that it has taken.

    Those that would not end by then are asked to.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    @property
    def _resources(self) -> Resources:
        held: Resources = self._app.state.resources
        return held

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen.

        Raises:
            SetupError: it cannot listen where it should.
        """
        listeners = sockets or await listen(self.config.host, self.config.port)
        # Without a listener of its own: connections are accepted by ours.
        await super().startup(sockets=[])
        connections = self._resources.connections

        def make_protocol() -> HttpConnection:
            return HttpConnection(self.config, self.server_state, self.lifespan.state, connections)

        self.servers.append(Acceptor(listeners, connections, make_protocol))  # type: ignore[arg-type]

    async def on_tick(self, counter: int) -> bool:
        """Look at the connections twice a second."""
        if counter % 5 == 0:
            self._resources.connections.check(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        leave(self._app, timedelta(seconds=WAIT_SECONDS))
        await super().shutdown(sockets)


def _already_stopping(_sign: int, _frame: FrameType | None) -> None: ...


if __name__ == "__main__":
    main()
