"""The next step of a rotation, as a pure function of its tests.

```text
no test yet           test from the first server, alone: a wrong login is refused once
the first passed      test from all others, side by side
not reached           it says nothing of the login; the next server is the first
one failed            refuse the rotation with its fault; switch if it is forced
all others passed     switch
nobody reached        refuse the rotation; switch if it is forced
```

A server that is not reached holds nothing up: it gets the new login with its next job.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.credentials.server_tests import Finding, ServerTest
from shared.faults import Fault

NO_SERVER = Fault(
    code="no_server",
    message="no server that may use the registry could test the new login",
    remedy="Start the worker of such a server, or repeat the request with force.",
)


@dataclass(frozen=True)
class Wait:
    """Tests are running."""


@dataclass(frozen=True)
class Begin:
    """Test from these servers."""

    server_ids: frozenset[str]


@dataclass(frozen=True)
class Switch:
    """Put the new login in use, and keep the old one."""


@dataclass(frozen=True)
class Refuse:
    """Drop the new login."""

    fault: Fault


Step = Wait | Begin | Switch | Refuse


def decide(tests: Sequence[ServerTest], *, forced: bool) -> Step:
    """Return the next step; the tests are in the order in which their servers are asked."""
    findings = {test.finding for test in tests}
    if Finding.RUNNING in findings:
        return Wait()
    if Finding.FAILED in findings:
        return Switch() if forced else Refuse(_refusal(tests))
    waiting = [test.server_id for test in tests if test.finding is Finding.WAITING]
    if Finding.PASSED in findings:
        return Begin(frozenset(waiting)) if waiting else Switch()
    if waiting:
        return Begin(frozenset(waiting[:1]))
    return Switch() if forced else Refuse(NO_SERVER)


def _refusal(tests: Sequence[ServerTest]) -> Fault:
    """Return the fault of the first failed test; its message names the servers."""
    failed = [test for test in tests if test.fault is not None]
    passed = [test.server_name for test in tests if test.finding is Finding.PASSED]
    fault = failed[0].fault
    assert fault is not None  # noqa: S101 - a failed test has its fault
    others = [f"{test.server_name} ({test.fault.code})" for test in failed[1:] if test.fault]
    also = f"; it also fails from {', '.join(others)}" if others else ""
    but = f"; it works from {', '.join(passed)}" if passed else ""
    message = f"the new login fails from the server {failed[0].server_name}: {fault.message}"
    return fault.model_copy(update={"message": f"{message}{also}{but}"})
