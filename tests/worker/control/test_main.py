"""Control on a real database and a real broker: nothing that is lost costs more than time."""

import time
from datetime import timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from shared.jobs.commands import ImageBuild
from shared.jobs.sources import UploadSource
from shared.vault import KeyRing
from tests.waiting import wait_until
from tests.worker.control.plane import Plane
from tests.world import HOST, PASSWORD, PULL, EnrolledServer, World
from worker.local.postgres import LocalPostgres
from worker.local.valkey import LocalValkey
from worker.login import CONTEXT_TOKEN, Grants, login_context

SECOND = timedelta(seconds=1)


async def test_a_notification_publishes_to_the_server_within_a_fifth_of_a_second(
    plane: Plane,
) -> None:
    server = await plane.world.add_server()
    seconds = []

    async with plane.open_control():
        for _ in range(6):
            begun = time.monotonic()
            job_id = await plane.world.submit(server)
            message = await plane.wait_for_message(server, job_id)
            seconds.append(time.monotonic() - begun)

    assert (message.kind, message.attempt) == ("image.tag", 1)
    # The first message connects to the broker too.
    assert min(seconds) < sorted(seconds)[2] < 0.2, seconds


async def test_a_lost_notification_costs_a_second(plane: Plane) -> None:
    server = await plane.world.add_server()

    async with plane.open_control(listens=False):
        job_id = await plane.world.submit(server)
        await plane.wait_for_message(server, job_id, seconds=3)


async def test_a_message_that_is_lost_is_sent_again(plane: Plane) -> None:
    server = await plane.world.add_server()

    async with plane.open_control():
        job_id = await plane.world.submit(server)
        first = await plane.wait_for_message(server, job_id)
        plane.lose_messages()
        await plane.world.pass_time(job_id, 4 * SECOND)
        again = await plane.wait_for_message(server, job_id, seconds=3)

    assert first == again
    assert (await plane.world.job(job_id))["attempt"] == 1


async def test_junk_in_notifications_does_no_harm(plane: Plane) -> None:
    server = await plane.world.add_server()
    connection = await server.connection()

    async with plane.open_control():
        for payload in ("", "'", "x" * 7000, '{"job_id": 1}') * 5:
            await connection.execute("SELECT pg_notify('wharf_release', %s)", (payload,))
        job_id = await plane.world.submit(server)
        await plane.wait_for_message(server, job_id)


async def test_control_goes_on_while_the_broker_is_away(world: World, tmp_path: Path) -> None:
    broker = LocalValkey.start(tmp_path / "valkey")
    plane = Plane(world, broker)
    server = await world.add_server()
    lost, waiting = await world.run(server), await world.submit(server, deadline=SECOND)
    await world.pass_time(waiting, -30 * SECOND)

    async with plane.open_control():
        broker.kill()
        job_id = await world.submit(server)
        await wait_until(partial(is_in, world, job_id, "dispatched"))
        for old in (lost, waiting):
            await world.pass_time(old, 40 * SECOND)
        await wait_until(partial(is_in, world, lost, "queued"), seconds=4)
        plane.broker = broker = LocalValkey.start(tmp_path / "valkey", port=broker.port)
        await world.pass_time(job_id, 4 * SECOND)
        message = await plane.wait_for_message(server, job_id)

    broker.stop()
    assert message.attempt == 1


async def is_in(world: World, job_id: str, state: str) -> bool:
    return await world.state(job_id) == state


async def test_control_goes_on_when_its_database_sessions_are_cut(
    plane: Plane, postgres: LocalPostgres
) -> None:
    server = await plane.world.add_server()

    async with plane.open_control():
        with postgres.administer() as superuser:
            superuser.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE usename = 'wharf_control' AND pid <> %s",
                (plane.world.control.info.backend_pid,),
            )
        job_id = await plane.world.submit(server)
        await plane.wait_for_message(server, job_id)


