"""Fixtures for the tests of `worker.engine`: a registry, and scripted Engines."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.reference import Reference
from worker.local.engines import engines_possible
from worker.local.registry import PROGRAM, LocalRegistry
from worker.login import EngineLogin
from worker.registry_tls import RegistryTls

ALLOWED = RegistryTls(plain_http=True)
"""With the permission for plain HTTP."""

USER, PASSWORD = "alice", "correct-horse-77"
IDLE = timedelta(seconds=20)


def require_real_parts() -> None:
    """Skip on a desktop, fail in CI, if no Engine or no registry can be started."""
    reason = engines_possible()
    if reason is None and shutil.which(PROGRAM) is None:
        reason = f"{PROGRAM} is not installed."
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(f"NO REAL ENGINE IS TESTED: {reason}")


@dataclass(frozen=True)
class RegistryFixture:
    """A real registry on our end of a server's link, with one user or open."""

    local: LocalRegistry

    @classmethod
    def start(
        cls, directory: Path, address: str, *, with_password: bool = False
    ) -> "RegistryFixture":
        users = {USER: PASSWORD} if with_password else None
        return cls(LocalRegistry.start(directory, address=address, users=users, bcrypt_rounds=4))

    @property
    def host(self) -> str:
        return self.local.host

    @property
    def address(self) -> tuple[str, int]:
        return self.local.address, self.local.port

    def reference(self, repository: str, tag: str = "1") -> Reference:
        return Reference(self.host, repository, tag)

    def login(self, secret: str = PASSWORD) -> EngineLogin:
        return EngineLogin(host=self.host, username=USER, secret=SecretStr(secret), tls=ALLOWED)


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ScriptedEngine:
    """A fake Engine on a unix socket; ``answer`` responds to everything but ``/version``."""

    docker_host: str
    api: str = "1.41"
    minimum_api: str = "1.12"
    is_sane: bool = True
    requested_paths: list[str] = field(default_factory=list)

    def version(self) -> dict[str, str]:
        return {
            "Version": "20.10",
            "ApiVersion": self.api,
            "MinAPIVersion": self.minimum_api,
            "Os": "linux",
            "Arch": "amd64",
        }

    def count_version_requests(self) -> int:
        return self.requested_paths.count("/version")


@asynccontextmanager
async def open_scripted_engine(directory: Path, answer: Answer) -> AsyncIterator[ScriptedEngine]:
    """Open a scripted Engine on a real socket until the block is left."""
    path = directory / "scripted.sock"
    engine = ScriptedEngine(f"unix://{path}")

    async def handle(request: web.Request) -> web.StreamResponse:
        engine.requested_paths.append(request.path)
        if request.path == "/version" and engine.is_sane:
            return web.json_response(engine.version())
        return await answer(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield engine
    finally:
        await runner.cleanup()
