"""The end of a job is queued for each subscribed endpoint, once, by the statement that ends it."""

import asyncio
import json
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from shared.ids import make_id
from tests.worker.control.endpoints import add_webhook, end_job, rows
from tests.world import World

URL = "http://10.0.0.1/"
DIGEST = f"sha256:{'0' * 64}"
ERROR = {
    "code": "push_denied",
    "message": "ghcr.io refuses the push",
    "remedy": "Check the rights.",
    "evidence": "what a registry said",
    "report": {"host": "ghcr.io"},
}


async def add_build(world: World, application_id: str) -> str:
    await world.owner.execute(
        "INSERT INTO application (application_id, organization_id, name, app_name, description,"
        " git_build_path, build_type, dockerfile, docker_context_path)"
        " VALUES (%s, %s, 'a', 'a', '', '/', 'dockerfile', 'Dockerfile', '.')",
        (application_id, world.organization_id),
    )
    build_id = make_id()
    await world.owner.execute(
        "INSERT INTO build (build_id, organization_id, application_id, version, title, reference,"
        " make_job_id) VALUES (%s, %s, %s, 1, 'first', 'ghcr.io/a/b:1', 'job')",
        (build_id, world.organization_id, application_id),
    )
    return build_id


async def add_deployment(world: World, application_id: str, build_id: str) -> str:
    deployment_id = make_id()
    await world.owner.execute(
        "INSERT INTO deployment (deployment_id, organization_id, application_id, build_id, title,"
        " description, reference, settings, on_failure, point_due)"
        " VALUES (%s, %s, %s, %s, 'first', '', 'ghcr.io/a/b:1', %s, 'stop', false)",
        (
            deployment_id,
            world.organization_id,
            application_id,
            build_id,
            Jsonb({"environment": "what-nobody-may-see"}),
        ),
    )
    return deployment_id


async def finish(world: World, outcome: str, **reported: Any) -> str:
    """A job that a server worked on and that ended so."""
    server = await world.add_server()
    job_id = await world.run(server)
    await server.call("finish", "first", job_id=job_id, attempt=1, outcome=outcome, **reported)
    await server.call("finish", "first", job_id=job_id, attempt=1, outcome=outcome, **reported)
    return job_id


async def test_an_ended_job_is_delivered_with_its_error_and_without_its_command(
    world: World,
) -> None:
    await add_webhook(world, URL)
    job_id = await finish(world, "failed", error={**ERROR, "retryable": False})

    [row] = await rows(world)
    payload = row["payload"]
    assert (row["event"], row["subject_id"], row["attempts"]) == ("job.ended", job_id, 0)
    assert payload["type"] == "job.ended"
    assert payload["timestamp"] == payload["data"]["finishedAt"]
    assert payload["data"] | {"serverId": "", "createdAt": "", "finishedAt": ""} == {
        "jobId": job_id,
        "kind": "image.tag",
        "state": "failed",
        "serverId": "",
        "applicationId": None,
        "deploymentId": None,
        "reference": None,
        "digest": None,
        "error": {key: ERROR[key] for key in ("code", "message", "remedy")},
        "attempt": 1,
        "createdAt": "",
        "finishedAt": "",
    }


async def test_of_a_result_only_reference_and_digest_are_delivered(world: World) -> None:
    await add_webhook(world, URL)
    result = {"reference": "ghcr.io/a/b:1", "digest": DIGEST, "compose_file": "PASSWORD: b"}
    await finish(world, "succeeded", result=result)

    [row] = await rows(world)
    reported = row["payload"]["data"]
    assert (reported["state"], reported["reference"], reported["digest"]) == (
        "succeeded",
        "ghcr.io/a/b:1",
        DIGEST,
    )
    assert reported["error"] is None
    assert "PASSWORD" not in json.dumps(row["payload"])


async def test_an_invalid_digest_is_not_delivered(world: World) -> None:
    await add_webhook(world, URL)
    job_id = await world.run(await world.add_server())
    # As an older version stored it; `finish` refuses it now.
    await world.owner.execute(
        "UPDATE job SET state = 'succeeded', finished_at = now(), lease_until = NULL, result = %s"
        " WHERE job_id = %s",
        (Jsonb({"digest": f"{DIGEST}\x1b[2J"}), job_id),
    )

    [row] = await rows(world)
    assert row["payload"]["data"]["digest"] is None