async def test_two_replicas_publish_each_attempt_once_and_keep_to_the_limit(plane: Plane) -> None:
    world = plane.world
    server = await world.add_server(quick_limit=2)

    async with plane.open_control(), plane.open_control():
        jobs = [await world.submit(server) for _ in range(12)]
        for number in range(2, 14, 2):
            await wait_until(partial(is_published, plane, server, number))
            held = await world.rows("SELECT job_id, attempt FROM job WHERE state = 'dispatched'")
            assert len(held) == 2
            for job in held:
                await server.call("claim", "first", **job)
                await server.call("finish", "first", **job, outcome="succeeded", result={})

    messages = plane.messages(server)
    assert len(messages) == len({message.job_id for message in messages}) == 12
    assert {await world.state(job_id) for job_id in jobs} == {"succeeded"}
    assert len(await world.rows("SELECT 1 FROM control")) == 2


async def is_published(plane: Plane, server: EnrolledServer, times: int) -> bool:
    return len(plane.messages(server)) >= times


async def test_a_login_goes_to_the_one_server_with_the_job(plane: Plane) -> None:
    world = plane.world
    server = await world.add_server()
    registry_id = await world.add_registry()
    command = PULL.model_copy(update={"registry_id": registry_id})

    async with plane.open_control():
        job_id = await world.submit(server, command, registry_id=registry_id)
        await plane.wait_for_message(server, job_id)

    answer = await server.call("claim", "first", job_id=job_id, attempt=1)
    [secret] = answer["secrets"]
    assert secret["purpose"] == "login"
    assert PASSWORD not in str(answer)


async def test_each_attempt_of_a_build_gets_a_token_of_its_own_for_its_context(
    plane: Plane,
) -> None:
    world = plane.world
    server = await world.add_server()
    source = UploadSource(context_id="context", size_bytes=7, sha256="0" * 64)
    command = ImageBuild(application_id="application", reference="app:1", source=source)
    failed = {"code": "source_unreachable", "message": "cut", "retryable": True}
    tokens = []

    async with plane.open_control():
        job_id = await world.submit(server, command)
        for attempt in (1, 2):
            await wait_until(partial(is_in, world, job_id, "dispatched"))
            claimed = await server.call("claim", "first", job_id=job_id, attempt=attempt)
            [secret] = claimed["secrets"]
            context = login_context(
                organization_id=world.organization_id,
                job_id=job_id,
                attempt=attempt,
                server_id=server.server_id,
                hosts=[],
            )
            text = KeyRing([server.key]).open(secret["sealed"], context)
            tokens.append(Grants.model_validate_json(text).secrets[CONTEXT_TOKEN])
            end = {"attempt": attempt, "outcome": "failed", "error": failed}
            await server.call("finish", "first", job_id=job_id, **end)
            await world.owner.execute("UPDATE job SET run_at = now()")

    rows = await world.rows("SELECT * FROM context_token WHERE attempt < 3 ORDER BY attempt")
    assert [(row["attempt"], row["context_id"], row["used_at"]) for row in rows] == [
        (1, "context", None),
        (2, "context", None),
    ]
    hashes = [sha256(token.get_secret_value().encode()).digest() for token in tokens]
    assert [row["token_hash"] for row in rows] == hashes
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    "change", ["host = 'evil.example'", "username = 'bob'", "password = 'v1.'"]
)
async def test_a_job_whose_credential_does_not_open_fails_alone(plane: Plane, change: str) -> None:
    world = plane.world
    server = await world.add_server()
    changed, good = await world.add_registry(), await world.add_registry()
    host = "evil.example" if change.startswith("host") else HOST
    pulls = [
        await world.submit(
            server,
            PULL.model_copy(update={"reference": f"{at}/team/app:1", "registry_id": registry_id}),
            registry_id=registry_id,
        )
        for at, registry_id in ((host, changed), (HOST, good))
    ]
    statement = f"UPDATE registry SET {change} WHERE registry_id = %s"
    await world.api.execute(statement.encode(), (changed,))

    async with plane.open_control():
        await plane.wait_for_message(server, pulls[1])
        await wait_until(partial(is_in, world, pulls[0], "failed"))

    job = await world.job(pulls[0])
    assert job["error"]["code"] == "credential_unreadable"
    assert PASSWORD not in str(job)
    assert pulls[0] not in {message.job_id for message in plane.messages(server)}
    [attempt] = await world.rows("SELECT outcome FROM job_attempt WHERE job_id = %s", pulls[0])
    assert attempt["outcome"] == "failed"


