import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from api.procedure.auth import proof_of
from shared.database import Connection
from shared.errors import QueueFullError
from shared.ids import make_id
from shared.jobs.commands import DedupeUntil
from shared.jobs.store.submit import Submission, submit
from tests.world import HOST, PASSWORD, PULL, TAG, World

SEALED = "v1.0123456789abcdef.AAAA"


async def test_a_job_is_stored_with_the_rule_of_its_kind(world: World) -> None:
    server = await world.add_server()

    job_id = await world.submit(server, PULL, deadline=timedelta(minutes=5), priority=3)

    job = await world.job(job_id)
    assert (job["state"], job["attempt"], job["failures"]) == ("queued", 0, 0)
    assert (job["kind"], job["version"], job["job_class"]) == ("image.pull", 1, "transfer")
    assert (job["max_failures"], job["timeout_seconds"], job["priority"]) == (3, 7200, 3)
    assert job["command"]["reference"] == f"{HOST}/team/app:1"
    assert job["deadline_at"] - job["created_at"] == timedelta(minutes=5)


async def test_a_repeat_with_the_same_id_is_the_same_job(world: World) -> None:
    server = await world.add_server()
    first = await world.submit(server)

    again = await world.submit(
        server, PULL, job_id=first, sealed={"password": SEALED}, needs=[first]
    )

    assert again == first
    [job] = await world.rows("SELECT kind FROM job")
    assert job["kind"] == "image.tag"
    assert await world.rows("SELECT 1 FROM job_secret") == await world.rows("SELECT FROM job_need")


async def test_two_submissions_at_once_with_one_id_are_one_job(world: World) -> None:
    server = await world.add_server()
    others = [await world.connect("wharf_api") for _ in range(4)]

    for _ in range(10):
        job = Submission(world.organization_id, server.server_id, TAG)
        await asyncio.gather(*(submit(api, job) for api in others))

    counted = await world.rows("SELECT count(*) AS jobs FROM job")
    events = await world.rows("SELECT count(*) AS events FROM job_event")
    assert (counted, events) == ([{"jobs": 10}], [{"events": 10}])


async def test_a_quota_refuses_new_jobs_only_and_none_of_control(world: World) -> None:
    server = await world.add_server()
    first = Submission(world.organization_id, server.server_id, TAG, dedupe_key="same")
    api = await world.connect("wharf_api")
    await submit(api, first, quota=1)

    with pytest.raises(QueueFullError) as refused:
        await submit(api, Submission(world.organization_id, server.server_id, TAG), quota=1)
    repeated = await submit(api, first, quota=1)
    same = await submit(api, replace(first, job_id=make_id()), quota=1)
    no_limit = await submit(api, Submission(world.organization_id, server.server_id, TAG), quota=0)
    of_control = await submit(
        world.control, Submission(world.organization_id, server.server_id, TAG)
    )

    assert refused.value.retryable
    assert repeated == same == first.job_id
    assert len({first.job_id, no_limit, of_control}) == 3


async def test_a_password_is_kept_apart_from_the_job(world: World) -> None:
    server = await world.add_server()

    job_id = await world.submit(server, sealed={"password": SEALED})

    assert SEALED not in str(await world.job(job_id))
    [secret] = await world.rows("SELECT purpose, attempt, sealed FROM job_secret")
    assert secret == {"purpose": "password", "attempt": 0, "sealed": SEALED}


async def test_a_password_that_is_not_sealed_is_refused(world: World) -> None:
    server = await world.add_server()

    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        await world.submit(server, sealed={"password": PASSWORD})

    assert caught.value.diag.constraint_name == "sealed"
    assert await world.rows("SELECT 1 FROM job") == []


async def test_a_job_for_a_server_of_another_organization_is_refused(world: World) -> None:
    server = await world.add_server()
    foreign = make_id()
    await world.owner.execute(
        "INSERT INTO organization (organization_id, name) VALUES (%s, 'theirs')", (foreign,)
    )
    proof = proof_of(await world.add_key(organization_id=foreign)).hex()

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await submit(world.api, Submission(foreign, server.server_id, TAG), proof=proof)


