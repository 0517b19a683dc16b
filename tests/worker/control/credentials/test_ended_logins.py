"""A job whose short-lived login ends during an attempt is repeated, and has not failed by that."""

from datetime import timedelta
from typing import Any

import pytest

from shared.credentials.ecr import EcrSource
from shared.jobs.commands import ImagePull
from shared.vault import SealContext
from tests.fakes import ecr
from tests.world import EnrolledServer, World

SOURCE = EcrSource.model_validate(
    {"kind": "ecr", "accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET}
)
REFUSED = {"message": "the registry refuses the login", "retryable": False}


@pytest.fixture
async def server(world: World) -> EnrolledServer:
    return await world.add_server()


async def begin(world: World, server: EnrolledServer, life: timedelta) -> str:
    """Claim the first attempt of a pull whose login has that life left."""
    registry_id = await world.add_source(SOURCE, host=ecr.HOST)
    context = SealContext("credential", world.organization_id, registry_id, ecr.HOST, "AWS")
    await world.owner.execute(
        "UPDATE registry SET password = %s, password_expires_at = now() + %s"
        " WHERE registry_id = %s",
        (world.vault.public.seal("token", context), life, registry_id),
    )
    pull = ImagePull(reference=f"{ecr.HOST}/team/app:1", registry_id=registry_id)
    job_id = await world.submit(server, pull, registry_id=registry_id)
    await claim(world, server, 1)
    return job_id


async def claim(world: World, server: EnrolledServer, attempt: int) -> None:
    [job] = await world.release()
    answer = await server.call("claim", "first", job_id=job.job_id, attempt=attempt)
    assert answer["status"] == "claimed"


async def end_login(world: World) -> None:
    """Let the attempt have begun, and its login have ended, some time ago."""
    await world.owner.execute(
        "UPDATE job_attempt SET started_at = started_at - interval '2 hours',"
        " login_expires_at = login_expires_at - interval '90 minutes' WHERE outcome IS NULL"
    )


async def finish(server: EnrolledServer, job_id: str, code: str, attempt: int = 1) -> str:
    """Report a failure; return the state of the job."""
    error = {**REFUSED, "code": code}
    answer = await server.call(
        "finish", "first", job_id=job_id, attempt=attempt, outcome="failed", error=error
    )
    return str(answer["state"])


@pytest.mark.parametrize(
    "code",
    ["auth_expired", "auth_bad_credentials", "auth_missing", "pull_denied", "push_denied"],
)
async def test_a_refusal_after_the_login_ended_is_no_failure(
    world: World, server: EnrolledServer, code: str
) -> None:
    job_id = await begin(world, server, timedelta(hours=1))
    await end_login(world)

    assert await finish(server, job_id, code) == "queued"

    job = await world.job(job_id)
    assert (job["failures"], job["error"]["code"]) == (0, "auth_expired")
    [attempt] = await world.rows("SELECT outcome FROM job_attempt WHERE job_id = %s", job_id)
    assert attempt["outcome"] == "returned"


async def test_it_is_repeated_as_often_as_its_login_ends(
    world: World, server: EnrolledServer
) -> None:
    job_id = await begin(world, server, timedelta(hours=1))
    for number in range(1, 7):
        await end_login(world)
        assert await finish(server, job_id, "auth_expired", number) == "queued"
        await claim(world, server, number + 1)

    assert (await world.job(job_id))["failures"] == 0


@pytest.mark.parametrize("code", ["auth_expired", "pull_denied", "auth_bad_credentials"])
async def test_a_refusal_while_the_login_was_good_is_a_failure(
    world: World, server: EnrolledServer, code: str
) -> None:
    job_id = await begin(world, server, timedelta(hours=1))

    assert await finish(server, job_id, code) == "failed"

    assert (await world.job(job_id))["error"]["code"] == code


@pytest.mark.parametrize("code", ["image_not_found", "disk_full", "internal"])
async def test_another_failure_after_the_login_ended_stays_what_it_is(
    world: World, server: EnrolledServer, code: str
) -> None:
    job_id = await begin(world, server, timedelta(hours=1))
    await end_login(world)

    assert await finish(server, job_id, code) == "failed"

    assert (await world.job(job_id))["error"]["code"] == code


async def test_a_password_without_an_end_is_refused_as_ever(
    world: World, server: EnrolledServer
) -> None:
    registry_id = await world.add_registry()
    pull = ImagePull(reference="registry.example/team/app:1", registry_id=registry_id)
    job_id = await world.submit(server, pull, registry_id=registry_id)
    await claim(world, server, 1)

    assert await finish(server, job_id, "auth_bad_credentials") == "failed"


async def test_an_attempt_stores_when_its_login_ends(world: World, server: EnrolledServer) -> None:
    job_id = await begin(world, server, timedelta(hours=1))

    row: dict[str, Any]
    [row] = await world.rows(
        "SELECT login_expires_at - now() AS life FROM job_attempt WHERE job_id = %s", job_id
    )

    assert timedelta(minutes=59) < row["life"] <= timedelta(hours=1)
