"""Engines that are away, hang, are killed, have no room, or whose answers do not arrive whole."""

from shared.faults import FaultCode as Code
from tests.faults.fault import Contents, Expected, Fault, Strike
from tests.faults.verdicts import ENGINES, READS, Operation

PULLS = READS - {Operation.COPY_FROM}
SLOW = frozenset({Operation.PULL, Operation.BUILD, Operation.PUSH})
"""The operations that are tried where each takes more than a minute."""

IDLE_SECONDS = 100.0
"""An Engine may move nothing for 60 s; then the worker asks it, and the registry, what is wrong."""

DISK_BYTES = 32 * 2**20
"""About half the size of the layer that is too large for it."""


def with_engine(*codes: Code) -> Expected:
    """Every operation of an Engine fails so."""
    return dict.fromkeys(ENGINES, codes)


def _full(name: str, contents: Contents) -> Fault:
    return Fault(
        name,
        dict.fromkeys(PULLS, (Code.DISK_FULL,)),
        disk_bytes=DISK_BYTES,
        contents=contents,
        retryable=False,
        within_seconds=60.0,
        operations=PULLS | {Operation.TEST},
    )


ENGINE_FAULTS = (
    Fault(
        "Docker is not running",
        with_engine(Code.ENGINE_UNREACHABLE),
        strike=Strike.AWAY,
        retryable=True,
    ),
    Fault(
        "Docker does not answer",
        with_engine(Code.ENGINE_UNREACHABLE),
        strike=Strike.HANGS,
        retryable=True,
        within_seconds=IDLE_SECONDS,
        operations=SLOW | {Operation.TEST, Operation.COPY_FROM},
    ),
    Fault(
        "Docker is killed amid a transfer",
        with_engine(Code.ENGINE_UNREACHABLE, Code.ENGINE_STREAM_TRUNCATED),
        strike=Strike.KILLED,
        retryable=True,
    ),
    Fault(
        "Docker stops answering amid a transfer",
        with_engine(Code.ENGINE_UNREACHABLE),
        strike=Strike.HANGS_AMID,
        retryable=True,
        within_seconds=IDLE_SECONDS,
        operations=SLOW | {Operation.TEST},
    ),
    Fault(
        "Docker stops answering amid a build",
        {Operation.BUILD: (Code.ENGINE_UNREACHABLE,)},
        strike=Strike.HANGS_AMID_BUILD,
        retryable=True,
        within_seconds=IDLE_SECONDS,
        operations=frozenset({Operation.BUILD}),
    ),
    Fault(
        "Docker's answer is cut",
        with_engine(Code.ENGINE_STREAM_TRUNCATED),
        strike=Strike.CUTS,
        retryable=True,
    ),
    Fault(
        "Docker's answer to a build is cut",
        {Operation.BUILD: (Code.ENGINE_STREAM_TRUNCATED,)},
        strike=Strike.CUTS_BUILDS,
        retryable=True,
    ),
    Fault(
        "Docker's answer ends before its result",
        with_engine(Code.ENGINE_STREAM_TRUNCATED),
        strike=Strike.ENDS,
        retryable=True,
    ),
    Fault(
        "a proxy before Docker's socket refuses transfers",
        with_engine(Code.BLOCKED_BY_PROXY),
        strike=Strike.REFUSES,
        retryable=False,
    ),
    _full("the server's disk is full: downloading", Contents.DENSE),
    _full("the server's disk is full: unpacking", Contents.SPARSE),
)
