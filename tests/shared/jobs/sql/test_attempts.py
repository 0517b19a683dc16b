"""An attempt is closed with its outcome, and a job ends once."""

import psycopg
import pytest

from shared.jobs.store.cancel import cancel
from tests.world import World


async def test_each_attempt_is_closed_with_its_outcome(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await world.run(enrolled)
    await enrolled.call("finish", "first", job_id=job_id, attempt=1, outcome="returned")
    await world.release()
    await world.make_offline(enrolled)
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
