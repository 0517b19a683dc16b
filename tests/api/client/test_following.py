"""Both clients follow jobs, builds and deployments until they have ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import httpx2
import pytest

from tests.api.asking import create_registry
from tests.api.client.front import open_front
from tests.api.client.pipeline import Pipeline, open_pipeline
from tests.api.client.test_faults import busy
from tests.api.deploying import DIGEST, create_deployable, deploy, reconcile, replace_next
from tests.api.events.reading import heartbeat
from tests.api.fleet import TestServer
from tests.proxies import Proxy, open_proxy
from tests.waiting import wait_until
from wharfinger import ApiError, Event, models

FAULT = {
    "code": "auth_bad_credentials",
    "message": "ghcr.io refuses the password",
    "remedy": "Store another one.",
    "retryable": False,
}


@pytest.fixture
async def job_id(client: httpx2.AsyncClient, server: TestServer) -> str:
    """A pull that waits for its server."""
    registry = await create_registry(client)
    pull = {
        "image": "ghcr.io/myorg/app:1",
        "registryId": registry["registryId"],
        "serverId": server.server_id,
    }
    answer = await client.post("/api/image.pull", json=pull)
    return str(answer.json()["jobId"])


def wait_for(job_id: str, events: list[Event], client: Any, **more: Any) -> Any:
    return client.job.wait(job_id, on_event=events.append, **more)


async def test_a_job_is_awaited_and_its_events_are_given(
    pipeline: Pipeline, server: TestServer, job_id: str
) -> None:
    events: list[Event] = []
    waiting = asyncio.create_task(pipeline.do(partial(wait_for, job_id, events)))
    job = await server.next_job()
    await server.event(job, "log", {"text": "Pulling from ghcr.io"})
    await heartbeat(server, job_id, 1, 500)
    await wait_until(lambda: any(event.progress for event in events))
    await server.finish(job, "succeeded", result={"reference": "x", "digest": DIGEST})

    ended = await waiting

    assert isinstance(ended, models.JobDetail)
    assert (ended.state, ended.result) == ("succeeded", {"reference": "x", "digest": DIGEST})
    stored = [event for event in events if event.seq]
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    assert [event.text for event in stored if event.text] == ["Pulling from ghcr.io"]
    assert stored[-1].state == "succeeded"
    assert {event.job_id for event in events} == {job_id}
    [progress, *_] = [event.progress for event in events if event.progress]
    assert progress["currentBytes"] == 500


async def test_a_job_that_failed_raises_its_error_unless_it_is_not_checked(
    pipeline: Pipeline, server: TestServer, job_id: str
) -> None:
    await server.fail_next(FAULT)

    with pytest.raises(ApiError) as caught:
        await pipeline.do(partial(wait_for, job_id, []))
    ended = await pipeline.do(partial(wait_for, job_id, [], check=False))

    error = caught.value
    assert (error.code, error.remedy) == (FAULT["code"], FAULT["remedy"])
    assert (error.message, error.job_id) == (FAULT["message"], job_id)
    assert ended.state == "failed"


async def test_a_cancelled_job_raises_its_state(
    pipeline: Pipeline, client: httpx2.AsyncClient, job_id: str
) -> None:
    await client.post("/api/job.cancel", json={"jobId": job_id})

    with pytest.raises(ApiError) as caught:
        await pipeline.do(partial(wait_for, job_id, []))

    assert caught.value.code == "cancelled"


async def test_a_job_that_does_not_end_in_time_goes_on(
    pipeline: Pipeline, client: httpx2.AsyncClient, job_id: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await pipeline.do(partial(wait_for, job_id, [], timeout=timedelta(milliseconds=300)))

    shown = (await client.get("/api/job.one", params={"jobId": job_id})).json()
    assert caught.value.code == "wait_timeout"
    assert job_id in caught.value.message
    assert (shown["state"], shown["cancelRequestedAt"]) == ("queued", None)


async def test_a_broken_stream_is_opened_again_and_no_event_is_lost_or_doubled(
    kind: str, url: str, server: TestServer, job_id: str
) -> None:
    events: list[Event] = []
    async with through_proxy(url) as proxy, open_pipeline(kind, f"http://{proxy.host}") as pipeline:
        waiting = asyncio.create_task(pipeline.do(partial(wait_for, job_id, events)))
        job = await server.next_job()
        for number in range(4):
            await server.event(job, "log", {"text": f"line {number}"})
            await wait_until(partial(has_text, events, f"line {number}"))
            proxy.reset()
        await server.finish(job, "succeeded", result={})
        await waiting

    stored = [event for event in events if event.seq]
    assert texts(events) == [f"line {number}" for number in range(4)]
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    assert proxy.connections >= 5


async def test_a_busy_api_is_asked_again(
    kind: str, client: httpx2.AsyncClient, server: TestServer, job_id: str
) -> None:
    await server.succeed_next({})
    async with (
        open_front(client, busy(429, "3"), busy(), "reset") as front,
        open_pipeline(kind, front.url) as pipeline,
    ):
        ended = await pipeline.do(partial(wait_for, job_id, []))

    assert ended.state == "succeeded"
    assert pipeline.pauses == [3, 0.5, 1.0]


async def test_an_api_that_stays_away_is_not_awaited_for_ever(
    kind: str, client: httpx2.AsyncClient, job_id: str
) -> None:
    async with (
        open_front(client, *["reset"] * 9) as front,
        open_pipeline(kind, front.url) as pipeline,
    ):
        with pytest.raises(ApiError) as caught:
            await pipeline.do(partial(wait_for, job_id, []))

    assert caught.value.code == "no_answer"
    assert len(front.seen) == 4


async def test_a_job_of_nobody_is_not_awaited(pipeline: Pipeline) -> None:
    with pytest.raises(ApiError) as caught:
        await pipeline.do(partial(wait_for, "01890000-0000-7000-8000-000000000000", []))

    assert (caught.value.code, caught.value.status) == ("not_found", 404)


async def test_events_are_iterated_after_a_number(
    pipeline: Pipeline, server: TestServer, job_id: str
) -> None:
    job = await server.next_job()
    await server.event(job, "log", {"text": "one"})
    await server.finish(job, "succeeded", result={})

    def collect(client: Any, after: int | None = None) -> Any:
        events = client.job.events(job_id, after=after)
        return list(events) if pipeline.kind == "sync" else events

    every = await pipeline.do(collect)
    late = await pipeline.do(partial(collect, after=every[-2].seq))

    assert [event.seq for event in every] == list(range(1, len(every) + 1))
    assert late == every[-1:]


async def test_a_build_is_awaited_with_the_events_of_its_jobs(
    pipeline: Pipeline, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    events: list[Event] = []

    def build(client: Any) -> Any:
        return client.application.build(application["applicationId"], tag="2")

    accepted = await pipeline.do(build)
    waiting = asyncio.create_task(
        pipeline.do(lambda client: client.build.wait(accepted.build_id, on_event=events.append))
    )
    await server.succeed_next({"reference": "x"})
    for _ in accepted.job_ids[1:]:
        await server.succeed_next({"reference": "x", "digest": DIGEST})
    await reconcile(server)

    built = await waiting

    assert (built.state, built.digest) == ("succeeded", DIGEST)
    assert list(dict.fromkeys(event.job_id for event in events)) == built.job_ids


async def test_a_deployment_is_awaited_and_its_failure_raised(
    pipeline: Pipeline, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    first = await deploy(client, application["applicationId"])
    events: list[Event] = []
    waiting = asyncio.create_task(
        pipeline.do(
            lambda client: client.deployment.wait(first["deploymentId"], on_event=events.append)
        )
    )
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    await replace_next(server)
    await reconcile(server)
    deployed = await waiting

    assert isinstance(deployed, models.Deployment)
    assert (deployed.state, deployed.digest) == ("succeeded", DIGEST)
    assert {event.job_id for event in events} == set(deployed.servers[0].job_ids)

    second = await deploy(client, application["applicationId"])
    await server.fail_next(FAULT)
    await reconcile(server)
    with pytest.raises(ApiError) as caught:
        await pipeline.do(lambda client: client.deployment.wait(second["deploymentId"]))

    assert caught.value.code == FAULT["code"]


def has_text(events: list[Event], text: str) -> bool:
    return text in texts(events)


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if event.text]


@asynccontextmanager
async def through_proxy(url: str) -> AsyncIterator[Proxy]:
    parts = httpx2.URL(url)
    async with open_proxy((parts.host, parts.port or 80)) as proxy:
        yield proxy
