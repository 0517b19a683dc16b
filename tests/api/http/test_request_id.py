"""Every answer has an id, and what is logged meanwhile has it too."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx2
import pytest
import structlog
from structlog.testing import LogCapture

from api.http.request_id import choose_id
from tests.api.fleet import TestServer

Logged = list[MutableMapping[str, Any]]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Collect the log events from now on, with their bound values."""
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture.entries
    structlog.reset_defaults()


async def test_a_sane_id_is_kept_answered_and_logged(
    client: httpx2.AsyncClient, logged: Logged
) -> None:
    answer = await client.get("/api/registry.all", headers={"x-request-id": "pipeline-42"})

    assert answer.headers["x-request-id"] == "pipeline-42"
    assert [line["request_id"] for line in logged if line["event"] == "call"] == ["pipeline-42"]


@pytest.mark.parametrize("path", ["/api/registry.all", "/api/nothing", "/healthz", "/nowhere"])
async def test_without_one_an_id_is_made(client: httpx2.AsyncClient, path: str) -> None:
    first, second = [(await client.get(path)).headers["x-request-id"] for _ in range(2)]

    assert first != second
    assert len(first) == 36


@pytest.mark.parametrize(
    "given", ["", "a b", "x" * 101, "a\r\nset-cookie: x", '{"a":1}', "-a", "ü"]
)
def test_an_id_that_could_spoil_a_log_or_a_header_is_not_taken(given: str) -> None:
    assert choose_id(given) != given


async def test_the_job_of_a_call_is_logged_with_its_request(
    client: httpx2.AsyncClient, server: TestServer, logged: Logged
) -> None:
    answer = await client.post(
        "/api/image.pull", json={"image": "nginx"}, headers={"x-request-id": "pipeline-43"}
    )

    [line] = [line for line in logged if line.get("job_id") == answer.json()["jobId"]]
    assert line["request_id"] == "pipeline-43"
