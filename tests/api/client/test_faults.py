"""A call survives what a network and a busy API do, and does nothing twice."""

import socket
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.api.asking import ADMIN_KEY, create_registry
from tests.api.client.front import Fault, open_front
from tests.api.client.pipeline import Pipeline, open_pipeline
from tests.api.fleet import TestServer
from tests.fakes.certificates import Authority
from tests.fakes.web import open_fake, says
from wharfinger import ApiError, Options, Retries
from wharfinger.retries import parse_retry_after

BUSY = {"message": "busy", "code": "SERVICE_UNAVAILABLE", "data": {"cause": {"code": "busy"}}}


def busy(status: int = 503, retry_after: str | None = None) -> Fault:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return lambda: web.json_response(BUSY, status=status, headers=headers)


def bad_gateway() -> web.Response:
    return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")


async def refused(pipeline: Pipeline) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await pipeline.do(lambda client: client.registry.all())
    return caught.value


FAULTS: dict[str, Fault] = {
    "reset": "reset",
    "lost": "lost",
    "503": busy(),
    "504": busy(504),
    "502": bad_gateway,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_query_is_repeated(kind: str, client: httpx2.AsyncClient, fault: Fault) -> None:
    created = await create_registry(client)
    async with (
        open_front(client, fault) as front,
        open_pipeline(kind, front.url) as pipeline,
    ):
        listed = await pipeline.do(lambda client: client.registry.all())

    assert [each.registry_id for each in listed] == [created["registryId"]]
    assert pipeline.pauses == [0.25]
    assert len(front.seen) == 2


async def test_the_pause_that_the_api_names_is_kept(kind: str, client: httpx2.AsyncClient) -> None:
    faults = [busy(429, "7"), busy(503, "11")]
    async with (
        open_front(client, *faults) as front,
        open_pipeline(kind, front.url) as pipeline,
    ):
        assert await pipeline.do(lambda client: client.registry.all()) == []

    assert pipeline.pauses == [7, 11]


async def test_a_pause_that_is_too_long_is_not_waited_for(
    kind: str, client: httpx2.AsyncClient
) -> None:
    async with (
        open_front(client, busy(429, "3600")) as front,
        open_pipeline(kind, front.url) as pipeline,
    ):
        error = await refused(pipeline)

    assert (error.status, error.retry_after) == (429, timedelta(hours=1))
    assert pipeline.pauses == []


async def test_the_pauses_grow_and_the_attempts_end(kind: str, client: httpx2.AsyncClient) -> None:
    async with (
        open_front(client, *[busy() for _ in range(9)]) as front,
        open_pipeline(kind, front.url) as pipeline,
    ):
        error = await refused(pipeline)

    assert (error.code, error.status) == ("busy", 503)
    assert pipeline.pauses == [0.25, 0.5, 1.0]
    assert len(front.seen) == 4


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_pull_whose_answer_was_lost_is_one_job(
    kind: str, client: httpx2.AsyncClient, server: TestServer, fault: Fault
) -> None:
    registry = await create_registry(client)
    async with (
        open_front(client, fault) as front,
        open_pipeline(kind, front.url) as pipeline,
    ):
        pulled = await pipeline.do(
            partial(_pull, registry_id=registry["registryId"], server_id=server.server_id)
        )

    jobs = (await client.get("/api/job.all")).json()["jobs"]
    assert [each["jobId"] for each in jobs] == [pulled.job_id]
    assert pulled.joined is False
    keys = {request.headers["Idempotency-Key"] for request in front.seen}
    assert (len(front.seen), len(keys)) == (2, 1)


async def test_each_call_has_a_key_of_its_own_and_a_given_one_is_sent(
    kind: str, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client)
    async with open_front(client) as front, open_pipeline(kind, front.url) as pipeline:
        for key in (None, None, "pipeline-17"):
            pull = partial(
                _pull, registry_id=registry["registryId"], server_id=server.server_id, key=key
            )
            await pipeline.do(pull)

    first, second, third = (request.headers["Idempotency-Key"] for request in front.seen)
    assert len({first, second, third}) == 3
    assert third == "pipeline-17"


async def test_what_the_api_cannot_make_repeatable_is_not_repeated(
    kind: str, client: httpx2.AsyncClient
) -> None:
    async with (
        open_front(client, "lost") as front,
        open_pipeline(kind, front.url) as pipeline,
    ):
        with pytest.raises(ApiError) as caught:
            await pipeline.do(lambda client: client.application.create("shop"))

    assert caught.value.code == "no_answer"
    assert "may have been done" in caught.value.message
    assert len(front.seen) == 1
    assert len((await client.get("/api/application.all")).json()) == 1


async def test_it_is_repeated_if_it_was_refused_before_it_began(
    kind: str, client: httpx2.AsyncClient
) -> None:
    async with (
        open_front(client, busy(429, "1")) as front,
        open_pipeline(kind, front.url) as pipeline,
    ):
        await pipeline.do(lambda client: client.application.create("shop"))

    assert len((await client.get("/api/application.all")).json()) == 1


async def test_a_port_where_nothing_listens_is_tried_again_and_named(kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with open_pipeline(kind, url) as pipeline:
            error = await refused(pipeline)

    assert (error.code, error.status) == ("unreachable", None)
    assert error.message.startswith(f"{url} cannot be reached: ")
    assert len(pipeline.pauses) == 3


async def test_an_api_that_says_nothing_is_not_awaited_for_ever(kind: str) -> None:
    options = Options(read_timeout=timedelta(milliseconds=50), retries=Retries(attempts=2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with open_pipeline(kind, url, options=options) as pipeline:
            error = await refused(pipeline)

    assert error.code == "no_answer"
    assert "ReadTimeout" in error.message


@pytest.mark.parametrize(("status", "text"), [(200, "<html>"), (404, "nothing"), (302, "")])
async def test_another_web_server_is_not_taken_for_the_api(
    kind: str, status: int, text: str
) -> None:
    answer = says(status, text=text, kind="text/html", headers={"Location": "https://a.example/"})
    async with open_fake(answer) as fake, open_pipeline(kind, f"http://{fake.host}") as pipeline:
        error = await refused(pipeline)

    assert error.code in {"not_the_api", "answer_unreadable"}
    assert error.status == status
    assert len(fake.requests) == 1


async def test_a_ca_of_the_options_is_trusted_and_no_other_certificate_is(
    kind: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    answer = says(200, text="[]", kind="application/json")
    async with open_fake(answer, tls=authority.context("127.0.0.1")) as fake:
        url = f"https://{fake.host}"
        async with open_pipeline(kind, url) as stranger:
            error = await refused(stranger)
        options = Options(ca_file=authority.file)
        async with open_pipeline(kind, url, options=options) as pipeline:
            assert await pipeline.do(lambda client: client.registry.all()) == []

    assert error.code == "tls_failed"
    assert stranger.pauses == []


async def test_no_error_contains_the_key(kind: str) -> None:
    for key in (f"{ADMIN_KEY}\nx", f"{ADMIN_KEY}é", ""):
        with pytest.raises(ApiError) as caught:
            async with open_pipeline(kind, "http://127.0.0.1:1", key=key):
                pass
        assert caught.value.code == "no_api_key"
        assert ADMIN_KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["wharf.example:4747", "https://me:secret@wharf.example", "http://"]
)
async def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(kind: str, url: str) -> None:
    with pytest.raises(ApiError) as caught:
        async with open_pipeline(kind, url):
            pass

    assert caught.value.code == "bad_url"
    assert "secret" not in str(caught.value)


def test_a_date_is_a_pause_too() -> None:
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)

    assert parse_retry_after("Wed, 01 Jul 2026 12:00:30 GMT", now) == timedelta(seconds=30)
    assert parse_retry_after("Wed, 01 Jul 2026 11:00:00 GMT", now) == timedelta(0)
    assert parse_retry_after("soon", now) is None


def _pull(client: Any, *, registry_id: str, server_id: str, key: str | None = None) -> Any:
    return client.image.pull(
        image="ghcr.io/myorg/app:1",
        registry_id=registry_id,
        server_id=server_id,
        idempotency_key=key,
    )