async def test_moments_and_ids_are_as_everywhere_else(world: World) -> None:
    [row] = await world.rows(
        "SELECT show_moment('2024-01-15 11:30:00.1239+01') AS moment, new_id() AS id"
    )

    assert row["moment"] == "2024-01-15T10:30:00.123Z"
    assert len(row["id"]) == len(make_id())
    assert row["id"][14] == "7"
    assert row["id"][:8] == make_id()[:8]


async def test_each_endpoint_gets_its_events_and_no_other_organization_does(world: World) -> None:
    server = await world.add_server()
    wants = await add_webhook(world, URL, "job.ended", "build.ended")
    also = await add_webhook(world, URL)
    await add_webhook(world, URL, "deployment.ended")
    disabled = await add_webhook(world, URL)
    await world.owner.execute(
        "UPDATE webhook SET disabled_at = now() WHERE webhook_id = %s", (disabled,)
    )
    await world.owner.execute("INSERT INTO organization VALUES ('other', 'other')")
    await add_webhook(world, URL, organization_id="other")

    await end_job(world, server.server_id)

    assert {row["webhook_id"] for row in await rows(world)} == {wants, also}


async def test_builds_and_deployments_are_delivered_once_when_they_end(world: World) -> None:
    webhook_id = await add_webhook(world, URL, "build.ended", "deployment.ended")
    build_id = await add_build(world, "application")
    deployment_id = await add_deployment(world, "application", build_id)
    for _ in range(2):
        for table in ("build", "deployment"):
            await world.control.execute(
                f"UPDATE {table} SET outcome = 'failed', error = %s, finished_at = now()".encode(),
                (Jsonb(ERROR),),
            )

    build, deployment = await rows(world)
    assert [build["subject_id"], deployment["subject_id"]] == [build_id, deployment_id]
    assert {build["webhook_id"], deployment["webhook_id"]} == {webhook_id}
    for row in (build, deployment):
        data = row["payload"]["data"]
        assert (data["state"], data["applicationId"]) == ("failed", "application")
        assert data["reference"] == "ghcr.io/a/b:1"
        assert data["error"]["code"] == "push_denied"
        assert "what-nobody-may-see" not in json.dumps(row["payload"])


async def test_a_rolled_back_end_is_not_sent(world: World) -> None:
    await add_webhook(world, URL, "build.ended")
    await add_build(world, "application")

    async with world.control.transaction(force_rollback=True):
        await world.control.execute("UPDATE build SET outcome = 'failed', finished_at = now()")

    assert await rows(world) == []


async def test_an_endpoint_that_is_being_removed_keeps_no_job_from_its_end(world: World) -> None:
    server = await world.add_server()
    removed, stored = await add_webhook(world, URL), await add_webhook(world, URL)
    other = await world.connect("wharf_api")
    async with other.transaction():
        await other.execute("DELETE FROM webhook WHERE webhook_id = %s", (removed,))
        async with asyncio.timeout(5):
            job_id = await end_job(world, server.server_id)

    assert await world.state(job_id) == "cancelled"
    assert [row["webhook_id"] for row in await rows(world)] == [stored]


async def test_a_message_goes_with_its_endpoint(world: World) -> None:
    server = await world.add_server()
    await add_webhook(world, URL)
    await end_job(world, server.server_id)

    await world.api.execute("DELETE FROM webhook")

    assert await rows(world) == []


@pytest.mark.parametrize(
    "flaw",
    [
        "UPDATE webhook SET events = '{job.began}'",
        "UPDATE webhook SET events = '{}'",
        "UPDATE webhook SET secret = 'whsec_'",
        "UPDATE webhook SET disabled_code = 'gone'",
        "UPDATE webhook_delivery SET due_at = NULL",
        "UPDATE webhook_delivery SET delivered_at = now()",
        "UPDATE webhook_delivery SET attempts = -1",
        "UPDATE webhook_delivery SET event = 'job.began'",
    ],
)
async def test_contradictory_rows_cannot_be_stored(world: World, flaw: str) -> None:
    server = await world.add_server()
    await add_webhook(world, URL)
    await end_job(world, server.server_id)

    with pytest.raises(psycopg.errors.CheckViolation):
        await world.owner.execute(flaw.encode())