async def test_a_submission_notifies_control(world: World) -> None:
    server = await world.add_server()
    await world.control.execute("LISTEN wharf_release")

    await world.submit(server)

    async for notification in world.control.notifies(timeout=5, stop_after=1):
        assert (notification.channel, notification.payload) == ("wharf_release", "")
        return
    pytest.fail("nobody was notified")


async def test_a_need_that_does_not_exist_is_refused(world: World) -> None:
    server = await world.add_server()

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await world.submit(server, needs=[make_id()])

    assert await world.rows("SELECT 1 FROM job") == []


# One job for what is asked twice


async def test_the_same_request_gets_the_same_job_until_it_has_ended(world: World) -> None:
    server = await world.add_server()
    first = await world.run(server, dedupe_key="same")

    again = await world.submit(server, dedupe_key="same", sealed={"password": SEALED})
    await server.call("finish", "first", job_id=first, attempt=1, outcome="succeeded", result={})
    later = await world.submit(server, dedupe_key="same")

    assert again == first
    assert later != first
    assert await world.rows("SELECT 1 FROM job_secret") == []


async def test_a_request_that_depends_on_the_moment_joins_a_job_until_it_has_begun(
    world: World,
) -> None:
    server = await world.add_server()
    key: dict[str, Any] = {"dedupe_key": "same", "dedupe_until": DedupeUntil.BEGUN}
    first = await world.dispatch(server, **key)
    assert await world.submit(server, **key) == first

    await server.call("claim", "first", job_id=first, attempt=1)
    second = await world.submit(server, **key)
    returned = {"job_id": first, "attempt": 1, "outcome": "returned"}
    answer = await server.call("finish", "first", **returned)

    assert second != first
    # Both wait now, and who comes is given the one that has not begun yet.
    assert answer["state"] == "queued"
    assert await world.submit(server, **key) == second


async def test_the_same_key_of_another_kind_or_organization_is_another_job(world: World) -> None:
    server = await world.add_server()
    await world.owner.execute("INSERT INTO organization (organization_id, name) VALUES ('b', 'b')")
    await world.owner.execute(
        "INSERT INTO server (server_id, organization_id, name, description)"
        " VALUES ('b', 'b', 'b', '')"
    )
    requested = (
        Submission("b", "b", TAG, dedupe_key="same"),
        Submission(world.organization_id, server.server_id, PULL, dedupe_key="same"),
        Submission(world.organization_id, server.server_id, TAG, dedupe_key="same"),
    )

    theirs = proof_of(await world.add_key(organization_id="b")).hex()

    for job in requested:
        proof = theirs if job.organization_id == "b" else None
        assert await submit(world.api, job, proof=proof) == job.job_id
    for job in requested:
        proof = theirs if job.organization_id == "b" else None
        again = replace(job, job_id=make_id())
        assert await submit(world.api, again, proof=proof) == job.job_id


async def test_many_who_ask_for_the_same_at_once_while_it_ends_all_get_a_job(world: World) -> None:
    server = await world.add_server(quick_limit=1000)
    others = [await world.connect("wharf_api") for _ in range(4)]
    seen: set[str] = set()

    async def ask(api: Connection) -> None:
        for _ in range(25):
            job = Submission(world.organization_id, server.server_id, TAG, dedupe_key="same")
            seen.add(await submit(api, job))

    async def end_all() -> None:
        for _ in range(25):
            await world.owner.execute(
                "UPDATE job SET state = 'cancelled' WHERE finished_at IS NULL"
            )

    await asyncio.gather(end_all(), *map(ask, others))

    rows = await world.rows("SELECT job_id FROM job")
    assert {row["job_id"] for row in rows} == seen


@pytest.mark.parametrize("flaw", ["dedupe_key = 'x'", "dedupe_until = 'ended'"])
async def test_a_dedupe_key_says_until_when(world: World, flaw: str) -> None:
    await world.submit(await world.add_server())

    with pytest.raises(psycopg.errors.CheckViolation):
        await world.owner.execute(f"UPDATE job SET {flaw}".encode())
