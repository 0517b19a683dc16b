"""A front of a real registry whose tags cannot be moved, like ECR's."""

from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

REFUSAL = {
    "code": "TAG_INVALID",
    "message": "The image tag already exists and cannot be overwritten because the repository is "
    "immutable.",
}


@dataclass
class ImmutableTags:
    """Intercept the requests to ``registry`` (``address:port``).

    A tag is accepted once and then refused, even for the same digest. The responses to the first
    ``lost`` successful writes are cut off.
    """

    registry: str
    lost: int = 0
    refused: int = 0
    written: set[str] = field(default_factory=set)

    async def intercept(self, request: web.Request) -> web.StreamResponse | None:
        tag = request.path.rpartition("/manifests/")[2]
        if request.method != "PUT" or tag == request.path or ":" in tag:
            return None
        if request.path in self.written:
            self.refused += 1
            return web.json_response({"errors": [REFUSAL]}, status=400)
        answer = await self._write(request)
        if answer.status == 201:
            self.written.add(request.path)
            if self.lost:
                self.lost -= 1
                assert request.transport is not None
                request.transport.abort()
        return answer

    async def _write(self, request: web.Request) -> web.Response:
        async with (
            aiohttp.ClientSession() as session,
            session.put(
                f"http://{self.registry}{request.rel_url}",
                headers=request.headers,
                data=await request.read(),
            ) as answer,
        ):
            copied = ("Docker-Content-Digest", "Location", "WWW-Authenticate")
            headers = {name: answer.headers[name] for name in copied if name in answer.headers}
            return web.Response(status=answer.status, headers=headers)
