"""Run each operation under each fault on one Engine, and judge each answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace

import httpx2
from aiohttp import BasicAuth
from pydantic import SecretStr

from shared.reference import parse_reference
from tests.fakes.web import open_fake
from tests.faults.engines import open_struck_engine
from tests.faults.fault import Contents, Fault, Tls
from tests.faults.images import LARGE_BYTES, make_large_image
from tests.faults.operations import FaultTools, Target, make_tools, remove, run, serve_context
from tests.faults.scene import PASSWORD, USER, Scene, open_fault
from tests.faults.server import open_front
from tests.faults.verdicts import Judged, Operation, judge
from tests.worker.oci.sample_images import RepositoryFixture
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.jobs.tools import IDLE
from worker.local.images import make_image
from worker.login import EngineLogin
from worker.oci.registry.manifest import ACCEPT
from worker.progress import TransferProgress

AT_ONCE = 4
LAYER_BYTES = (20_000, 30_000)


def _ignore(_: TransferProgress) -> None:
    pass


@dataclass
class Driver:
    """``good`` is the sound registry behind TLS; within ``struck`` the Engine has its fault."""

    scene: Scene
    engine: Engine
    tools: FaultTools
    good: str
    report: Callable[[Judged], None] = lambda _: None
    struck: Callable[[], AbstractAsyncContextManager[None]] = nullcontext

    async def run(self, faults: Iterable[Fault], *, at_once: int = AT_ONCE) -> list[Judged]:
        """Run every operation of every fault; faults run side by side."""
        slots = asyncio.Semaphore(at_once)

        async def one(number: int, fault: Fault) -> list[Judged]:
            async with slots:
                return await self._run_fault(number, fault)

        done = await asyncio.gather(*(one(n, fault) for n, fault in enumerate(faults, 1)))
        return [judged for each in done for judged in each]

    async def _run_fault(self, number: int, fault: Fault) -> list[Judged]:
        config, local = await self._make_images(number)
        if not fault.needs_engine:
            return await self._run_operations(number, fault, config, local)
        if fault.contents:
            await self._store_large_image(number, fault.contents)
        scene = self.scene
        directory = scene.directory / f"struck-{number}"
        async with (
            open_struck_engine(
                directory, scene.authority, fault.strike, fault.disk_bytes
            ) as struck,
            Engine.open(struck.docker_host) as engine,
        ):
            scene = replace(scene, engine=struck.local)
            scene.trust(self.good)
            tools = make_tools(scene, engine, directory, self.tools.api_url or "")
            await tools.connection_settings()  # as a worker, which has worked before
            own = replace(self, scene=scene, engine=engine, tools=tools, struck=struck.struck)
            await own._make_local_image(number)
            return await own._run_operations(number, fault, config, local)

    async def _run_operations(
        self, number: int, fault: Fault, config: str, local: str
    ) -> list[Judged]:
        async with open_fault(self.scene, fault, config) as host:
            target = Target(
                host=host,
                good=self.good,
                reading=f"read/app-{number}",
                writing=f"write/app-{number}",
                local=local,
                source=f"{self.good}/source/app-{number}:1",
                password="" if fault.is_anonymous else fault.password or PASSWORD,
            )
            return [
                await self._judge(fault, operation, target)
                for operation in Operation
                if operation in fault.operations
            ]

    async def _judge(self, fault: Fault, operation: Operation, target: Target) -> Judged:
        async with self.struck():
            answer = await run(
                operation, target, self.tools, limit_seconds=2 * fault.within_seconds + 30
            )
        await remove(target, self.tools)
        expected = fault.expected.get(operation, ())
        verdict = judge(
            expected,
            answer,
            within_seconds=fault.within_seconds,
            may_succeed=fault.may_succeed,
            retryable=fault.retryable,
        )
        judged = Judged(fault.name, operation, expected, answer, verdict)
        self.report(judged)
        return judged

    async def _make_images(self, number: int) -> tuple[str, str]:
        """Store the images of a fault; return the configuration's digest, and the local image."""
        reading, source = f"{self.good}/read/app-{number}:1", f"{self.good}/source/app-{number}:1"
        local = f"local/app-{number}:1"
        login = EngineLogin(host=self.good, username=USER, secret=SecretStr(PASSWORD))
        for name, seed in ((reading, 10_000 + number), (source, 20_000 + number)):
            await asyncio.to_thread(
                make_image,
                self.scene.engine.docker_host,
                name,
                layer_bytes=LAYER_BYTES,
                seed=seed,
                command=["/none"],
            )
            await images.push(self.engine, parse_reference(name), login, _ignore, IDLE)
            await images.remove(self.engine, name, force=True)
        await self._make_local_image(number)
        return await self._config_of(f"read/app-{number}"), local

    async def _make_local_image(self, number: int) -> None:
        await asyncio.to_thread(
            make_image,
            self.scene.engine.docker_host,
            f"local/app-{number}:1",
            layer_bytes=LAYER_BYTES,
            seed=30_000 + number,
        )

    async def _store_large_image(self, number: int, contents: Contents) -> None:
        """Store an image that is larger than the Engine's disk in place of the one to read."""
        registry = RepositoryFixture(
            self.scene.registry.host,
            f"read/app-{number}",
            {"Authorization": BasicAuth(USER, PASSWORD).encode()},
        )
        image = await asyncio.to_thread(make_large_image, contents, LARGE_BYTES)
        await registry.put("1", image)

    async def _config_of(self, repository: str) -> str:
        """Return the digest of an image's configuration; an Engine's id of it may be another."""
        async with httpx2.AsyncClient(auth=(USER, PASSWORD)) as client:
            url = f"http://{self.scene.registry.host}/v2/{repository}/manifests/1"
            answer = await client.get(url, headers=ACCEPT)
        return str(answer.json()["config"]["digest"]).removeprefix("sha256:")


@asynccontextmanager
async def open_driver(
    scene: Scene, report: Callable[[Judged], None] = lambda _: None
) -> AsyncIterator[Driver]:
    """Open the sound registry and an API for build contexts."""

    async def forward(_: object) -> None:
        return None

    async with (
        Engine.open(scene.engine.docker_host) as engine,
        open_front(
            scene.registry.host, forward, listen=scene.address, tls=scene.context(Tls.GOOD)
        ) as good,
        open_fake(serve_context) as api,
    ):
        scene.trust(good.host)
        work = scene.directory / "work"
        work.mkdir()
        tools = make_tools(scene, engine, work, f"http://{api.host}")
        yield Driver(scene, engine, tools, good.host, report)
