"""The pages of jobs: lists with filters, one job, cancelling, and the stream that follows it."""

import httpx2
from starlette.applications import Starlette

from shared.jobs.store.release import Released
from tests.api.console.browsing import Browser
from tests.api.events.reading import Reader, ReceivedEvent, serving
from tests.api.fleet import TestServer
from tests.databases import Database

HOSTILE = "<script>alert(1)</script>\x1b[31mred\x1b[0m\u202egpj.exe"
SHOWN = "&lt;script&gt;alert(1)&lt;/script&gt;"


async def pull(client: httpx2.AsyncClient, image: str = "nginx") -> str:
    answer = await client.post("/api/image.pull", json={"image": image})
    job_id: str = answer.json()["jobId"]
    return job_id


async def state_of(client: httpx2.AsyncClient, job_id: str) -> str:
    shown = (await client.get("/api/job.one", params={"jobId": job_id})).json()
    state: str = shown["state"]
    return state


async def test_the_list_is_filtered_by_its_address_and_says_why_a_job_waits(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    assert "There is no job yet" in (await owner.get("/jobs")).text
    first = await pull(client, "nginx")
    await server.fail_next({"code": "image_not_found", "message": "gone", "retryable": False})
    second = await pull(client, "redis")
    database.execute("UPDATE server SET seen_at = now() - interval '1 minute'")

    everything = (await owner.get("/jobs")).text
    failed = (await owner.get("/jobs", state="failed", kind="image.pull")).text

    assert first in everything and second in everything
    assert "the server alpha has not been online" in everything
    assert first in failed and second not in failed
    assert "image_not_found" in failed
    assert "No job matches" in (await owner.get("/jobs", kind="compose.pull")).text
    assert (await owner.get("/jobs", state="nonsense")).status_code == 400


async def test_older_jobs_are_on_the_next_page(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    ids = [await pull(client, f"image-{number}") for number in range(51)]

    newest = (await owner.get("/jobs", kind="image.pull")).text
    cursor = newest.partition("cursor=")[2].partition('"')[0]
    older = (await owner.get("/jobs", kind="image.pull", cursor=cursor)).text

    assert ids[0] not in newest and ids[50] in newest
    assert ids[0] in older and ids[50] not in older


async def test_a_job_shows_its_layers_log_and_error(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)
    job = await server.next_job()
    await server.event(job, "log", {"text": "Pulling from library/nginx"})
    await move(server, job, 512)

    page = (await owner.get(f"/jobs/{job_id}")).text

    assert "Pulling from library/nginx" in page
    assert "512 B of 1.0 KiB" in page
    assert f'data-stream="/console/jobs/{job_id}/events"' in page

    error = {"code": "disk_full", "message": "no space", "remedy": "Remove images."}
    await server.finish(job, "failed", error={**error, "retryable": False})
    ended = (await owner.get(f"/jobs/{job_id}")).text

    assert all(text in ended for text in error.values())
    assert "data-stream" not in ended
    assert "/console/images/pull?image=docker.io" in ended


async def test_texts_of_workers_are_shown_as_text(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)
    job = await server.next_job()
    await server.event(job, "log", {"text": HOSTILE})
    await server.call(
        "heartbeat",
        {
            "incarnation": server.incarnation,
            "jobs": [
                {
                    "job_id": job.job_id,
                    "attempt": job.attempt,
                    "progress": {"layers": [{"id": HOSTILE, "state": "<b>"}]},
                }
            ],
        },
    )
    during = (await owner.get(f"/jobs/{job_id}")).text
    error = {"code": HOSTILE, "message": HOSTILE, "remedy": HOSTILE, "retryable": False}
    await server.finish(job, "failed", error=error)
    ended = (await owner.get(f"/jobs/{job_id}")).text
    listed = (await owner.get("/jobs")).text
    done = await pull(client, "redis")
    result = {"reference": HOSTILE, "revision": HOSTILE, "warnings": [HOSTILE]}
    await server.succeed_next(result)
    succeeded = (await owner.get(f"/jobs/{done}")).text

    assert SHOWN in during and SHOWN in ended and SHOWN in succeeded
    assert "gpj.exe" in during
    for text in (during, ended, listed, succeeded):
        assert "<script>alert" not in text
        assert "\x1b" not in text and "\u202e" not in text


async def test_a_job_is_cancelled_by_its_form(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)
    await owner.get(f"/jobs/{job_id}")

    answer = await owner.post(f"/jobs/{job_id}/cancel")

    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/jobs/{job_id}")
    assert await state_of(client, job_id) == "cancelled"
    again = await owner.post(f"/jobs/{job_id}/cancel")
    assert again.status_code == 409 and "already_ended" in again.text


async def test_all_jobs_that_a_page_has_listed_are_cancelled_and_no_others(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    ended = await pull(client, "ended")
    await client.post("/api/job.cancel", json={"jobId": ended})
    listed = [await pull(client, "a"), await pull(client, "b")]
    page = (await owner.get("/jobs/cancel", kind="image.pull")).text
    later = await pull(client, "later")
    ids = page.partition('name="jobIds" value="')[2].partition('"')[0]
    assert set(ids.split(",")) == set(listed)

    answer = await owner.post("/jobs/cancel", jobIds=ids, kind="image.pull")

    assert answer.headers["location"] == "/console/jobs?kind=image.pull"
    assert [await state_of(client, each) for each in listed] == ["cancelled", "cancelled"]
    assert await state_of(client, later) == "queued"
    assert "Jobs: 2 cancelled." in (await owner.get("/jobs", kind="image.pull")).text


async def test_a_job_is_repeated_by_its_form_and_names_the_first(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    first = await pull(client)
    assert f"/jobs/{first}/retry" not in (await owner.get(f"/jobs/{first}")).text
    await owner.post(f"/jobs/{first}/cancel")
    assert f"/jobs/{first}/retry" in (await owner.get(f"/jobs/{first}")).text

    answer = await owner.post(f"/jobs/{first}/retry")
    page = (await owner.get(answer.headers["location"].removeprefix("/console"))).text

    assert "The job is repeated by this one." in page
    assert f'href="/console/jobs/{first}">an earlier job' in page
    again = await owner.post(answer.headers["location"].removeprefix("/console") + "/retry")
    assert again.status_code == 409 and "not_repeatable" in again.text


async def test_all_jobs_that_a_page_has_listed_are_repeated(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    ended = [await pull(client, each) for each in ("a", "b")]
    for each in ended:
        await client.post("/api/job.cancel", json={"jobId": each})
    await pull(client, "open")
    page = (await owner.get("/jobs/retry", kind="image.pull")).text
    ids = page.partition('name="jobIds" value="')[2].partition('"')[0]
    assert set(ids.split(",")) == set(ended)

    answer = await owner.post("/jobs/retry", jobIds=ids, kind="image.pull")

    assert answer.headers["location"] == "/console/jobs?kind=image.pull"
    assert "Jobs: 2 repeated." in (await owner.get("/jobs", kind="image.pull")).text


async def test_a_viewer_sees_no_action_and_is_refused(
    viewer: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)
    pages = [(await viewer.get(path)).text for path in ("/jobs", f"/jobs/{job_id}", "/jobs/cancel")]

    assert job_id in pages[0]
    assert "Cancel" not in pages[0] and "Cancel the job" not in pages[1]
    assert (await viewer.post(f"/jobs/{job_id}/cancel")).status_code == 403
    assert (await viewer.post("/jobs/cancel", jobIds=job_id)).status_code == 403
    assert await state_of(client, job_id) == "queued"


async def test_a_job_of_another_organization_is_not_found(
    outsider: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)

    assert (await outsider.get("/jobs")).status_code == 200
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/events"):
        assert (await outsider.get(path)).status_code == 404
    assert (await outsider.post(f"/jobs/{job_id}/cancel")).status_code == 404


async def test_a_stream_that_comes_back_loses_no_line(
    owner: Browser, app: Starlette, client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)
    job = await server.next_job()
    await server.event(job, "log", {"text": "one"})
    async with serving(app) as (_, url), httpx2.AsyncClient() as http:
        cookies = {"cookie": f"wharf_session={owner.cookie}"}
        address = f"{url}/console/jobs/{job_id}/events"
        async with http.stream("GET", address, headers=cookies) as response:
            reader = Reader(response)
            first = await reader.until("log")
        await server.event(job, "log", {"text": "two"})
        await server.finish(job, "succeeded", result={"reference": "x"})
        since = f"{address}?lastEventId={first.id}"
        async with http.stream("GET", since, headers=cookies) as response:
            rest = Reader(response)
            await rest.to_the_end()

        assert texts(rest.seen) == ["two"]
        assert rest.ids == [reader.ids[-1] + 1, reader.ids[-1] + 2]
        last = {**cookies, "last-event-id": str(rest.ids[-1])}
        assert (await http.get(address, headers=last)).status_code == 204
        assert (await http.get(address)).status_code == 303


def texts(events: list[ReceivedEvent]) -> list[str]:
    return [event.data["data"]["text"] for event in events if event.name == "log"]


async def move(server: TestServer, job: Released, current: int) -> None:
    """Report bytes as the worker's heartbeat does."""
    layer = {"id": "a1b2", "state": "moving", "current_bytes": current, "total_bytes": 1024}
    report = {"job_id": job.job_id, "attempt": job.attempt, "progress": {"layers": [layer]}}
    await server.call("heartbeat", {"incarnation": server.incarnation, "jobs": [report]})


async def test_a_long_log_says_that_its_first_lines_are_left_out(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    job_id = await pull(client)
    job = await server.next_job()
    await server.event(job, "log", {"text": "a line"})
    assert "Earlier lines are left out" not in (await owner.get(f"/jobs/{job_id}")).text
    database.execute("DELETE FROM job_event WHERE seq < 3")

    assert "Earlier lines are left out" in (await owner.get(f"/jobs/{job_id}")).text


async def test_a_region_that_is_loaded_anew_comes_without_the_log(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)
    job = await server.next_job()
    await server.event(job, "log", {"text": "a line of the log"})
    path = f"/console/jobs/{job_id}"

    whole = (await owner.client.get(path)).text
    region = (await owner.client.get(path, headers={"hx-request": "true"})).text

    assert "a line of the log" in whole
    assert "a line of the log" not in region and 'id="job"' in region
