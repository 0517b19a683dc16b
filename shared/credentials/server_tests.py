"""The tests of a new login, one for each server, as a rotation stores them."""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared.faults import Fault


class Finding(StrEnum):
    """``not_reached``: the server did not take the test, or was lost during it."""

    WAITING = "waiting"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    NOT_REACHED = "not_reached"


class ServerTest(BaseModel):
    """The test from one server; ``fault`` is why it failed."""

    model_config = ConfigDict(frozen=True)

    server_id: str
    server_name: str
    finding: Finding = Finding.WAITING
    job_id: str | None = None
    fault: Fault | None = None


_TESTS = TypeAdapter(tuple[ServerTest, ...])


def parse_tests(document: object) -> tuple[ServerTest, ...]:
    """Parse the tests of a stored rotation; none of one that has not chosen its servers."""
    return _TESTS.validate_python(document or (), strict=False)


def to_document(tests: Sequence[ServerTest]) -> list[dict[str, object]]:
    """Return the tests as they are stored."""
    return [test.model_dump(mode="json") for test in tests]
