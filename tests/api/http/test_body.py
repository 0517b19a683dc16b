"""Bodies that are no JSON, in each dialect; bodies that never arrive."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from api.errors import RequestTimeoutError, TooManyAtOnceError, UnreadableInputError
from api.fields.json_text import MAX_DEPTH, parse_json
from api.http.body import read_body
from api.limits.concurrency_limit import ConcurrencyLimit
from tests.waiting import wait_until

JSON = {"content-type": "application/json"}
TWICE = '{"registryId": "a", "registryId": "b"}'


def nest(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TWICE, '"registryId" twice'),
        ('{"a": {"b": 1, "c": [{"x": 1, "x": 1}]}}', '"x" twice'),
        (r'{"\u001b[2J": 1, "\u001b[2J": 2}', r'"\x1b[2J" twice'),
        (json.dumps({"n" * 90: 1})[:-1] + ', "' + "n" * 90 + '": 2}', '"' + "n" * 60 + '" twice'),
        (nest(MAX_DEPTH + 1), "levels deep"),
        (nest(100_000), "levels deep"),
        ('{"a":' * 90_000 + "1" + "}" * 90_000, "levels deep"),
        ("1e400", "a number is not finite"),
        ("-1e400", "a number is not finite"),
        ("1" * 5000, "a number is not finite"),
        ("[NaN]", "a number is not finite"),
    ],
)
def test_json_that_readers_take_differently_or_that_has_no_bounds_is_refused(
    text: str, said: str
) -> None:
    with pytest.raises(UnreadableInputError) as caught:
        parse_json(text)

    assert said in caught.value.message
    assert len(caught.value.message) < 200


def test_json_up_to_the_greatest_depth_is_read() -> None:
    assert parse_json(nest(MAX_DEPTH)) is not None
    assert parse_json('{"a": [{"a": 1.5e3}], "b": -1}') == {"a": [{"a": 1500.0}], "b": -1}


REQUESTS = [
    ("/api/registry.remove", TWICE, None),
    ("/api/trpc/registry.remove", TWICE, None),
    ("/api/trpc/registry.remove", f'{{"json": {TWICE}}}', None),
    ("/api/trpc/registry.remove?batch=1", f'{{"0": {{"json": {TWICE}}}}}', None),
    ("/api/trpc/registry.remove", nest(900), None),
    ("/api/trpc/registry.remove?batch=1", nest(900), None),
    ("/api/registry.remove", nest(900), None),
    ("/api/trpc/registry.one", None, TWICE),
    ("/api/trpc/registry.one", None, f'{{"json": {TWICE}}}'),
    ("/api/trpc/registry.one", None, nest(900)),
    ("/api/trpc/registry.one?batch=1", None, f'{{"0": {{"json": {TWICE}}}}}'),
    ("/api/trpc/job.events", None, '{"jobId": "a", "jobId": "b"}'),
]


async def test_such_json_is_a_bad_request_in_every_dialect(client: httpx2.AsyncClient) -> None:
    for path, body, query in REQUESTS:
        if body is None:
            answer = await client.get(httpx2.URL(path).copy_merge_params({"input": query or ""}))
        else:
            answer = await client.post(path, content=body, headers=JSON)

        assert answer.status_code == 400, (path, answer.text)
        assert "twice" in answer.text or "levels deep" in answer.text, (path, answer.text)


def request(*messages: dict[str, Any], host: str = "192.0.2.1") -> Request:
    """One whose body stops after these messages."""
    left = list(messages)

    async def receive() -> Any:
        return left.pop(0) if left else await asyncio.Event().wait()

    return Request({"type": "http", "client": (host, 1)}, receive)


def part(size: int, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": bytes(size), "more_body": more}


async def test_a_body_that_does_not_come_is_not_waited_for_without_end() -> None:
    with pytest.raises(RequestTimeoutError):
        await read_body(
            request(part(5)), ConcurrencyLimit("x", 1, 1, 1), timedelta(milliseconds=20)
        )


async def test_large_bodies_of_one_address_are_few_at_once_and_small_ones_any_number() -> None:
    places = ConcurrencyLimit(
        "large requests", total=2, per_owner=1, per_key=2, owner="this address"
    )
    slow = asyncio.create_task(read_body(request(part(40_000), part(40_000)), places))
    await wait_until(lambda: places.taken == 1)

    with pytest.raises(TooManyAtOnceError, match="this address has 1 large requests"):
        await read_body(request(part(70_000, more=False)), places)
    small = await read_body(request(part(60_000, more=False)), places)
    other = await read_body(request(part(70_000, more=False), host="198.51.100.7"), places)
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)

    assert (len(small), len(other), places.taken) == (60_000, 70_000, 0)
