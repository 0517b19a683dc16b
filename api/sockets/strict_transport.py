"""HSTS (RFC 6797): a browser that came with HTTPS once does not come without it again."""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = "strict-transport-security"
VALUE = "max-age=31536000"
"""One year. Other hosts of the domain are not ours to decide on."""


class StrictTransport:
    """Adds the header to the answers over HTTPS; over plain HTTP it would not count."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = VALUE
            await send(message)

        is_encrypted = scope["type"] == "http" and scope.get("scheme") == "https"
        await self._app(scope, receive, answer if is_encrypted else send)
