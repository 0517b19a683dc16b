"""A login goes with its attempt, and all secrets go with their job."""

import pytest

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
    await world.make_offline(enrolled)

    await world.sweep()

    assert await secrets_of(world, job_id) == {"password"}


async def test_a_login_goes_when_its_worker_is_lost(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await dispatch_with_secrets(world, enrolled)
    await enrolled.call("claim", "first", job_id=job_id, attempt=1)

    await enrolled.register("second", predecessor="first")

    assert await secrets_of(world, job_id) == {"password"}
