from typing import Any

import httpx2
import pytest

from api.fields.shapes import show_document
from api.jobs import procedures
from api.main import create_app
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY, create_registry, open_client
from tests.api.deploying import create_deployable
from tests.api.fleet import KINDS, TestServer
from tests.databases import Database

ASYNC = {"prefer": "respond-async"}


async def pull(client: httpx2.AsyncClient, image: str = "nginx", **more: Any) -> str:
    answer = await client.post("/api/image.pull", json={"image": image, **more})
    job_id: str = answer.json()["jobId"]
    return job_id


async def look(client: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = (await client.get("/api/job.one", params={"jobId": job_id})).json()
    return shown


async def test_a_job_leads_to_its_newest_task_in_flower(
    settings: ApiSettings, client: httpx2.AsyncClient, server: TestServer
) -> None:
    linked = settings.model_copy(update={"flower_url": "https://flower.example/ops"})
    job_id = await pull(client)
    app = create_app(linked)
    async with app.router.lifespan_context(app), open_client(app, ADMIN_KEY) as of_linked:
        before = (await look(of_linked, job_id))["flowerUrl"]
        job = await server.next_job()
        shown = (await look(of_linked, job_id))["flowerUrl"]

    assert before is None
    assert shown == f"https://flower.example/ops/task/{job_id}.{job.attempt}"
    assert (await look(client, job_id))["flowerUrl"] is None


async def test_a_job_shows_its_whole_story(client: httpx2.AsyncClient, server: TestServer) -> None:
    job_id = await pull(client)
    job = await server.next_job()
    await server.event(job, "log", {"line": "Pulling from library/nginx"})
    result = {"reference": "docker.io/library/nginx:latest", "size_bytes": 5}
    await server.finish(job, "succeeded", result=result)

    shown = await look(client, job_id)

    assert (shown["kind"], shown["state"], shown["attempt"]) == ("image.pull", "succeeded", 1)
    assert shown["result"] == {"reference": "docker.io/library/nginx:latest", "sizeBytes": 5}
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["succeeded"]
    assert [(event["seq"], event["kind"], event["state"]) for event in shown["events"]] == [
        (1, "state", "queued"),
        (2, "state", "dispatched"),
        (3, "state", "running"),
        (4, "log", None),
        (5, "state", "succeeded"),
    ]
    assert shown["waiting"] is None


@pytest.mark.parametrize(
    ("outcome", "code"), [("verified", None), ("missing", None), ("not_reached", "conn_timeout")]
)
async def test_a_job_shows_what_the_registry_answered_to_control(
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    outcome: str,
    code: str | None,
) -> None:
    job_id = await pull(client)
    job = await server.next_job()
    await server.finish(job, "succeeded", result={"reference": "docker.io/library/nginx:latest"})
    before = (await look(client, job_id))["verification"]
    database.execute(
        "INSERT INTO digest_check (job_id, outcome, code) VALUES (%s, %s, %s)",
        job_id,
        outcome,
        code,
    )

    shown = (await look(client, job_id))["verification"]

    assert before is None and shown.pop("checkedAt")
    assert shown == {"outcome": outcome, "code": code}


def test_only_names_of_fields_become_camel_case() -> None:
    stored = {"size_bytes": 1, "layers": {"a1b2c3": {"done_bytes": 2}, "My_Label": [{"x_y": 3}]}}

    assert show_document(stored) == {
        "sizeBytes": 1,
        "layers": {"a1b2c3": {"doneBytes": 2}, "My_Label": [{"xY": 3}]},
    }


async def test_a_failure_keeps_its_reason(client: httpx2.AsyncClient, server: TestServer) -> None:
    job_id = await pull(client)
    error = {"code": "image_not_found", "message": "no such image", "retryable": False}
    await server.fail_next(error)

    shown = await look(client, job_id)

    assert (shown["state"], shown["error"]["code"]) == ("failed", "image_not_found")


async def test_a_job_says_what_it_waits_for(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    job_id = await pull(client)

    async def reason() -> Any:
        waiting = (await look(client, job_id))["waiting"]
        return waiting and waiting["code"]

    async def when(change: str, back: str) -> Any:
        database.execute(change)
        found = await reason()
        database.execute(back)
        return found

    assert await reason() is None
    assert (
        await when("UPDATE server SET approved_at = NULL", "UPDATE server SET approved_at = now()")
        == "server_not_approved"
    )
    assert (
        await when(
            "UPDATE server SET seen_at = now() - interval '1 minute'",
            "UPDATE server SET seen_at = now()",
        )
        == "server_offline"
    )
    assert (
        await when(
            "UPDATE server SET kinds = '{registry.test@1}'",
            f"UPDATE server SET kinds = '{{{','.join(KINDS)}}}'",
        )
        == "worker_too_old"
    )
    assert (
        await when(
            "UPDATE job SET run_at = now() + interval '1 minute'", "UPDATE job SET run_at = now()"
        )
        == "backoff"
    )
    assert (
        await when("UPDATE server SET transfer_limit = 0", "UPDATE server SET transfer_limit = 4")
        == "server_limit"
    )
    assert (
        await when("UPDATE server SET draining = true", "UPDATE server SET draining = false")
        == "server_draining"
    )
    assert (
        await when(
            "UPDATE server SET paused_classes = '{transfer}', paused_at = now()",
            "UPDATE server SET paused_classes = '{quick}'",
        )
        == "paused"
    )
    assert await reason() is None


async def test_a_job_says_which_limit_holds_it_up(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await create_registry(client)
    chosen = {"registryId": registry["registryId"]}
    await pull(client, "ghcr.io/myorg/a", **chosen)
    await server.next_job()
    second = await pull(client, "ghcr.io/myorg/b", **chosen)
    by_login = await look(client, second)

    database.execute(
        "INSERT INTO login_use SELECT registry_id, organization_id, login_revision, now(), NULL,"
        " NULL, now(), '{}' FROM registry"
    )
    database.execute("UPDATE registry SET transfer_limit = 1")
    by_registry = await look(client, second)
    database.execute("UPDATE registry SET transfer_limit = 8")
    database.execute("UPDATE organization SET transfer_limit = 1")
    by_organization = await look(client, second)

    assert by_login["waiting"]["code"] == "credential_untested"
    assert by_registry["waiting"]["code"] == "registry_limit"
    assert by_organization["waiting"]["code"] == "organization_limit"


async def test_a_second_job_on_the_same_target_waits_for_the_first(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    await pull(client)
    await server.next_job()

    # By tag, and begun: what the tag means now is for a job of its own to find out.
    second = await look(client, await pull(client))

    assert second["waiting"]["code"] == "same_target"


async def test_a_job_that_needs_another_names_it(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    first, second = await pull(client, "a"), await pull(client, "b")
    database.execute("INSERT INTO job_need (job_id, needs_job_id) VALUES (%s, %s)", second, first)

    waiting = (await look(client, second))["waiting"]

    assert (waiting["code"], waiting["jobs"]) == ("needs", [first])


async def test_jobs_are_listed_page_by_page_the_newest_first(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    ids = sorted([await pull(client, f"image-{number}") for number in range(5)], reverse=True)

    first = (await client.get("/api/job.all?limit=3")).json()
    second = (await client.get(f"/api/job.all?limit=3&cursor={first['nextCursor']}")).json()

    assert [job["jobId"] for job in first["jobs"] + second["jobs"]] == ids
    assert second["nextCursor"] is None


async def test_a_cursor_that_ended_no_page_is_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/job.all?cursor=abc")

    assert answer.status_code == 400
    assert [issue["path"] for issue in answer.json()["issues"]] == [["cursor"]]


async def test_jobs_are_listed_by_state_and_server(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)
    chosen = {"serverId": server.server_id}

    queued = await client.get("/api/job.all", params={**chosen, "state": "queued"})
    strict = await client.post("/api/trpc/job.all", json={"state": "failed"})
    foreign = await client.get("/api/job.all?serverId=another")
    unknown = await client.get("/api/job.all?state=lost")

    assert [job["jobId"] for job in queued.json()["jobs"]] == [job_id]
    assert strict.json()["jobs"] == foreign.json()["jobs"] == []
    assert unknown.json()["issues"][0]["values"][0] == "queued"


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1e9", "99999999999999999999999"])
async def test_a_limit_is_between_1_and_200(client: httpx2.AsyncClient, limit: str) -> None:
    answer = await client.get("/api/job.all", params={"limit": limit})

    assert answer.status_code == 400
    assert answer.json()["issues"][0]["path"] == ["limit"]


async def test_a_queued_job_is_cancelled_at_once_and_only_once(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    chosen = {"jobId": await pull(client)}

    first = await client.post("/api/job.cancel", json=chosen)
    second = await client.post("/api/job.cancel", json=chosen)

    assert first.json() == {"state": "cancelled"}
    assert (second.status_code, second.json()["data"]["cause"]["code"]) == (409, "already_ended")


async def test_a_running_job_is_notified(client: httpx2.AsyncClient, server: TestServer) -> None:
    job_id = await pull(client)
    job = await server.next_job()

    answer = await client.post("/api/job.cancel", json={"jobId": job_id})

    assert answer.json() == {"state": "running"}
    heartbeat = {
        "incarnation": server.incarnation,
        "jobs": [{"job_id": job.job_id, "attempt": job.attempt}],
    }
    assert (await server.call("heartbeat", heartbeat))["jobs"][0]["cancel"] is True


async def test_jobs_are_listed_by_kind_registry_and_application(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client)
    application = await create_deployable(client, [server])
    plain = await pull(client, registryId=None)
    limited = await pull(client, "ghcr.io/myorg/app", registryId=registry["registryId"])

    async def listed(**chosen: str) -> list[str]:
        answer = await client.get("/api/job.all", params=chosen)
        return [job["jobId"] for job in answer.json()["jobs"]]

    assert await listed(kind="image.pull") == [limited, plain]
    assert await listed(registryId=registry["registryId"]) == [limited]
    built = (
        await client.get("/api/build.all", params={"applicationId": application["applicationId"]})
    ).json()[0]
    assert set(await listed(applicationId=application["applicationId"])) == set(built["jobIds"])
    assert await listed(kind="image.pull", state="succeeded") == []


async def test_a_page_by_kind_looks_at_a_bounded_number_of_jobs(
    client: httpx2.AsyncClient, server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await pull(client)
    for name in ("a", "b", "c"):
        await client.post("/api/image.tag", json={"source": "nginx", "target": name}, headers=ASYNC)
    monkeypatch.setattr(procedures, "MAX_SEARCHED", 2)

    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get("/api/job.all", params={"kind": "image.pull", **cursor})
        page = answer.json()
        pages.append([job["jobId"] for job in page["jobs"]])
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}

    assert [each for page in pages for each in page] == [first]
    assert len(pages) > 1


async def test_a_list_says_why_its_queued_jobs_wait(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    running = await pull(client)
    await server.next_job()
    waiting = await pull(client, "redis")
    database.execute("UPDATE server SET seen_at = now() - interval '1 minute'")

    jobs = (await client.get("/api/job.all")).json()["jobs"]

    reasons = {job["jobId"]: job["waiting"] and job["waiting"]["code"] for job in jobs}
    assert reasons == {running: None, waiting: "server_offline"}
