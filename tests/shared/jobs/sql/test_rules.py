"""Rules for every job, whoever changes it: its secrets go, its notifications are sent."""

import asyncio

import psycopg
import pytest

from shared.ids import make_id
from shared.jobs.store.cancel import cancel
from tests.world import EnrolledServer, World

SEALED = "v1.0123456789abcdef.AAAA"


async def secrets_of(world: World, job_id: str) -> set[str]:
    rows = await world.rows("SELECT purpose FROM job_secret WHERE job_id = %s", job_id)
    return {row["purpose"] for row in rows}


async def dispatch_with_secrets(world: World, enrolled: EnrolledServer) -> str:
    job_id = await world.dispatch(enrolled, sealed={"password": SEALED})
    await world.control.execute(
        "INSERT INTO job_secret VALUES (%s, 'login', 1, %s)", (job_id, SEALED)
    )
    return job_id


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "returned"])
async def test_a_login_goes_with_its_attempt_and_the_password_stays(
    world: World, outcome: str
) -> None:
    enrolled = await world.add_server()
    job_id = await dispatch_with_secrets(world, enrolled)
    await enrolled.call("claim", "first", job_id=job_id, attempt=1)
    assert await secrets_of(world, job_id) == {"login", "password"}

    error = {"code": "x", "message": "x", "retryable": True}
    said = {"job_id": job_id, "attempt": 1, "outcome": outcome, "error": error}
    await enrolled.call("finish", "first", **said)

    assert await world.state(job_id) == "queued"
    assert await secrets_of(world, job_id) == {"password"}


async def test_all_secrets_go_with_the_job(world: World) -> None:
    enrolled = await world.add_server()
    done, cancelled = [await dispatch_with_secrets(world, enrolled) for _ in range(2)]
    waiting = await world.submit(enrolled, sealed={"password": SEALED})

    await enrolled.call("claim", "first", job_id=done, attempt=1)
    await enrolled.call("finish", "first", job_id=done, attempt=1, outcome="succeeded", result={})
    for job_id in (cancelled, waiting):
        await cancel(world.api, job_id, world.organization_id, "not wanted")

    assert await world.rows("SELECT 1 FROM job_secret") == []


