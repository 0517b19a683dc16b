"""Each credential that control hands out is in the audit log, with what became of it."""

from typing import Any

from shared.jobs.commands import Command, ImageCopy, ImagePull
from shared.jobs.store.cancel import cancel
from tests.world import HOST, PASSWORD, PULL, EnrolledServer, World
from worker.control.scheduling.publish import Publisher
from worker.control.scheduling.release import Releases

ENTRIES = """
SELECT e.action, e.object_id, e.actor_id, e.data FROM audit_event e
 WHERE e.action LIKE 'credential.%%' ORDER BY e.audit_event_id
"""


async def release(world: World) -> None:
    """Release due jobs as control does, without telling a broker."""
    releases = Releases(world.keys, Publisher("redis://127.0.0.1:1"))
    assert await releases._together(world.control)


async def entries(world: World) -> list[dict[str, Any]]:
    return await world.rows(ENTRIES)


async def finish(server: EnrolledServer, job_id: str, outcome: str, **changes: Any) -> None:
    claim = await server.call("claim", "first", job_id=job_id, attempt=1)
    assert claim["status"] == "claimed"
    answer = await server.call(
        "finish", "first", job_id=job_id, attempt=1, outcome=outcome, **changes
    )
    assert answer["status"] == "finished", answer


async def test_a_use_names_credential_job_requester_server_host_and_rights(world: World) -> None:
    server, registry_id = await world.add_server(), await world.add_registry()
    [key] = await world.rows("SELECT api_key_id FROM api_key")
    command = ImagePull(reference=f"{HOST}/team/app:1", registry_id=registry_id)
    job_id = await world.submit(
        server, command, registry_id=registry_id, requested_by=key["api_key_id"]
    )

    await release(world)

    [use] = await entries(world)
    [row] = await world.rows("SELECT login_revision FROM registry")
    assert use == {
        "action": "credential.use",
        "object_id": registry_id,
        "actor_id": key["api_key_id"],
        "data": {
            "job": job_id,
            "attempt": 1,
            "kind": "image.pull",
            "server": server.server_id,
            "purpose": "login",
            "host": HOST,
            "repository": "team/app",
            "rights": ["pull"],
            "revision": row["login_revision"],
        },
    }
    assert PASSWORD not in str(use)


async def test_a_copy_uses_two_logins(world: World) -> None:
    server = await world.add_server()
    source = await world.add_registry()
    target = await world.add_registry(host="other.example")
    command: Command = ImageCopy(
        source=f"{HOST}/team/app:1",
        reference="other.example/team/app:1",
        source_registry_id=source,
        registry_id=target,
    )
    await world.submit(server, command, registry_id=target)

    await release(world)

    rights = {one["object_id"]: one["data"]["rights"] for one in await entries(world)}
    assert rights == {source: ["pull"], target: ["pull", "push"]}


async def test_the_end_of_an_attempt_adds_its_outcome(world: World) -> None:
    server, registry_id = await world.add_server(), await world.add_registry()
    command = ImagePull(reference=f"{HOST}/team/app:1", registry_id=registry_id)
    job_id = await world.submit(server, command, registry_id=registry_id)
    await release(world)

    await cancel(world.api, job_id, organization_id=world.organization_id, message="asked")

    use, outcome = sorted(await entries(world), key=lambda one: one["action"], reverse=True)
    assert (use["action"], outcome["action"]) == ("credential.use", "credential.outcome")
    assert outcome["object_id"] == registry_id
    assert outcome["data"]["job"] == job_id
    assert outcome["data"]["outcome"] == "cancelled"


async def test_a_job_without_a_credential_has_no_use(world: World) -> None:
    server = await world.add_server()
    job_id = await world.submit(server, PULL)
    await release(world)
    await cancel(world.api, job_id, organization_id=world.organization_id, message="asked")

    assert await entries(world) == []


async def test_submission_and_cancel_are_entries_of_who_asked(world: World) -> None:
    server = await world.add_server()
    [key] = await world.rows("SELECT api_key_id FROM api_key")
    job_id = await world.submit(server, PULL, requested_by=key["api_key_id"])
    await cancel(world.api, job_id, organization_id=world.organization_id, message="x")

    found = await world.rows(
        "SELECT action, object_id, actor_id, data->>'kind' AS kind FROM audit_event"
        " WHERE action LIKE 'job.%%' ORDER BY at"
    )

    same = {"object_id": job_id, "actor_id": key["api_key_id"], "kind": "image.pull"}
    assert found == [{"action": "job.submit", **same}, {"action": "job.cancel", **same}]
