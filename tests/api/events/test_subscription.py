"""`job.events` as ``httpSubscriptionLink`` of ``@trpc/client`` 11 asks for it and reads it."""

import json
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.api.events.test_stream import end_one
from tests.api.fleet import TestServer

PATH = "/api/trpc/job.events"


def subscribe(job_id: str, **more: Any) -> str:
    return f"{PATH}?input={quote(json.dumps({'json': {'jobId': job_id, **more}}))}"


def read_messages(text: str) -> list[dict[str, str]]:
    blocks = [block.splitlines() for block in text.split("\n\n") if block.strip()]
    return [
        {name: value for name, _, value in (line.partition(": ") for line in block)}
        for block in blocks
    ]


async def test_a_subscription_has_unnamed_messages_in_superjson_and_says_its_end(
    client: httpx2.AsyncClient, job_id: str, server: TestServer
) -> None:
    await end_one(server)

    answer = await client.get(subscribe(job_id))

    assert answer.headers["content-type"].startswith("text/event-stream")
    _, connected, *messages, ended = read_messages(answer.text)
    assert connected == {"event": "connected", "data": "{}"}
    assert ended["event"] == "return"
    assert not [each for each in messages if "event" in each]
    shown = (await client.get("/api/job.one", params={"jobId": job_id})).json()["events"]
    assert [json.loads(each["data"])["json"] for each in messages] == shown
    assert [each["id"] for each in messages] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("last", ["3", 3])
async def test_a_client_that_subscribes_again_sends_the_last_id_as_text(
    client: httpx2.AsyncClient, job_id: str, server: TestServer, last: object
) -> None:
    await end_one(server)

    by_input = await client.get(subscribe(job_id, lastEventId=last))
    by_header = await client.get(subscribe(job_id, lastEventId="1"), headers={"last-event-id": "4"})

    assert by_input.text.count("id: ") == 2
    assert by_header.text.count("id: ") == 1


async def test_a_client_that_had_the_end_is_told_so(
    client: httpx2.AsyncClient, job_id: str, server: TestServer
) -> None:
    await end_one(server)

    answer = await client.get(subscribe(job_id, lastEventId="5"))

    assert answer.status_code == 200
    assert [each.get("event") for each in read_messages(answer.text)] == [
        None,
        "connected",
        "return",
    ]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (subscribe("nothing"), "NOT_FOUND"),
        (subscribe("x", colour="red"), "BAD_REQUEST"),
        (f"{subscribe('x')}&connectionParams=%7B%7D", "BAD_REQUEST"),
    ],
)
async def test_an_error_is_a_message_that_the_client_understands(
    client: httpx2.AsyncClient, path: str, code: str
) -> None:
    answer = await client.get(path)

    [_, _, failed] = read_messages(answer.text)
    assert failed["event"] == "serialized-error"
    assert json.loads(failed["data"])["json"]["data"]["code"] == code
