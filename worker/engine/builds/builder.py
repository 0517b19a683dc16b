"""Build an image on one Engine, by its classic builder or by BuildKit, over plain ``POST /build``.

A build has succeeded if the Engine reported no error, returned the image's id and ended its
response properly, and if the tag then names that image, for the requested platform.
"""

import base64
import json
import posixpath
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference, RegistryHost
from worker.engine import images
from worker.engine.builds import trace
from worker.engine.builds.files import BuildFiles
from worker.engine.builds.session import SessionResources, open_session
from worker.engine.builds.trace import Trace
from worker.engine.credentials import make_auth_config
from worker.engine.errors import EngineOperation, make_build_error
from worker.engine.transport.connection import Engine
from worker.engine.transport.stream import JsonObject, ReportedStates, read_states
from worker.engine.transport.text import TextLines
from worker.login import EngineLogin

OnLine = Callable[[str], None]

_TRACE, _IMAGE_ID = "moby.buildkit.trace", "moby.image.id"
_STEP = re.compile(r"(?:Step \d+/\d+ |STEP \d+/\d+): (.*)", re.DOTALL)
"""The line of the classic builder, or of Podman, that a step begins with."""

_LAST_LINES = 20


@dataclass(frozen=True)
class BuildRequest:
    """The options of a build.

    ``dockerfile`` is a path in the context, ``stage`` the last stage to build (empty: all),
    ``platform`` ``os/architecture`` (empty: the Engine's). ``secrets`` can be mounted by BuildKit's
    steps, by their ids; the classic builder does not support them.
    """

    tag: Reference
    dockerfile: str = "Dockerfile"
    stage: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    use_buildkit: bool = False
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)

    def params(self) -> dict[str, str]:
        """Return the query of ``POST /build``; an empty option is left to the Engine."""
        values = {
            "t": str(self.tag),
            "dockerfile": self.dockerfile,
            "version": "2" if self.use_buildkit else "1",
            "rm": "true",
            "forcerm": "true",
            "target": self.stage,
            "buildargs": json.dumps(dict(self.build_args)),
            "labels": json.dumps(dict(self.labels)),
            "platform": self.platform,
        }
        return {name: value for name, value in values.items() if value}


async def build(
    engine: Engine,
    request: BuildRequest,
    files: BuildFiles,
    logins: Sequence[EngineLogin],
    *,
    on_line: OnLine,
    idle: timedelta,
) -> str:
    """Build an image of ``files`` and return its id; cancelling it ends the running step.

    ``on_line`` gets the build's log, line by line, with any secrets that are printed there.
    ``logins`` are for private base images. The classic builder gets them and the files with the
    request, BuildKit asks for both, and for secrets, in a session. ``idle`` is how long a step may
    print nothing.

    Raises:
        EngineError: ``build_failed`` with the step and its exit code, ``dockerfile_invalid``,
            ``build_unsupported``, ``platform_missing``, or another error of a base image or
            the Engine.
    """
    operation = EngineOperation("build", request.tag, next(iter(logins), None))
    log = _BuildLog()
    async with (
        _session(engine, request, files, logins) as session,
        engine.stream(
            "POST",
            "build",
            params=request.params() | session,
            headers={"Content-Type": "application/x-tar", **_registry_config(logins)},
            data=None if session else files.read(),
            idle=idle,
            operation=operation,
            read_states=_read_states,
        ) as lines,
    ):
        if request.use_buildkit and not session:
            on_line("no session: COPY also gets an ignored Dockerfile, and a changed one as it is")
        async for line in lines:
            for text in log.feed(line):
                on_line(text)
            _require_no_error(line, log, operation)
    return await _require_image(engine, request, log.image_id, operation)


def _read_states(line: JsonObject) -> ReportedStates:
    aux = line.get("aux")
    if line.get("id") == _TRACE and isinstance(aux, str):
        return trace.read_states(aux)
    return read_states(line)


