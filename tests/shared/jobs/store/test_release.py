import asyncio
from datetime import timedelta

import psycopg
import pytest

from shared.database import Connection
from shared.jobs.commands import ComposeImage, ComposePull, ImageCopy
from shared.jobs.store.release import Released, has_queued_jobs, release
from tests.world import HOST, KINDS, PULL, TAG, EnrolledServer, World

FAILED = {"code": "x", "message": "x", "remedy": "", "retryable": False}


async def released(world: World) -> list[str]:
    return [job.job_id for job in await world.release()]


async def end(
    world: World, server: EnrolledServer, job_id: str, outcome: str = "succeeded"
) -> None:
    """Let the server do a dispatched job."""
    attempt = (await world.job(job_id))["attempt"]
    await server.call("claim", "first", job_id=job_id, attempt=attempt)
    answer = await server.call(
        "finish", "first", job_id=job_id, attempt=attempt, outcome=outcome, result={}, error=FAILED
    )
    assert answer["status"] == "recorded"


async def test_a_due_job_is_handed_out_with_what_its_login_is_made_of(world: World) -> None:
    server = await world.add_server()
    registry_id = await world.add_registry()
    sealed = "v1.0123456789abcdef.AAAA"
    await world.submit(server, PULL, registry_id=registry_id, sealed={"password": sealed})

    [job] = await world.release()

    assert (job.kind, job.attempt, job.server_id) == ("image.pull", 1, server.server_id)
    assert job.public_key == str(server.key.public)
    assert job.sealed == {"password": sealed}
    assert job.registries[registry_id]["username"] == "alice"


async def test_control_need_not_enter_the_gate_only_while_no_job_waits(world: World) -> None:
    server = await world.add_server()
    seen = [await has_queued_jobs(world.control)]

    await world.submit(server, TAG)
    await world.owner.execute("UPDATE job SET run_at = now() + interval '1 hour'")
    seen.append(await has_queued_jobs(world.control))
    await world.owner.execute("UPDATE job SET run_at = now()")
    await world.release()
    seen.append(await has_queued_jobs(world.control))

    assert seen == [False, True, False]


async def test_a_connection_plans_the_choice_of_jobs_once(world: World) -> None:
    for _ in range(3):
        async with world.control.transaction():
            await release(world.control)

    plans = await world.control.execute(
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
        " WHERE statement LIKE '%WITH RECURSIVE queue%'"
    )
    assert await plans.fetchall() == [{"generic_plans": 3, "custom_plans": 0}]


async def test_a_registry_of_another_organization_is_not_handed_out(world: World) -> None:
    server = await world.add_server()
    registry_id = await world.add_registry(is_tried=False)
    await world.owner.execute("INSERT INTO organization VALUES ('theirs', 'theirs', now())")
    await world.owner.execute("UPDATE registry SET organization_id = 'theirs'")
    await world.submit(server, PULL, registry_id=registry_id)

    [job] = await world.release()

    assert job.registries == {}


async def test_all_registries_that_a_command_names_are_handed_out(world: World) -> None:
    server = await world.add_server()
    first, second, _unnamed = [await world.add_registry() for _ in range(3)]
    theirs = await world.add_registry(is_tried=False)
    await world.owner.execute("INSERT INTO organization VALUES ('theirs', 'theirs', now())")
    await world.owner.execute(
        "UPDATE registry SET organization_id = 'theirs' WHERE registry_id = %s", (theirs,)
    )
    images = tuple(
        ComposeImage(services=(f"s{n}",), reference=f"{HOST}/app:{n}", registry_id=registry_id)
        for n, registry_id in enumerate([first, second, None, theirs])
    )
    await world.submit(server, ComposePull(compose="", images=images), registry_id=first)
    await world.submit(
        server,
        ImageCopy(source="a", reference="b", source_registry_id=second, registry_id=first),
        registry_id=first,
    )

    jobs = await world.release()

    assert [set(job.registries) for job in jobs] == [{first, second}, {first, second}]


async def test_a_job_is_released_once(world: World) -> None:
    server = await world.add_server()
    job_id = await world.submit(server)

    assert await released(world) == [job_id]
    assert await released(world) == []


async def test_a_job_waits_for_its_server(world: World) -> None:
    server = await world.add_server()
    job_id = await world.submit(server)
    await world.make_offline(server)

    assert await released(world) == []
    await server.call("heartbeat", "first")
    assert await released(world) == [job_id]


async def test_a_job_waits_for_a_server_that_never_registered(world: World) -> None:
    await world.submit(await world.add_server(None))

    assert await released(world) == []


async def test_a_job_waits_for_a_worker_that_knows_its_kind(world: World) -> None:
    server = await world.add_server(None)
    await server.register("first", kinds=["image.tag@2", "image.pull@1"])
    job_id = await world.submit(server)

    assert await released(world) == []
    await server.register("first", kinds=KINDS)
    assert await released(world) == [job_id]


async def test_each_class_of_a_server_has_its_own_limit(world: World) -> None:
    server = await world.add_server(quick_limit=3, transfer_limit=2)
    quick = [await world.submit(server, TAG) for _ in range(5)]
    transfer = [await world.submit(server, PULL) for _ in range(5)]

    assert set(await released(world)) == {*quick[:3], *transfer[:2]}
    await end(world, server, quick[1])
    assert await released(world) == [quick[3]]
    assert await released(world) == []


