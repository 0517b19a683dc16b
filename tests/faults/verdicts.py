"""The verdict of one operation under one fault: the expected code and the reported one."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from shared.faults import FaultCode

GENERIC = frozenset({FaultCode.ENGINE_REFUSED, FaultCode.REGISTRY_ERROR})
"""Codes that name no cause; they mislead nobody, and help nobody."""


class Operation(StrEnum):
    """An operation of a user; each is run as a worker runs it."""

    TEST = "test"
    PULL = "pull"
    DEPLOY = "deploy"
    COMPOSE = "compose"
    BUILD = "build"
    PUSH = "push"
    COPY_FROM = "copy from"
    COPY_TO = "copy to"


READS = frozenset(
    {
        Operation.PULL,
        Operation.DEPLOY,
        Operation.COMPOSE,
        Operation.BUILD,
        Operation.COPY_FROM,
    }
)
WRITES = frozenset({Operation.PUSH, Operation.COPY_TO})


ENGINES = (READS | WRITES) - {Operation.COPY_FROM, Operation.COPY_TO}
"""The operations that an Engine carries out; copies and the test need none."""


class Verdict(StrEnum):
    """The judgement of an answer."""

    RIGHT = "right"
    GENERIC = "generic"
    MISLEADING = "misleading"
    FALSE_OK = "false ok"
    FALSE_ALARM = "false alarm"
    OVERDUE = "overdue"


@dataclass(frozen=True)
class Answer:
    """The answer to an operation: ``code`` is ``None`` for a success."""

    code: FaultCode | None
    message: str
    retryable: bool
    seconds: float


@dataclass(frozen=True)
class Judged:
    """An answer beside the expected codes, of which each is right; none for a success."""

    fault: str
    operation: Operation
    expected: tuple[FaultCode, ...]
    answer: Answer
    verdict: Verdict


def judge(
    expected: tuple[FaultCode, ...],
    answer: Answer,
    *,
    within_seconds: float,
    may_succeed: bool = False,
    retryable: bool | None = None,
) -> Verdict:
    """Return the verdict on an answer; a right code with the wrong advice to retry misleads."""
    if answer.seconds > within_seconds:
        return Verdict.OVERDUE
    if answer.code is None:
        return Verdict.FALSE_OK if expected and not may_succeed else Verdict.RIGHT
    if not expected:
        return Verdict.FALSE_ALARM
    if answer.code in expected:
        is_right = retryable in {None, answer.retryable}
        return Verdict.RIGHT if is_right else Verdict.MISLEADING
    return Verdict.GENERIC if answer.code in GENERIC else Verdict.MISLEADING


def count(judged: Iterable[Judged]) -> Counter[Verdict]:
    """Count the answers by verdict."""
    return Counter(one.verdict for one in judged)
