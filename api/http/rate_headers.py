"""Show the nearest rate limit: ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (seconds).

The names are those of draft-ietf-httpapi-ratelimit-headers-07, which most clients read.
"""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from api.limits.rate_limit import Room

ROOM = "wharf.rate_limit_room"
"""Where a request's scope holds the `Room` after its calls were counted."""


class RateHeaders:
    """Add the headers to the answer of each request whose calls were counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: MutableMapping[str, Any]) -> None:
            room: Room | None = scope.get(ROOM)
            if room is not None and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["ratelimit-limit"] = str(room.limit)
                headers["ratelimit-remaining"] = str(room.remaining)
                headers["ratelimit-reset"] = str(room.reset_seconds)
            await send(message)

        await self._app(scope, receive, answer)