async def test_a_server_without_slots_gets_nothing(world: World) -> None:
    server = await world.add_server(quick_limit=0)
    await world.submit(server)

    assert await released(world) == []


async def test_a_full_server_keeps_no_other_one_waiting(world: World) -> None:
    full, free = await world.add_server(quick_limit=1), await world.add_server(quick_limit=1)
    first = [await world.submit(full) for _ in range(3)]
    other = await world.submit(free)

    assert set(await released(world)) == {first[0], other}


async def test_priority_goes_first_and_then_who_has_waited_longest(world: World) -> None:
    server = await world.add_server(quick_limit=1)
    early, late, urgent = [await world.submit(server, priority=priority) for priority in (0, 0, 5)]

    order = []
    for _ in range(3):
        [job_id] = await released(world)
        order.append(job_id)
        await end(world, server, job_id)

    assert order == [urgent, early, late]


async def test_a_job_is_released_no_earlier_than_its_moment(world: World) -> None:
    server = await world.add_server()
    job_id = await world.submit(server)
    await world.pass_time(job_id, timedelta(seconds=-30))

    assert await released(world) == []
    await world.pass_time(job_id, timedelta(seconds=31))
    assert await released(world) == [job_id]


async def test_a_job_beyond_its_deadline_is_not_released(world: World) -> None:
    server = await world.add_server()
    job_id = await world.submit(server, deadline=timedelta(seconds=10))
    await world.pass_time(job_id, timedelta(seconds=11))

    assert await released(world) == []


async def test_jobs_of_one_key_run_one_after_another_on_whatever_server(world: World) -> None:
    here, there = await world.add_server(), await world.add_server()
    first = await world.submit(here, exclusive_key="team/app:1")
    second = await world.submit(there, exclusive_key="team/app:1")
    other = await world.submit(there, exclusive_key="team/app:2")

    assert set(await released(world)) == {first, other}
    assert await released(world) == []
    await end(world, here, first, "failed")
    assert await released(world) == [second]


async def test_the_database_itself_refuses_two_held_jobs_of_one_key(world: World) -> None:
    server = await world.add_server()
    await world.dispatch(server, exclusive_key="team/app:1")
    second = await world.submit(server, exclusive_key="team/app:1")

    with pytest.raises(psycopg.errors.UniqueViolation):
        await world.owner.execute(
            "UPDATE job SET state = 'dispatched', attempt = 1 WHERE job_id = %s", (second,)
        )


@pytest.mark.parametrize(
    ("on_state", "outcome"),
    [("succeeded", "succeeded"), ("failed", "failed"), ("ended", "succeeded"), ("ended", "failed")],
)
async def test_a_job_waits_for_the_job_it_needs(world: World, on_state: str, outcome: str) -> None:
    server = await world.add_server()
    needed = await world.submit(server)
    waiting = await world.submit(server, needs=[needed])
    await world.owner.execute("UPDATE job_need SET on_state = %s", (on_state,))

    assert await released(world) == [needed]
    assert await released(world) == []
    await end(world, server, needed, outcome)
    await world.sweep()
    assert await released(world) == [waiting]


async def test_a_job_waits_for_all_the_jobs_it_needs(world: World) -> None:
    server = await world.add_server()
    one, two = await world.submit(server), await world.submit(server)
    waiting = await world.submit(server, needs=[one, two])
    await world.release()

    await end(world, server, one)
    assert await released(world) == []
    await end(world, server, two)
    assert await released(world) == [waiting]


async def test_a_server_that_was_removed_gets_nothing(world: World) -> None:
    server = await world.add_server()
    await world.submit(server)
    await world.api.execute("UPDATE server SET removed_at = now()")

    assert await released(world) == []


async def test_a_replica_that_finds_the_gate_taken_has_to_come_again(world: World) -> None:
    server = await world.add_server(quick_limit=1)
    await world.submit(server)
    other = await world.connect("wharf_control")

    async with world.control.transaction():
        assert len(await release(world.control) or ()) == 1
        # Only the other replica sees this one first, and it does not see yet that the slot is used.
        await world.submit(server, priority=9)
        async with other.transaction():
            assert await release(other) is None

    held = await world.rows("SELECT job_id FROM job WHERE state = 'dispatched'")
    assert len(held) == 1


async def test_replicas_together_never_use_more_slots_than_there_are(world: World) -> None:
    server = await world.add_server(quick_limit=1)
    replicas = [await world.connect("wharf_control") for _ in range(3)]
    jobs = {await world.submit(server)}

    for priority in range(40):
        submitting = asyncio.create_task(world.submit(server, priority=priority))
        found = await asyncio.gather(*map(try_release, replicas))
        await submitting
        [dispatched] = [job.job_id for some in found for job in some]
        jobs.add(dispatched)
        await end(world, server, dispatched)
    assert len(jobs) >= 40


async def try_release(connection: Connection) -> list[Released]:
    """Try until the gate was ours, as control does."""
    for _ in range(200):
        async with connection.transaction():
            jobs = await release(connection)
        if jobs is not None:
            return jobs
        await asyncio.sleep(0.001)
    pytest.fail("the gate is never free")
