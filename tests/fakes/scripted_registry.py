"""A registry in a script: it does what the specification says, but for the given answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from tests.fakes.web import Answer

API = {"Docker-Distribution-Api-Version": "registry/2.0"}


def refuses(
    status: int, code: str = "", message: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """An error in the form of the specification."""

    async def answer(_: web.Request) -> web.StreamResponse:
        errors = [{"code": code, "message": message, "detail": None}] if code else []
        return web.json_response(
            {"errors": errors}, status=status, headers={**API, **(headers or {})}
        )

    return answer


@dataclass
class ScriptedRegistry:
    """``special`` maps ``METHOD path-pattern`` to an answer; the first that fits is given.

    ``auth`` is how a login is asked for. A special answer is given to those who are logged in, but
    for those in ``unasked``. ``password`` is the only right one for Basic.
    """

    special: Mapping[str, Answer] = field(default_factory=dict)
    unasked: Mapping[str, Answer] = field(default_factory=dict)
    auth: Literal["basic", "bearer", "none"] = "basic"
    realm: str = ""
    challenge: str = ""
    authorization: str | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if found := _find(self.unasked, request):
            return await found(request)
        if request.path == "/token":
            return web.json_response({"token": "opaque"})
        if self.auth != "none" and not self._is_allowed(request):
            return self.challenge_of(request)
        if found := _find(self.special, request):
            return await found(request)
        return await _serve(request)

    def challenge_of(self, request: web.Request) -> web.StreamResponse:
        realm = self.realm or f"{request.scheme}://{request.host}/token"
        kinds = {
            "basic": 'Basic realm="fake"',
            "bearer": f'Bearer realm="{realm}",service="fake"',
        }
        value = (self.challenge or "{}").format(kinds[self.auth])
        return web.json_response(
            {"errors": [{"code": "UNAUTHORIZED"}]},
            status=401,
            headers={"WWW-Authenticate": value, **API},
        )

    def _is_allowed(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization")
        return given is not None and self.authorization in {None, given}


def _find(answers: Mapping[str, Answer], request: web.Request) -> Answer | None:
    line = f"{request.method} {request.path}"
    return next((one for pattern, one in answers.items() if re.fullmatch(pattern, line)), None)


async def _serve(request: web.Request) -> web.StreamResponse:
    if request.path == "/v2/":
        return web.json_response({}, headers=API)
    if request.path.endswith("/tags/list"):
        return web.json_response({"name": "x", "tags": []}, headers=API)
    if request.path == "/v2/_catalog":
        return web.json_response({"repositories": []}, headers=API)
    if request.method == "POST":
        return web.Response(status=202, headers={"Location": f"{request.path}1", **API})
    if request.method == "DELETE":
        return web.Response(status=204, headers=API)
    code = "BLOB_UNKNOWN" if "/blobs/" in request.path else "MANIFEST_UNKNOWN"
    return await refuses(404, code)(request)