async def test_a_stored_command_that_cannot_be_read_fails_alone(plane: Plane) -> None:
    world = plane.world
    server = await world.add_server()
    for command in ("{}", "[]", '"text"', '{"source": 1, "reference": {}}'):
        await world.api.execute(
            "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class,"
            " command, max_failures, timeout_seconds)"
            " VALUES (gen_random_uuid(), %s, %s, 'image.tag', 1, 'quick', %s, 1, 1)",
            (world.organization_id, server.server_id, command),
        )
    good = await world.submit(server)

    async with plane.open_control():
        await plane.wait_for_message(server, good)

    rows = await world.rows(
        "SELECT state, error->>'code' AS code FROM job WHERE job_id <> %s", good
    )
    assert [tuple(row.values()) for row in rows] == [("failed", "command_unreadable")] * 4


async def test_a_server_whose_key_is_no_key_fails_its_own_jobs_only(plane: Plane) -> None:
    world = plane.world
    bad, good = await world.add_server(), await world.add_server()
    # A point of low order, which no secret can be sealed to, and what is no key at all.
    for key in ("wharf-public-v1." + "A" * 43, "junk"):
        await world.owner.execute(
            "UPDATE server_enrolment SET public_key = %s WHERE server_id = %s", (key, bad.server_id)
        )
        # Another key needs another approval.
        await world.owner.execute("UPDATE server SET approved_at = now()")
        registry_id = await world.add_registry()
        command = PULL.model_copy(update={"registry_id": registry_id})
        jobs = [
            await world.submit(server, command, registry_id=registry_id) for server in (bad, good)
        ]

        async with plane.open_control():
            await plane.wait_for_message(good, jobs[1])
            await wait_until(partial(is_in, world, jobs[0], "failed"))


async def test_an_enrolled_server_is_let_in_by_a_running_control(plane: Plane) -> None:
    server = await plane.world.enrol_server()

    async def has_role() -> bool:
        return bool(await plane.world.rows("SELECT 1 FROM server WHERE role_ready_at IS NOT NULL"))

    async with plane.open_control():
        await wait_until(has_role)

    assert (await server.register("first"))["status"] == "current"


async def test_a_control_that_may_approves_each_server_that_has_joined(plane: Plane) -> None:
    world = plane.world
    server = await world.enrol_server(approved=False)

    async def is_approved() -> bool:
        return bool(await world.rows("SELECT 1 FROM server WHERE approved_at IS NOT NULL"))

    async with plane.open_control(approves=True):
        await wait_until(is_approved)

    [event] = await world.rows("SELECT action, object_id, actor_id FROM audit_event")
    assert event == {
        "action": "server.approve",
        "object_id": server.server_id,
        "actor_id": None,
    }


async def test_a_control_that_has_been_gone_for_an_hour_is_forgotten(plane: Plane) -> None:
    world = plane.world
    await world.control.execute(
        "INSERT INTO control (control_id, version, seen_at)"
        " VALUES ('old', '0', now() - interval '2 hours')"
    )

    async def has_been_seen() -> bool:
        rows = await world.rows("SELECT control_id FROM control")
        return [row["control_id"] for row in rows] == [control.control_id]

    async with plane.open_control() as control:
        await wait_until(has_been_seen)