async def test_a_login_goes_when_its_server_does(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await dispatch_with_secrets(world, enrolled)
    await world.forget(enrolled)

    await world.sweep()

    assert await secrets_of(world, job_id) == {"password"}


async def test_a_login_goes_when_its_worker_is_lost(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await dispatch_with_secrets(world, enrolled)
    await enrolled.call("claim", "first", job_id=job_id, attempt=1)

    await enrolled.register("second", predecessor="first")

    assert await secrets_of(world, job_id) == {"password"}


async def test_each_attempt_is_closed_with_its_outcome(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await world.run(enrolled)
    await enrolled.call("finish", "first", job_id=job_id, attempt=1, outcome="returned")
    await world.release()
    await world.forget(enrolled)
    await world.sweep()
    await enrolled.call("heartbeat", "first")
    await world.release()
    await enrolled.call("claim", "first", job_id=job_id, attempt=3)
    await enrolled.call("finish", "first", job_id=job_id, attempt=3, outcome="succeeded", result={})

    attempts = await world.rows(
        "SELECT attempt, outcome, ended_at IS NOT NULL AS has_ended FROM job_attempt"
        " ORDER BY attempt"
    )

    assert [(row["attempt"], row["outcome"]) for row in attempts] == [
        (1, "returned"),
        (2, "returned"),
        (3, "succeeded"),
    ]
    assert all(row["has_ended"] for row in attempts)


async def test_the_schema_refuses_a_second_end(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await world.submit(enrolled)
    await cancel(world.api, job_id, world.organization_id, "not wanted")

    with pytest.raises(psycopg.errors.UniqueViolation):
        await world.owner.execute(
            "INSERT INTO job_event (job_id, seq, attempt, kind, state)"
            " VALUES (%s, 99, 0, 'state', 'failed')",
            (job_id,),
        )


async def test_a_client_that_waits_for_a_job_is_notified_of_its_end(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await world.submit(enrolled)
    await world.api.execute("LISTEN wharf_job")

    await cancel(world.control, job_id, world.organization_id, "not wanted")

    async for hint in world.api.notifies(timeout=5, stop_after=1):
        assert hint.payload == job_id
        return
    pytest.fail("nobody was notified")


async def test_anybody_may_send_junk_as_a_hint_and_it_changes_nothing(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await world.dispatch(enrolled)
    before = await world.job(job_id)
    forger = await (await world.add_server()).connection()

    for channel in (
        "wharf_release",
        "wharf_deployment",
        "wharf_job",
        "wharf_heartbeat",
        "wharf_progress",
    ):
        for payload in ("", job_id, "'; DROP TABLE job; --", "x" * 7000):
            await forger.execute("SELECT pg_notify(%s, %s)", (channel, payload))

    assert await world.job(job_id) == before


# Servers and organizations

ENROLL = "SELECT server_enroll(sha256(%s), %s, 'SCRAM-SHA-256$4096:x') AS server"


async def make_token(world: World, *, minutes: int = 15) -> tuple[str, bytes]:
    """A new server's id, and the token that it may enrol with."""
    server_id, token = make_id(), make_id().encode()
    await world.api.execute(
        "INSERT INTO server (server_id, organization_id, name, description)"
        " VALUES (%s, %s, %s, '')",
        (server_id, world.organization_id, server_id),
    )
    await world.api.execute(
        "INSERT INTO server_token (token_hash, server_id, expires_at)"
        " VALUES (sha256(sha256(%s)), %s, now() + make_interval(mins => %s))",
        (token, server_id, minutes),
    )
    return server_id, token


async def enroll(world: World, token: bytes, key: str) -> str | None:
    row = await (await world.api.execute(ENROLL, (token, key))).fetchone()
    assert row is not None
    server: str | None = row["server"]
    return server


async def test_a_token_enrols_one_server_with_one_key(world: World) -> None:
    server_id, token = await make_token(world)

    assert await enroll(world, token, "ours") == server_id
    assert await enroll(world, token, "theirs") is None

    [row] = await world.rows("SELECT server_id, public_key FROM server_enrolment")
    assert row == {"server_id": server_id, "public_key": "ours"}


async def test_an_enrolment_whose_answer_was_lost_is_answered_again(world: World) -> None:
    server_id, token = await make_token(world)

    assert [await enroll(world, token, "ours") for _ in range(2)] == [server_id] * 2


async def test_a_token_that_is_over_or_unknown_enrols_nobody(world: World) -> None:
    _, over = await make_token(world, minutes=-1)

    assert await enroll(world, over, "ours") is None
    assert await enroll(world, b"unknown", "ours") is None


async def test_a_removed_server_is_not_enrolled_and_stays_removed(world: World) -> None:
    _, token = await make_token(world)
    await world.api.execute("UPDATE server SET removed_at = now()")

    assert await enroll(world, token, "ours") is None
    for moment in ("NULL", "now() + interval '1 day'"):
        with pytest.raises(psycopg.errors.CheckViolation):
            await world.api.execute(f"UPDATE server SET removed_at = {moment}".encode())


async def test_of_two_servers_with_one_token_one_is_enrolled(world: World) -> None:
    others = [await world.connect("wharf_api") for _ in range(2)]

    for _ in range(10):
        server_id, token = await make_token(world)
        cursors = await asyncio.gather(
            *(api.execute(ENROLL, (token, key)) for api, key in zip(others, "ab", strict=True))
        )
        rows = [await cursor.fetchone() for cursor in cursors]
        assert sorted(str(row and row["server"]) for row in rows) == sorted([server_id, "None"])


async def test_the_first_organization_is_founded_once(world: World) -> None:
    await world.owner.execute("DELETE FROM api_key")
    await world.owner.execute("DELETE FROM organization")
    others = [await world.connect("wharf_api") for _ in range(3)]

    found = "SELECT organization_bootstrap(%s, %s, 'wharf_', sha256('key'))"
    await asyncio.gather(*(api.execute(found, (make_id(), make_id())) for api in others))

    assert len(await world.rows("SELECT 1 FROM organization")) == 1
    assert await world.rows("SELECT role FROM api_key") == [{"role": "admin"}]


async def test_no_second_organization_is_founded(world: World) -> None:
    await world.api.execute("SELECT organization_bootstrap('theirs', 'key', 'wharf_', '')")

    assert len(await world.rows("SELECT 1 FROM api_key")) == 1


AVAILABLE = """
SELECT server_is_online(server) AS online, server_is_available(server, 'quick') AS takes FROM server
"""


@pytest.mark.parametrize(
    ("change", "online", "takes"),
    [
        ("seen_at = now()", True, True),
        ("seen_at = now() - interval '14 s'", True, True),
        ("seen_at = now() - interval '16 s'", False, False),
        ("seen_at = NULL", False, False),
        ("incarnation = NULL", False, False),
        ("removed_at = now()", False, False),
        ("approved_at = NULL", True, False),
        ("draining = true", True, False),
        ("paused_at = now(), paused_classes = '{quick}'", True, False),
        ("paused_at = now(), paused_classes = '{transfer,build}'", True, True),
    ],
)
@pytest.mark.parametrize("role", ["api", "control"])
async def test_a_server_is_online_and_available_by_one_rule(
    world: World, role: str, change: str, *, online: bool, takes: bool
) -> None:
    await world.add_server()
    await world.owner.execute(f"UPDATE server SET {change}".encode())

    [row] = await (await getattr(world, role).execute(AVAILABLE)).fetchall()

    assert row == {"online": online, "takes": takes}
