"""A simulated Engine: it pulls from Docker Hub by itself, and tells its worker only the outcome."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference, parse_reference, parse_registry
from tests.worker.engine.parts import ScriptedEngine, open_scripted_engine
from worker.login import Login
from worker.oci.images.contents import parse_contents
from worker.oci.registry import manifests
from worker.oci.registry.blob import BlobReader
from worker.oci.registry.client import RegistryClient
from worker.oci.transport.settings import ConnectionSettings

USED_UP = "toomanyrequests: You have reached your pull rate limit."


@dataclass
class SimulatedEngine:
    """The images that an Engine has, by ``name@digest``.

    ``pulls`` are those that succeeded, ``refusals`` those that met the limit. With a ``failure``
    all pulls fail with it, and the registry is not asked. ``architectures`` are those of the nodes
    of its Swarm.
    """

    settings: ConnectionSettings
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    pulls: int = 0
    refusals: int = 0
    failure: str = ""
    architectures: tuple[str, ...] = ("x86_64",)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _clients: dict[tuple[str, str], RegistryClient] = field(default_factory=dict)

    async def close(self) -> None:
        await self._stack.aclose()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.endswith("/info"):
            return web.json_response({"RegistryConfig": {}})
        if path.endswith("/images/create"):
            return await self._pull(request)
        if path.endswith("/nodes"):
            return web.json_response([_make_node(each) for each in self.architectures])
        if "/distribution/" in path:
            return await self._look_up(request)
        name = path.partition("/images/")[2].removesuffix("/json")
        image = self.images.get(name)
        if image is None:
            return web.json_response({"message": f"No such image: {name}"}, status=404)
        return web.json_response(image)

    async def _find_client(self, registry: str, login: Login | None) -> RegistryClient:
        """Return a client that keeps its connections, as an Engine does."""
        key = (registry, login.username if login else "")
        if key not in self._clients:
            client = RegistryClient(parse_registry(registry), login, self.settings)
            self._clients[key] = await self._stack.enter_async_context(client)
        return self._clients[key]

    async def _open_registry(self, request: web.Request, reference: Reference) -> RegistryClient:
        given = json.loads(base64.urlsafe_b64decode(request.headers["X-Registry-Auth"]))
        login = None
        if given:
            secret = SecretStr(given["password"])
            login = Login(host=reference.registry, username=given["username"], secret=secret)
        return await self._find_client(reference.registry, login)

    async def _look_up(self, request: web.Request) -> web.StreamResponse:
        """Answer the platforms of an image; an Engine reads its manifest for that."""
        name = request.path.partition("/distribution/")[2].removesuffix("/json")
        reference = parse_reference(name)
        registry = await self._open_registry(request, reference)
        manifest = await manifests.fetch(registry, reference.repository, reference.target)
        found = manifest.descriptor
        descriptor = {
            "mediaType": found.media_type,
            "digest": found.digest,
            "size": found.size_bytes,
        }
        platforms = [{"os": "linux", "architecture": "amd64"}]
        return web.json_response({"Descriptor": descriptor, "Platforms": platforms})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        if self.failure:
            return web.json_response({"message": self.failure}, status=500)
        name, tag = request.query["fromImage"], request.query["tag"]
        reference = parse_reference(f"{name}{'@' if ':' in tag else ':'}{tag}")
        registry = await self._open_registry(request, reference)
        try:
            manifest = await manifests.fetch(registry, reference.repository, reference.target)
            contents = parse_contents(manifest)
            assert contents is not None
            for blob in contents.layers:
                with closing(BlobReader(registry, reference.repository, blob)) as chunks:
                    async for _ in chunks:
                        pass
        except RegistryError as error:
            if error.code != FaultCode.RATE_LIMITED:
                raise
            self.refusals += 1
            return web.json_response({"message": USED_UP}, status=500)
        self.pulls += 1
        digest = manifest.descriptor.digest
        image = {
            "Id": digest,
            "RepoDigests": [f"{reference.name}@{digest}"],
            "Os": "linux",
            "Architecture": "amd64",
        }
        self.images |= {f"{reference.name}@{digest}": image, digest: image}
        status = f"Status: Downloaded newer image for {reference}"
        lines = ({"status": f"Digest: {digest}"}, {"status": status})
        return web.Response(
            text="\n".join(json.dumps(line) for line in lines), content_type="application/json"
        )


def _make_node(architecture: str) -> dict[str, Any]:
    platform = {"OS": "linux", "Architecture": architecture}
    return {
        "ID": f"node-{architecture}",
        "Version": {"Index": 1},
        "Spec": {"Availability": "active"},
        "Status": {"State": "ready"},
        "Description": {"Hostname": architecture, "Platform": platform},
    }


@asynccontextmanager
async def open_simulated_engine(
    directory: Path, settings: ConnectionSettings
) -> AsyncIterator[tuple[SimulatedEngine, ScriptedEngine]]:
    """Serve a simulated Engine on a unix socket during the block."""
    engine = SimulatedEngine(settings)
    async with open_scripted_engine(directory, engine.answer) as scripted:
        try:
            yield engine, scripted
        finally:
            await engine.close()
