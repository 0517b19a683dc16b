"""Build an image on one Engine, by its classic builder or by BuildKit, over plain ``POST /build``.

A build has succeeded when the Engine reported no error, said the image's id, ended its answer
properly, and then has just that image, for the platform that was wanted, under the tag.
"""

import base64
import json
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference, RegistryHost
from worker.engine import images
from worker.engine.builds.session import Offer, open_session
from worker.engine.builds.trace import Trace
from worker.engine.credentials import credential
from worker.engine.errors import Doing, make_build_error
from worker.engine.transport.connection import Engine
from worker.engine.transport.stream import JsonObject
from worker.engine.transport.text import TextLines
from worker.login import EngineLogin

OnLine = Callable[[str], None]

_TRACE, _IMAGE_ID = "moby.buildkit.trace", "moby.image.id"
_STEP = "Step "
_LAST_LINES = 20


@dataclass(frozen=True)
class BuildRequest:
    """What to build, and as what.

    ``dockerfile`` is a path in the context, ``stage`` the last stage to build (empty: all),
    ``platform`` ``os/architecture`` (empty: the Engine's), ``network`` what RUN steps may use
    (``host``, ``none``; empty: the Engine's bridge). ``secrets`` are what steps of BuildKit may
    mount, by their ids; the classic builder knows none.
    """

    tag: Reference
    dockerfile: str = "Dockerfile"
    stage: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    network: str = ""
    use_buildkit: bool = False
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)

    def params(self) -> dict[str, str]:
        """The query of ``POST /build``; what is empty is left to the Engine."""
        wanted = {
            "t": str(self.tag),
            "dockerfile": self.dockerfile,
            "version": "2" if self.use_buildkit else "1",
            "rm": "true",
            "forcerm": "true",
            "target": self.stage,
            "buildargs": json.dumps(dict(self.build_args)),
            "labels": json.dumps(dict(self.labels)),
            "platform": self.platform,
            "networkmode": self.network,
        }
        return {name: value for name, value in wanted.items() if value}


async def build(
    engine: Engine,
    request: BuildRequest,
    context: AsyncIterable[bytes],
    logins: Sequence[EngineLogin],
    *,
    on_line: OnLine,
    idle: timedelta,
) -> str:
    """Build ``context`` (a tar) and give the image's id; cancelling it ends the running step.

    ``on_line`` gets the build's log, line by line, with whatever secrets are printed there.
    ``logins`` are for private bases: the classic builder takes them along, BuildKit asks for them,
    and for secrets, over a session. ``idle`` is how long a step may be silent.

    Raises:
        EngineError: ``build_failed`` with the step and its exit code, ``dockerfile_invalid``,
            ``build_unsupported``, ``platform_missing``, or what went wrong with a base or the
            Engine.
    """
    doing = Doing("build", request.tag, next(iter(logins), None))
    log = _BuildLog()
    async with (
        _session(engine, request, logins) as session,
        engine.stream(
            "POST",
            "build",
            params=request.params() | session,
            headers={"Content-Type": "application/x-tar", **_registry_config(logins)},
            data=aiter(context),
            idle=idle,
            doing=doing,
        ) as lines,
    ):
        async for line in lines:
            for text in log.feed(line):
                on_line(text)
            _require_no_error(line, log, doing)
    return await _require_image(engine, request, log.image_id, doing)


@asynccontextmanager
async def _session(
    engine: Engine, request: BuildRequest, logins: Sequence[EngineLogin]
) -> AsyncIterator[dict[str, str]]:
    """What the query says of a session, while there is one: only secrets cannot do without."""
    async with AsyncExitStack() as stack:
        query = {}
        if request.use_buildkit:
            opening = open_session(engine.docker_host, Offer(request.secrets, logins))
            try:
                query["session"] = await stack.enter_async_context(opening)
            except EngineError as error:
                if request.secrets or error.code != FaultCode.BUILD_UNSUPPORTED:
                    raise
        yield query


class _BuildLog:
    """What the lines of either builder said: the log, the image, and where it stands."""

    def __init__(self) -> None:
        self.image_id = ""
        self.last = deque[str](maxlen=_LAST_LINES)
        self._step = ""
        self._trace = Trace()
        self._stream = TextLines()
        self._pulled: dict[str, str] = {}

    @property
    def step(self) -> str:
        """The step that failed, or else the last one that began."""
        return self._trace.failed or self._step

    def feed(self, line: JsonObject) -> list[str]:
        """The lines of text that one line of JSON stands for."""
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
            if stream.startswith(_STEP):
                self._step = stream.partition(" : ")[2].strip()
            return self._stream.feed(stream)
        return self._read_pull(line, status) if isinstance(status, str) else []

    def _read_pull(self, line: JsonObject, status: str) -> list[str]:
        """The classic builder pulls a base: a line for each change, not for each piece."""
        layer = str(line.get("id", ""))
        if self._pulled.get(layer) == status:
            return []
        self._pulled[layer] = status
        return TextLines().feed(f"{layer}: {status}\n" if layer else f"{status}\n")


def _require_no_error(line: JsonObject, log: _BuildLog, doing: Doing) -> None:
    detail = line.get("errorDetail", line.get("error"))
    if detail is None:
        return
    words = detail.get("message", "") if isinstance(detail, Mapping) else detail
    raise make_build_error(str(words), doing, step=log.step, output=tuple(log.last))


async def _require_image(engine: Engine, request: BuildRequest, image_id: str, doing: Doing) -> str:
    if not image_id:
        raise EngineError(
            FaultCode.ENGINE_STREAM_TRUNCATED, f"{doing}: the Docker Engine stopped in the middle"
        )
    image = await images.inspect(engine, str(request.tag))
    if image.image_id != image_id:
        raise EngineError(
            FaultCode.ENGINE_STREAM_TRUNCATED,
            f"{doing}: {image_id} was built, the tag is at {image.image_id}",
        )
    if request.platform:
        _require_wanted(image, request.platform, doing)
    else:
        await images.require_platform(engine, image, doing)
    return image_id


def _require_wanted(image: images.LocalImage, platform: str, doing: Doing) -> None:
    """The classic builder takes a base of another platform with a mere warning."""
    if platform.split("/")[:2] != [image.os, image.architecture]:
        raise EngineError(
            FaultCode.PLATFORM_MISSING,
            f"{doing}: the image is for {image.os}/{image.architecture}, {platform} was wanted",
        )


def _registry_config(logins: Sequence[EngineLogin]) -> dict[str, str]:
    """``X-Registry-Config``: a login a host, under the name by which the builder looks for it."""
    known = {RegistryHost(login.host).login_key: credential(login) for login in logins}
    content = json.dumps({key: value for key, value in known.items() if value}).encode()
    return {"X-Registry-Config": base64.urlsafe_b64encode(content).decode()}
