"""A fault: where it strikes, what it answers, and the codes that are right for each operation."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp import web

from shared.faults import FaultCode as Code
from tests.faults.server import Edit, Respond, Talk
from tests.faults.verdicts import READS, WRITES, Operation

Expected = Mapping[Operation, tuple[Code, ...]]
"""The right codes by operation; an operation that is not named succeeds."""


class Stage(StrEnum):
    """A request of the registry protocol."""

    PING = "ping"
    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"
    UPLOAD_START = "upload start"
    UPLOAD_SEND = "upload send"
    UPLOAD_END = "upload end"
    MANIFEST_PUT = "manifest put"
    ANY = "any"


class Strike(StrEnum):
    """A fault of the Engine itself; ``AMID`` is after the first line of a transfer's answer."""

    AWAY = "not running"
    HANGS = "hangs"
    HANGS_AMID = "hangs amid a transfer"
    HANGS_AMID_BUILD = "hangs amid a build"
    KILLED = "killed amid a transfer"
    CUTS = "cuts the answer to a transfer"
    CUTS_BUILDS = "cuts the answer to a build"
    ENDS = "ends the answer to a transfer"
    REFUSES = "refuses transfers"


class Contents(StrEnum):
    """The bytes of a large layer: dense ones are large compressed, too."""

    DENSE = "random bytes"
    SPARSE = "zeros"


READING_STAGES = frozenset({Stage.MANIFEST, Stage.CONFIG, Stage.LAYER})


class Tls(StrEnum):
    """The certificate of the server."""

    GOOD = "good"
    NONE = "none"
    EXPIRED = "expired"
    UNKNOWN_CA = "unknown CA"
    CA_IN_CERTS_D = "a CA in certs.d alone"
    WRONG_NAME = "wrong name"
    COMMON_NAME_ONLY = "common name only"
    CLIENT_TLS12 = "client certificate, TLS 1.2"
    CLIENT_TLS13 = "client certificate, TLS 1.3"
    OLD = "no common version"
    TLS12 = "TLS 1.2 alone"
    SELF_SIGNED = "self-signed"
    NO_INTERMEDIATE = "no intermediate certificate"


@dataclass(frozen=True)
class Token:
    """A token server in front of the registry, with its own fault."""

    respond: Respond | None = None
    is_listening: bool = True
    rights: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Fault:
    """One fault.

    ``respond`` answers in place of the registry at ``stage``; ``talk`` speaks no HTTP at all.
    ``may_succeed``: some Engines get on with it, and then a success is right too. ``strike`` and
    ``disk_bytes`` are of an Engine of its own, ``contents`` is of a layer too large for its disk.
    ``is_anonymous`` if the job has no login. ``retryable`` is the right verdict, if written down.
    """

    name: str
    expected: Expected
    stage: Stage = Stage.ANY
    respond: Respond | None = None
    edit: Edit | None = None
    talk: Talk | None = None
    tls: Tls = Tls.GOOD
    token: Token | None = None
    password: str | None = None
    is_anonymous: bool = False
    port: str = "open"
    strike: Strike | None = None
    disk_bytes: int = 0
    contents: Contents | None = None
    retryable: bool | None = None
    may_succeed: bool = False
    within_seconds: float = 30.0
    operations: frozenset[Operation] = field(default_factory=lambda: frozenset(Operation))

    @property
    def needs_engine(self) -> bool:
        """True if no other fault can use the same Engine."""
        return self.strike is not None or self.disk_bytes > 0


MANIFEST = re.compile(r"/v2/.+/manifests/")
UPLOADS = re.compile(r"/v2/.+/blobs/uploads/")
BLOB = re.compile(r"/v2/.+/blobs/sha256:")


def stage_of(request: web.Request, config: str) -> Stage:
    """Return the stage of a request; ``config`` is the digest of the image's configuration."""
    path, method = request.path, request.method
    if path == "/v2/":
        return Stage.PING
    if MANIFEST.match(path):
        return Stage.MANIFEST_PUT if method == "PUT" else Stage.MANIFEST
    if UPLOADS.match(path):
        starts = {"POST": Stage.UPLOAD_START, "PATCH": Stage.UPLOAD_SEND, "PUT": Stage.UPLOAD_END}
        return starts.get(method, Stage.ANY)
    if BLOB.match(path):
        return Stage.CONFIG if config in path else Stage.LAYER
    return Stage.ANY


def everywhere(*codes: Code) -> Expected:
    """Every operation fails so."""
    return dict.fromkeys(Operation, codes)


def with_engine(*codes: Code) -> Expected:
    """Every operation fails so, but for copies, which do not ask ``/v2/``."""
    copies = {Operation.COPY_FROM, Operation.COPY_TO}
    return {one: codes for one in Operation if one not in copies}


def reading(*codes: Code, test: tuple[Code, ...] = ()) -> Expected:
    """Every operation that reads an image fails so."""
    return {**dict.fromkeys(READS, codes), **({Operation.TEST: test} if test else {})}


def writing(*codes: Code, test: tuple[Code, ...] = ()) -> Expected:
    """Every operation that writes an image fails so."""
    return {**dict.fromkeys(WRITES, codes), **({Operation.TEST: test} if test else {})}


def split(read: Code, write: Code, test: Code) -> Expected:
    """Operations fail by what they do."""
    return {**reading(read, test=(test,)), **writing(write)}
