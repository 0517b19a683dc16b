"""The image of a released job is named by the digest that the job before it reported."""

import pytest
from psycopg.types.json import Jsonb

from shared.errors import UnmetConditionError
from shared.jobs.store.pin import pin
from tests.world import PULL, EnrolledServer, World

DIGEST = f"sha256:{'a' * 64}"
REPOSITORY = "registry.example/team/app"


async def make_image(world: World, server: EnrolledServer, result: object) -> str:
    """A job that has succeeded, with what is stored of its result."""
    job_id = await world.run(server)
    await server.call("finish", "first", job_id=job_id, attempt=1, outcome="succeeded", result={})
    await world.owner.execute(
        "UPDATE job SET result = %s WHERE job_id = %s", (Jsonb(result), job_id)
    )
    return job_id


async def test_a_pull_gets_the_digest_of_what_was_made(world: World) -> None:
    server = await world.add_server()
    made_by = await make_image(world, server, {"digest": DIGEST})
    await world.submit(server, PULL.model_copy(update={"made_by": made_by}))
    [job] = await world.release()

    pinned = await pin(world.control, job)

    assert (pinned.command["reference"], pinned.command["made_by"]) == (
        f"{REPOSITORY}@{DIGEST}",
        None,
    )
    assert (await world.job(job.job_id))["command"] == pinned.command


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"digest": ""},
        {"digest": "sha256:$(touch /tmp/pwn)\x1b[2J"},
        {"digest": f"{DIGEST}\n"},
        {"digest": [DIGEST]},
        [],
    ],
)
async def test_a_pull_of_an_image_without_a_digest_is_refused(world: World, result: object) -> None:
    server = await world.add_server()
    made_by = await make_image(world, server, result)
    await world.submit(server, PULL.model_copy(update={"made_by": made_by}))
    [job] = await world.release()

    with pytest.raises(UnmetConditionError) as refused:
        await pin(world.control, job)

    assert refused.value.code == "digest_unknown"
    assert (await world.job(job.job_id))["command"]["made_by"] == made_by
