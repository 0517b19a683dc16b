"""Cancelled pushes and tags of an Engine that stands still and goes on later."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePush, ImageTag
from shared.jobs.results import ImageResult
from tests.fakes.web import Fake, open_fake
from tests.waiting import wait_until
from tests.worker.engine.parts import open_scripted_engine
from tests.worker.oci.parts import ALLOWED
from tests.worker.parts import make_tools
from worker.engine.transport.connection import Engine
from worker.images.pull_push_tag import push, tag
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.tools import Tools
from worker.login import Grant, Grants, Login

REGISTRY = {"Docker-Distribution-Api-Version": "registry/2.0"}
OCI = "application/vnd.oci.image.manifest.v1+json"
IMAGE_ID = f"sha256:{'a' * 64}"
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": IMAGE_ID, "size": 2}
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": CONFIG, "layers": []})
DIGEST = f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"


@dataclass
class FrozenEngine:
    """An Engine that takes a push and then stands still until ``thawed`` is set.

    When it goes on it writes what it was asked to write, if ``writes``, before it answers a ping.
    """

    writes: bool = True
    frozen: asyncio.Event = field(default_factory=asyncio.Event)
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    pinged: asyncio.Event = field(default_factory=asyncio.Event)
    has_tag: bool = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer as an Engine."""
        if request.path.endswith("/json"):
            return web.json_response(
                {"Id": IMAGE_ID, "Os": "linux", "Architecture": "amd64", "Size": 2}
            )
        if request.path.endswith("/info"):
            return web.json_response({"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}})
        if request.path.endswith("/push"):
            self.frozen.set()
        if request.path.endswith("/tag") and not self.frozen.is_set():
            return web.Response(status=201)
        if request.path.endswith("/_ping"):
            self.pinged.set()
        await self.thawed.wait()
        self.has_tag = self.writes
        return web.Response(text="OK", status=201 if request.path.endswith("/tag") else 200)

    async def answer_as_registry(self, request: web.Request) -> web.StreamResponse:
        """Answer as the registry that this Engine pushes to."""
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": f"{request.path}1"})
        if "/manifests/" not in request.path:
            return web.json_response({}, headers=REGISTRY)
        if not self.has_tag:
            unknown = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return web.json_response(unknown, status=404)
        headers = {"Docker-Content-Digest": DIGEST, "Content-Type": OCI}
        return web.Response(text=MANIFEST, headers=headers)


@dataclass
class CancelScenario:
    """A worker with a frozen Engine, a registry, and one attempt."""

    engine: FrozenEngine
    engine_requests: list[str]
    registry: Fake
    tools: Tools
    attempt: Attempt = field(default_factory=lambda: Attempt("job", 1))

    def start_push(self) -> asyncio.Task[ImageResult]:
        command = ImagePush(
            source="app:1", reference=f"{self.registry.host}/team/app:1", registry_id="registry"
        )
        nobody = Login(host=self.registry.host, username="", secret=SecretStr(""), tls=ALLOWED)
        grant = Grant(login=nobody, repository="team/app", rights=frozenset({"push"}))
        return self._start(push(command, Grants(grants=(grant,)), self.attempt, self.tools))

    def start_tag(self) -> asyncio.Task[ImageResult]:
        self.engine.frozen.set()
        command = ImageTag(source="app:1", reference="team/app:1")
        return self._start(tag(command, self.attempt, self.tools))

    def _start(self, work: Coroutine[Any, Any, ImageResult]) -> asyncio.Task[ImageResult]:
        self.attempt.task = task = asyncio.create_task(work)
        return task


@asynccontextmanager
async def open_scenario(directory: Path, *, writes: bool = True) -> AsyncIterator[CancelScenario]:
    frozen = FrozenEngine(writes)
    async with (
        open_scripted_engine(directory, frozen.answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
        open_fake(frozen.answer_as_registry) as registry,
    ):
        yield CancelScenario(
            frozen, scripted.requested_paths, registry, make_tools(engine, "loopback", directory)
        )


async def test_a_cancelled_push_that_the_engine_finishes_later_has_succeeded(
    tmp_path: Path,
) -> None:
    async with open_scenario(tmp_path) as scenario:
        pushing = scenario.start_push()
        await asyncio.wait_for(scenario.engine.frozen.wait(), 10)

        scenario.attempt.stop(StopReason.CANCELLED)
        await asyncio.wait({pushing}, timeout=0)
        await asyncio.wait_for(scenario.engine.pinged.wait(), 10)
        scenario.engine.thawed.set()

        assert (await pushing).digest == DIGEST


async def test_a_cancelled_push_that_the_engine_gives_up_is_stopped(tmp_path: Path) -> None:
    async with open_scenario(tmp_path, writes=False) as scenario:
        pushing = scenario.start_push()
        await asyncio.wait_for(scenario.engine.frozen.wait(), 10)

        scenario.attempt.stop(StopReason.CANCELLED)
        scenario.engine.thawed.set()

        with pytest.raises(asyncio.CancelledError):
            await pushing
    assert not scenario.attempt.is_too_late


async def test_a_cancelled_push_fails_if_the_engine_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.jobs.tools.ENGINE_SECONDS", 0.2)
    async with open_scenario(tmp_path) as scenario:
        pushing = scenario.start_push()
        await asyncio.wait_for(scenario.engine.frozen.wait(), 10)

        scenario.attempt.stop(StopReason.CANCELLED)

        with pytest.raises(EngineError, match="may still complete it") as caught:
            await pushing
        scenario.engine.thawed.set()
    assert caught.value.code == FaultCode.ENGINE_UNREACHABLE
    assert scenario.attempt.is_too_late


async def test_a_cancelled_tag_waits_for_the_engine_and_has_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.jobs.last_step.LAST_STEP_SECONDS", 0)
    async with open_scenario(tmp_path) as scenario:
        tagging = scenario.start_tag()
        await wait_until(lambda: any("/tag" in path for path in scenario.engine_requests))

        scenario.attempt.stop(StopReason.CANCELLED)
        await asyncio.wait({tagging}, timeout=0.1)
        scenario.engine.thawed.set()

        assert (await tagging).image_id == IMAGE_ID
