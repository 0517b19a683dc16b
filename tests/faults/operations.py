"""The operations of users, run as a worker runs them, and their answers."""

import asyncio
import contextlib
import hashlib
import io
import tarfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import web
from pydantic import BaseModel, SecretStr

from shared.errors import EngineError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import (
    ComposeImage,
    ComposePull,
    ImageBuild,
    ImageCopy,
    ImagePull,
    ImagePush,
    RegistryTest,
)
from shared.jobs.sources import UploadSource
from shared.networks import parse_networks
from tests.faults.scene import PASSWORD, USER, Scene
from tests.faults.verdicts import Answer, Operation
from worker.builds import build as builds
from worker.deployments.recovery import RecoveryJournal
from worker.deployments.tools import DeploymentTools
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.images import compose, copy, pull_push_tag
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.jobs.workspaces import Workspaces
from worker.login import CONTEXT_TOKEN, Grant, Grants, Login
from worker.oci.transport.settings import ConnectionSettings
from worker.registries.diagnosis import run_test
from worker.registry_tls import RegistryTls

CONTEXT = "context"
ALLOWED = RegistryTls(plain_http=True)


@dataclass(frozen=True)
class FaultTools(DeploymentTools):
    """A worker's tools, with the CAs of a scene."""

    certificates: Path = Path("/nowhere")

    async def connection_settings(self) -> ConnectionSettings:
        """Return the settings with the scene's directory of CAs."""
        return self._with_certificates(await super().connection_settings())

    def recent_settings(self) -> ConnectionSettings | None:
        """Return the recent settings with the scene's directory of CAs."""
        settings = super().recent_settings()
        return settings and self._with_certificates(settings)

    def _with_certificates(self, settings: ConnectionSettings) -> ConnectionSettings:
        return replace(settings, certificates=self.certificates)


@dataclass(frozen=True)
class Target:
    """The images of one fault: ``host`` is the faulty server, ``good`` the sound registry.

    ``reading`` is the repository of the image ``1`` in both; ``writing`` does not exist yet.
    ``local`` is an image on the Engine, ``source`` the same one at the sound registry. Without a
    ``password`` there is no login for ``host``.
    """

    host: str
    good: str
    reading: str
    writing: str
    local: str
    source: str
    password: str


def grants(target: Target) -> Grants:
    """Return the logins of an attempt: of the faulty server, and of the sound one."""
    rights = frozenset({"pull", "push"})
    logins = ((target.host, target.password), (target.good, PASSWORD))
    return Grants(
        grants=tuple(
            Grant(
                login=Login(
                    host=host,
                    username=USER if password else "",
                    secret=SecretStr(password),
                    tls=ALLOWED,
                ),
                repository="*",
                rights=rights,
            )
            for host, password in logins
        ),
        secrets={CONTEXT_TOKEN: SecretStr("context-token")},
    )


async def run(
    operation: Operation, target: Target, tools: Tools, *, limit_seconds: float
) -> Answer:
    """Run an operation and return its answer; it is stopped after the limit."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(limit_seconds):
            await _start(operation, target, tools)
    except WharfError as error:
        fault = error.fault()
        return Answer(
            FaultCode(fault.code),
            f"{fault.message} {fault.remedy}",
            fault.retryable,
            time.monotonic() - begun,
        )
    except TimeoutError:
        return Answer(None, "stopped", retryable=False, seconds=time.monotonic() - begun)
    finally:
        await tools.clean_ups.finish()
    return Answer(None, "", retryable=False, seconds=time.monotonic() - begun)


def _start(operation: Operation, target: Target, tools: Tools) -> Awaitable[BaseModel]:
    given, attempt = grants(target), Attempt("job", 1)
    work: Awaitable[BaseModel]
    read = f"{target.host}/{target.reading}:1"
    registry = "faulty" if target.password else None
    match operation:
        case Operation.TEST:
            username = given.grants[0].login.username
            test = RegistryTest(host=target.host, username=username, repository=target.reading)
            login = given.grants[0].model_copy(update={"repository": target.reading})
            work = run_test(test, Grants(grants=(login,)), tools)
        case Operation.COMPOSE:
            work = compose.pull(_compose_command(read, registry), given, attempt, tools)
        case Operation.BUILD:
            work = builds.build(_build_command(target, read), given, attempt, tools)
        case Operation.COPY_FROM | Operation.COPY_TO:
            is_from = operation is Operation.COPY_FROM
            source, host = (read, target.good) if is_from else (target.source, target.host)
            names = ("faulty", "good") if is_from else ("good", "faulty")
            reference = f"{host}/{target.writing}-copy:1"
            command = ImageCopy(
                source=source,
                reference=reference,
                source_registry_id=names[0],
                registry_id=names[1],
            )
            work = copy.copy(command, given, attempt, tools)
        case Operation.PUSH:
            reference = f"{target.host}/{target.writing}:1"
            push = ImagePush(source=target.local, reference=reference, registry_id=registry)
            work = pull_push_tag.push(push, given, attempt, tools)
        case _:
            preflight = operation is Operation.DEPLOY
            pull = ImagePull(reference=read, registry_id=registry, preflight=preflight)
            work = pull_push_tag.pull(pull, given, attempt, tools)
    return work


def _compose_command(read: str, registry: str | None) -> ComposePull:
    image = ComposeImage(services=("web",), reference=read, registry_id=registry)
    return ComposePull(compose=f"services:\n  web:\n    image: {read}\n", images=(image,))


def context_of(base: str) -> bytes:
    """Return a build context: a tar with a Dockerfile on that base."""
    text = f'FROM {base}\nLABEL made="here"\n'.encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return stream.getvalue()


def _build_command(target: Target, base: str) -> ImageBuild:
    content = context_of(base)
    return ImageBuild(
        application_id="application",
        reference=f"wharf.example/built/{target.writing}:1",
        source=UploadSource(
            context_id=f"{CONTEXT}-{base.replace('/', '!')}",
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        ),
        base_host=target.host,
        registry_id="faulty",
    )


async def serve_context(request: web.Request) -> web.StreamResponse:
    """Answer as an API that stores the context of each base."""
    name = request.path.rpartition("/")[2].removeprefix(f"{CONTEXT}-")
    return web.Response(body=context_of(name.replace("!", "/")))


async def remove(target: Target, tools: Tools) -> None:
    """Remove what the operation left on the Engine, so that the next one begins without it."""
    names = (
        f"{target.host}/{target.reading}:1",
        f"{target.host}/{target.writing}:1",
        f"wharf.example/built/{target.writing}:1",
    )
    for name in names:
        with contextlib.suppress(EngineError):
            await images.remove(tools.engine, name, force=True)


def make_tools(scene: Scene, engine: Engine, directory: Path, api: str) -> FaultTools:
    """Make the tools of a worker whose API is at ``api``."""
    return FaultTools(
        engine,
        parse_networks("private,loopback"),
        Workspaces.open(directory / "builds"),
        api,
        journal=RecoveryJournal(engine, directory / "begun.json"),
        certificates=scene.certificates,
    )
