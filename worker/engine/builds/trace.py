"""BuildKit's progress, ``moby.buildkit.trace``, as readable lines.

Each message is the base64 of a ``StatusResponse`` of ``api/services/control/control.proto`` in
BuildKit; the numbers of its fields are below. Its content comes from the build and is untrusted:
reading never raises, and unreadable parts are skipped.
"""

import base64
import binascii
import codecs
from dataclasses import dataclass, field

from worker.engine.builds.protobuf import read_bytes, read_messages, read_number, read_text
from worker.engine.transport.text import TextLines

MAX_STEPS = 10_000
"""The maximum number of steps that are tracked in a build; a Dockerfile has some dozens."""


@dataclass(frozen=True)
class Vertex:
    """A step of a build.

    ``started`` and ``completed`` are seconds since 1970, 0 until then.
    """

    digest: str
    name: str = ""
    is_cached: bool = False
    started: float = 0.0
    completed: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class VertexLog:
    """A part of a step's output, split at any byte."""

    digest: str
    content: bytes


@dataclass(frozen=True)
class VertexProgress:
    """The bytes of a part of a step: of a layer that is pulled, of files that are sent."""

    digest: str
    part: str
    name: str
    current: int
    total: int
    is_completed: bool


@dataclass(frozen=True)
class Status:
    """One message: changed steps, new output, warnings of the builder, and progress.

    Progress is repeated all the time, the rest is sent once.
    """

    vertexes: tuple[Vertex, ...] = ()
    logs: tuple[VertexLog, ...] = ()
    warnings: tuple[str, ...] = ()
    progress: tuple[VertexProgress, ...] = ()


def parse_status(encoded: str) -> Status:
    """Parse one message; a malformed one is read up to the error."""
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return Status()
    parts = list(read_messages(content))
    return Status(
        tuple(_vertex(part) for number, part in parts if number == 1),
        tuple(_log(part) for number, part in parts if number == 3),
        tuple(read_text(part, 3) for number, part in parts if number == 4),
        tuple(_progress(part) for number, part in parts if number == 2),
    )


def read_states(encoded: str) -> list[tuple[str, VertexProgress]]:
    """Return the progress that a message reports; nothing if it reports anything else, too."""
    status = parse_status(encoded)
    if status.vertexes or status.logs or status.warnings:
        return []
    nothing = VertexProgress("", "", "", 0, 0, is_completed=False)
    return [(f"{one.digest} {one.part}", one) for one in status.progress or [nothing]]


@dataclass
class _Step:
    """The reported state of a vertex; ``decoder`` keeps a partial character between two parts."""

    number: int
    lines: TextLines = field(default_factory=TextLines)
    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    is_named: bool = False
    is_ended: bool = False


class Trace:
    """The log of a build as ``docker build --progress=plain`` prints it.

    ``failed`` is the step that failed.

    ```text
    ```
    """

    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        self._steps: dict[str, _Step] = {}
        self._max = max_steps
        self.failed = ""

    def feed(self, encoded: str) -> list[str]:
        """Read one message and return its lines."""
        status = parse_status(encoded)
        lines = []
        for vertex in status.vertexes:
            lines += self._begin(vertex)
        for log in status.logs:
            lines += self._print(log)
        for vertex in status.vertexes:
            lines += self._end(vertex)
        return [*lines, *(f"warning: {warning}" for warning in status.warnings if warning)]

    def _step(self, digest: str) -> _Step | None:
        if digest not in self._steps and len(self._steps) < self._max:
            self._steps[digest] = _Step(len(self._steps) + 1)
        return self._steps.get(digest)

    def _begin(self, vertex: Vertex) -> list[str]:
        is_reportable = vertex.started or vertex.is_cached or vertex.error
        step = self._step(vertex.digest) if is_reportable else None
        if step is None or step.is_named or not vertex.name:
            return []
        step.is_named = True
        return [f"#{step.number} {line}" for line in TextLines().feed(f"{vertex.name}\n")]

    def _print(self, log: VertexLog) -> list[str]:
        step = self._step(log.digest)
        if step is None:
            return []
        text = step.decoder.decode(log.content)
        return [f"#{step.number} {line}" for line in step.lines.feed(text)]

    def _end(self, vertex: Vertex) -> list[str]:
        step = self._steps.get(vertex.digest)
        if step is None or step.is_ended or not (vertex.completed or vertex.error):
            return []
        step.is_ended = True
        if vertex.error:
            self.failed = vertex.name
        output = [*step.lines.finish(), *TextLines().feed(f"{_outcome(vertex)}\n")]
        return [f"#{step.number} {line}" for line in output]


def _outcome(vertex: Vertex) -> str:
    if vertex.error:
        return f"failed: {vertex.error}"
    if vertex.is_cached:
        return "cached"
    return f"done in {max(vertex.completed - vertex.started, 0.0):.1f} s"


def _vertex(content: bytes) -> Vertex:
    """Read a vertex: 1 digest, 2 inputs, 3 name, 4 cached, 5 started, 6 completed, 7 error."""
    return Vertex(
        read_text(content, 1),
        read_text(content, 3),
        bool(read_number(content, 4)),
        _time(content, 5),
        _time(content, 6),
        read_text(content, 7),
    )


def _progress(content: bytes) -> VertexProgress:
    """Read a status: 1 id, 2 vertex, 3 name, 4 current, 5 total, 6 timestamp, 8 completed."""
    return VertexProgress(
        read_text(content, 2),
        read_text(content, 1),
        read_text(content, 3),
        read_number(content, 4),
        read_number(content, 5),
        is_completed=bool(read_bytes(content, 8)),
    )


def _log(content: bytes) -> VertexLog:
    """Read a log: 1 vertex, 2 timestamp, 3 stream, 4 msg."""
    return VertexLog(read_text(content, 1), read_bytes(content, 4))


def _time(content: bytes, number: int) -> float:
    """Read a ``google.protobuf.Timestamp``: 1 seconds, 2 nanoseconds."""
    moment = read_bytes(content, number)
    return read_number(moment, 1) + read_number(moment, 2) / 1e9
