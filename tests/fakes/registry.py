"""One repository of a registry that follows OCI distribution 1.1: it deletes a tag by itself."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.fakes.web import Fake, open_fake
from tests.worker.oci.sample_images import INDEX, Image, digest_of


@dataclass
class Repository:
    """``page`` tags are listed at once, whatever was asked for; without ``links`` no ``Link``."""

    page: int = 100
    links: bool = True
    has_referrers: bool = True
    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)

    def put(self, image: Image, *tags: str) -> None:
        for kind, content in image.manifests:
            self.manifests[digest_of(content)] = (kind, content)
        self.tags |= dict.fromkeys(tags, image.digest)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        match request.path.split("/"):
            case [*_, "manifests", name]:
                return self._manifest(request, name)
            case [*_, "tags", "list"]:
                return self._list(request)
            case [*_, "referrers", digest] if self.has_referrers:
                return self._list_referrers(request, digest)
            case _:
                return web.json_response({}, status=200 if request.path == "/v2/" else 404)

    def _manifest(self, request: web.Request, name: str) -> web.StreamResponse:
        digest = self.tags.get(name, name)
        if digest not in self.manifests:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        if request.method == "DELETE":
            self._delete(name)
            return web.Response(status=202)
        kind, content = self.manifests[digest]
        headers = {"Docker-Content-Digest": digest, "Content-Type": kind}
        return web.Response(body=content, headers=headers)

    def _delete(self, name: str) -> None:
        if name in self.tags:
            del self.tags[name]
            return
        del self.manifests[name]
        self.tags = {tag: digest for tag, digest in self.tags.items() if digest != name}

    def _list_referrers(self, request: web.Request, digest: str) -> web.StreamResponse:
        found = [one for one, what in self.subjects.items() if what == digest]
        start = int(request.query.get("start", "0"))
        rest = found[start : start + self.page]
        body = {"schemaVersion": 2, "manifests": [{"digest": one} for one in rest]}
        after = start + self.page
        link = {"Link": f'<{request.path}?start={after}>; rel="next"'} if found[after:] else {}
        return web.json_response(body, headers=link, content_type=INDEX)

    def _list(self, request: web.Request) -> web.StreamResponse:
        tags = sorted(tag for tag in self.tags if tag > request.query.get("last", ""))
        page = tags[: self.page]
        headers = self._link(request, page) if self.links and len(tags) > len(page) else {}
        return web.json_response({"name": "team/app", "tags": page}, headers=headers)

    def _link(self, request: web.Request, page: Sequence[str]) -> dict[str, str]:
        return {"Link": f'<{request.path}?last={page[-1]}>; rel="next"'}


@asynccontextmanager
async def open_repository(repository: Repository) -> AsyncIterator[Fake]:
    """Serve until the block is left."""
    async with open_fake(repository.answer) as fake:
        yield fake