@asynccontextmanager
async def _session(
    engine: Engine, request: BuildRequest, files: BuildFiles, logins: Sequence[EngineLogin]
) -> AsyncIterator[dict[str, str]]:
    """Open a session and yield its query parameters; only builds with secrets require one."""
    async with AsyncExitStack() as stack:
        query = {}
        if request.use_buildkit:
            name = posixpath.basename(request.dockerfile)
            resources = SessionResources(request.secrets, logins, files, name)
            try:
                session_id = await stack.enter_async_context(
                    open_session(engine.docker_host, resources)
                )
                query = {"session": session_id, "remote": "client-session", "dockerfile": name}
            except EngineError as error:
                if request.secrets or error.code != FaultCode.BUILD_UNSUPPORTED:
                    raise
        yield query


class _BuildLog:
    """The state of a build, read from the lines of either builder: log, image and current step."""

    def __init__(self) -> None:
        self.image_id = ""
        self.last = deque[str](maxlen=_LAST_LINES)
        self._step = ""
        self._trace = Trace()
        self._stream = TextLines()
        self._pulled: dict[str, str] = {}

    @property
    def step(self) -> str:
        """The step that failed, or the last one that started."""
        return self._trace.failed or self._step

    def feed(self, line: JsonObject) -> list[str]:
        """Read one line of JSON and return its lines of text."""
        lines = self._read(line)
        self.last.extend(lines)
        return lines

    def _read(self, line: JsonObject) -> list[str]:
        aux, stream, status = line.get("aux"), line.get("stream"), line.get("status")
        if line.get("id") == _TRACE:
            return self._trace.feed(aux) if isinstance(aux, str) else []
        if line.get("id") in {None, _IMAGE_ID} and isinstance(aux, Mapping):
            self.image_id = str(aux.get("ID", ""))
        if isinstance(stream, str):
            if step := _STEP.match(stream):
                self._step = step[1].strip()
            return self._stream.feed(stream)
        return self._read_pull(line, status) if isinstance(status, str) else []

    def _read_pull(self, line: JsonObject, status: str) -> list[str]:
        """Return a line for each change of state while the classic builder pulls a base image."""
        layer = str(line.get("id", ""))
        if self._pulled.get(layer) == status:
            return []
        self._pulled[layer] = status
        return TextLines().feed(f"{layer}: {status}\n" if layer else f"{status}\n")


def _require_no_error(line: JsonObject, log: _BuildLog, operation: EngineOperation) -> None:
    detail = line.get("errorDetail", line.get("error"))
    if detail is None:
        return
    text = detail.get("message", "") if isinstance(detail, Mapping) else detail
    raise make_build_error(str(text), operation, step=log.step, output=tuple(log.last))


async def _require_image(
    engine: Engine, request: BuildRequest, image_id: str, operation: EngineOperation
) -> str:
    if not image_id:
        raise EngineError(
            FaultCode.ENGINE_STREAM_TRUNCATED,
            f"{operation}: the Docker Engine ended its response too early",
        )
    image = await images.inspect(engine, str(request.tag))
    if image.image_id != image_id:
        raise EngineError(
            FaultCode.ENGINE_STREAM_TRUNCATED,
            f"{operation}: the build made {image_id}, but its tag names {image.image_id}",
            remedy="Another client moved the tag. The build is retried.",
        )
    if request.platform:
        _require_requested_platform(image, request.platform, operation)
    else:
        await images.require_platform(engine, image, operation)
    return image_id


def _require_requested_platform(
    image: images.LocalImage, platform: str, operation: EngineOperation
) -> None:
    """Check the platform: the classic builder only warns of a base image for another one."""
    if platform.split("/")[:2] != [image.os, image.architecture]:
        raise EngineError(
            FaultCode.PLATFORM_MISSING,
            f"{operation}: the image is for {image.os}/{image.architecture}, not for {platform}",
        )


def _registry_config(logins: Sequence[EngineLogin]) -> dict[str, str]:
    """Make ``X-Registry-Config``: one login per host, under the builder's keys for the host.

    The classic builder compares the text of a name: ``host:443`` is another host to it.
    """
    configs = {key: make_auth_config(login) for login in logins for key in _login_keys(login.host)}
    content = json.dumps({key: value for key, value in configs.items() if value}).encode()
    return {"X-Registry-Config": base64.urlsafe_b64encode(content).decode()}


def _login_keys(name: str) -> tuple[str, ...]:
    host = RegistryHost(name)
    has_port = host.port is not None or host.login_key != name
    return (host.login_key,) if has_port else (name, f"{name}:443")
