"""Released where there is room for less than is due: limits, pauses, and whose turn it is."""

import random
from collections import Counter
from typing import Any

import psycopg
import pytest

from shared.jobs.commands import RULES, Command, ImagePush, JobClass, RegistryTest
from shared.jobs.store.release import MAX_JOBS
from tests.world import HOST, KINDS, PULL, TAG, EnrolledServer, World

PUSH = ImagePush(source="app:1", reference=f"{HOST}/team/app:1")
TEST = RegistryTest(host=HOST, username="alice", repository="team/app")
SEED = 20270102


async def released(world: World) -> list[str]:
    return [job.job_id for job in await world.release()]


async def released_in_turn(world: World, server: EnrolledServer, number: int) -> list[str]:
    """So many jobs, released one by one, each done before the next."""
    order = []
    for _ in range(number):
        [job_id] = await released(world)
        order.append(job_id)
        await end(world, server, job_id)
    return order


async def end(world: World, server: EnrolledServer, job_id: str) -> None:
    message = {"job_id": job_id, "attempt": (await world.job(job_id))["attempt"]}
    assert (await server.call("claim", "first", **message))["status"] == "claimed"
    answer = await server.call("finish", "first", **message, outcome="succeeded", result={})
    assert answer["status"] == "recorded"


async def limit(world: World, table: str, number: int) -> None:
    await world.owner.execute(f"UPDATE {table} SET transfer_limit = %s".encode(), (number,))


async def pause(world: World, *classes: JobClass) -> None:
    await world.api.execute(
        "UPDATE server SET paused_classes = %s, paused_at = %s",
        (list(classes), "now" if classes else None),
    )


# Limits


async def test_a_registry_has_eight_transfers_at_once_on_whatever_servers(world: World) -> None:
    here, there = [await world.add_server(transfer_limit=10) for _ in range(2)]
    registry_id = await world.add_registry()
    for server in (here, there) * 6:
        await world.submit(server, PULL, registry_id=registry_id)

    first = await released(world)
    assert len(first) == 8
    assert await released(world) == []
    server = here if (await world.job(first[0]))["server_id"] == here.server_id else there
    await end(world, server, first[0])
    assert len(await released(world)) == 1


async def test_a_full_registry_holds_up_no_test_and_no_other_registry(world: World) -> None:
    server = await world.add_server(transfer_limit=4)
    full, free = await world.add_registry(), await world.add_registry()
    await limit(world, "registry", 1)
    await world.dispatch(server, PULL, registry_id=full)
    for _ in range(6):
        await world.submit(server, PULL, registry_id=full)
    other = await world.submit(server, PULL, registry_id=free)
    nobody = await world.submit(server, PULL)
    test = await world.submit(server, TEST, registry_id=full)

    assert set(await released(world)) == {other, nobody, test}


async def test_an_organization_has_as_many_transfers_as_it_may(world: World) -> None:
    servers = [await world.add_server() for _ in range(3)]
    for server in servers * 2:
        await world.submit(server, PULL)
    tags = {await world.submit(server, TAG) for server in servers}
    await limit(world, "organization", 4)

    first = await released(world)

    assert len(set(first) - tags) == 4
    assert tags <= set(first)
    assert await released(world) == []


async def test_a_job_that_one_limit_holds_up_leaves_its_room_to_others_at_the_next_release(
    world: World,
) -> None:
    server = await world.add_server(transfer_limit=3)
    registry_id = await world.add_registry()
    await limit(world, "registry", 1)
    held_up = [await world.submit(server, PULL, registry_id=registry_id) for _ in range(5)]
    others = [await world.submit(server, PULL) for _ in range(5)]

    assert await released(world) == held_up[:1]
    assert await released(world) == others[:2]


async def test_one_look_hands_out_so_many_and_the_next_one_goes_on(world: World) -> None:
    server = await world.add_server(quick_limit=2 * MAX_JOBS)
    await world.submit(server)
    await world.owner.execute(
        "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class, command,"
        " max_failures, timeout_seconds)"
        " SELECT gen_random_uuid(), organization_id, server_id, kind, version, job_class, command,"
        " max_failures, timeout_seconds FROM job, generate_series(1, %s)",
        (MAX_JOBS,),
    )

    assert [len(await released(world)) for _ in range(3)] == [MAX_JOBS, 1, 0]


@pytest.mark.parametrize("table", ["registry", "organization"])
async def test_a_limit_of_nothing_is_refused(world: World, table: str) -> None:
    await world.add_registry()

    with pytest.raises(psycopg.errors.CheckViolation):
        await limit(world, table, 0)


# Pauses and drains


async def test_a_paused_server_gets_nothing_until_it_goes_on(world: World) -> None:
    server, other = await world.add_server(), await world.add_server()
    jobs = {await world.submit(server, TAG), await world.submit(server, PULL)}
    await pause(world, *JobClass)
    await world.owner.execute(
        "UPDATE server SET paused_classes = '{}', paused_at = NULL WHERE server_id = %s",
        (other.server_id,),
    )
    unheld = await world.submit(other)

    assert await released(world) == [unheld]
    await pause(world)
    assert set(await released(world)) == jobs


async def test_one_class_of_a_server_may_be_paused_alone(world: World) -> None:
    server = await world.add_server()
    tag, pull = await world.submit(server, TAG), await world.submit(server, PULL)
    await pause(world, JobClass.TRANSFER)

    assert await released(world) == [tag]
    await pause(world, JobClass.QUICK)
    assert await released(world) == [pull]


async def test_a_pause_leaves_alone_what_was_handed_out(world: World) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server)
    await pause(world, *JobClass)

    await world.sweep()
    await end(world, server, job_id)

    assert await world.state(job_id) == "succeeded"


@pytest.mark.parametrize("change", ["paused_at = now()", "paused_classes = '{quick}'"])
async def test_a_pause_has_classes_and_a_beginning(world: World, change: str) -> None:
    await world.add_server()

    with pytest.raises(psycopg.errors.CheckViolation):
        await world.owner.execute(f"UPDATE server SET {change}".encode())


async def test_a_draining_server_gets_nothing_new_and_keeps_what_it_runs(world: World) -> None:
    server = await world.add_server()
    running, unclaimed, waiting = await world.run(server), await world.dispatch(server), None
    message = [{"job_id": running, "attempt": 1}]

    answer = await server.call("heartbeat", "first", jobs=message, draining=True)
    waiting = await world.submit(server)
    await world.sweep()

    assert [job["job_id"] for job in answer["jobs"]] == [running]
    assert await released(world) == []
    states = [await world.state(job_id) for job_id in (running, unclaimed, waiting)]
    assert states == ["running", "queued", "queued"]
    assert (await world.job(unclaimed))["failures"] == 0
    await server.register("second", predecessor="first")
    assert {unclaimed, waiting} <= set(await released(world))


async def test_a_drain_that_was_called_off_ends_with_the_next_heartbeat(world: World) -> None:
    server = await world.add_server()
    await server.call("heartbeat", "first", draining=True)
    job_id = await world.submit(server)

    junks: tuple[object, ...] = (None, "true", 1, {}, False)
    for junk in junks:
        await server.call("heartbeat", "first", draining=junk)
        assert await world.rows("SELECT 1 FROM server WHERE NOT draining")

    assert await released(world) == [job_id]


async def test_a_server_that_signed_off_is_offline_at_once(world: World) -> None:
    server = await world.add_server()
    unclaimed = await world.dispatch(server)

    answer = await server.call("heartbeat", "first", leaving=True)
    waiting = await world.submit(server)
    assert await world.sweep() == []

    assert (answer["status"], answer["jobs"]) == ("current", [])
    assert await released(world) == []
    assert await world.state(unclaimed) == await world.state(waiting) == "queued"
    assert (await server.call("heartbeat", "first"))["status"] == "superseded"


async def test_a_job_after_a_worker_signed_off_need_not_wait(world: World) -> None:
    server = await world.add_server()
    left_behind = await world.run(server)
    await server.call("heartbeat", "first", leaving=True)

    answer = await server.register("second", predecessor=None)

    assert answer["status"] == "current"
    assert await world.state(left_behind) == "queued"


async def test_a_sign_off_of_a_replaced_worker_makes_no_server_offline(world: World) -> None:
    server = await world.add_server()
    await server.register("second", predecessor="first")

    assert (await server.call("heartbeat", "first", leaving=True))["status"] == "superseded"
    assert (await server.call("heartbeat", "second"))["status"] == "current"


# Whose turn it is


async def test_tests_go_before_tags_and_pulls_before_pushes(world: World) -> None:
    server = await world.add_server(quick_limit=1, transfer_limit=1)
    tag, test = await world.submit(server, TAG), await world.submit(server, TEST)
    push, pull = await world.submit(server, PUSH), await world.submit(server, PULL)

    assert await released(world) == [test, pull]
    await end(world, server, test)
    await end(world, server, pull)
    assert await released(world) == [tag, push]


async def test_applications_take_turns_however_much_one_of_them_asks(world: World) -> None:
    server = await world.add_server(transfer_limit=1)
    greedy = [await world.submit(server, PULL, fair_key="greedy") for _ in range(6)]
    modest = [await world.submit(server, PULL, fair_key="modest") for _ in range(2)]

    order = await released_in_turn(world, server, 8)

    assert order == [greedy[0], modest[0], greedy[1], modest[1], *greedy[2:]]


async def test_a_pull_goes_before_a_push_whoevers_turn_it_is(world: World) -> None:
    server = await world.add_server(transfer_limit=1)
    pulls = [await world.submit(server, PULL, fair_key="a") for _ in range(3)]
    push = await world.submit(server, PUSH, fair_key="b")

    assert await released_in_turn(world, server, 4) == [*pulls, push]


async def test_an_application_that_has_nothing_running_goes_before_one_that_has(
    world: World,
) -> None:
    server = await world.add_server(transfer_limit=2)
    greedy = [await world.submit(server, PULL, fair_key="greedy") for _ in range(6)]
    assert await released(world) == greedy[:2]
    modest = await world.submit(server, PULL, fair_key="modest")

    await end(world, server, greedy[0])

    assert await released(world) == [modest]


async def test_running_jobs_count_more_than_the_last_turn(world: World) -> None:
    server = await world.add_server(transfer_limit=2)
    greedy = [await world.submit(server, PULL, fair_key="greedy") for _ in range(3)]
    modest = [await world.submit(server, PULL, fair_key="modest", priority=9) for _ in range(2)]
    await world.owner.execute("UPDATE server SET transfer_limit = 1")
    assert await released(world) == modest[:1]
    await world.owner.execute("UPDATE job SET priority = 0")
    await world.owner.execute("UPDATE server SET transfer_limit = 2")
    assert await released(world) == greedy[:1]
    await world.owner.execute(
        "UPDATE application_turn SET served_at = now() + interval '1 hour'"
        " WHERE fair_key = 'modest'"
    )

    await end(world, server, modest[0])

    assert await released(world) == modest[1:]


async def test_room_is_shared_evenly_between_applications(world: World) -> None:
    server = await world.add_server(transfer_limit=6)
    for name, number in (("a", 20), ("b", 10), ("c", 1)):
        for _ in range(number):
            await world.submit(server, PULL, fair_key=name)

    await world.release()

    held = await world.rows("SELECT fair_key FROM job WHERE state = 'dispatched'")
    assert Counter(row["fair_key"] for row in held) == {"a": 3, "b": 2, "c": 1}


async def test_applications_share_their_organizations_limit_across_servers(world: World) -> None:
    servers = [await world.add_server() for _ in range(8)]
    await limit(world, "organization", 4)
    for server in servers:
        await world.submit(server, PULL, fair_key="everywhere")
    modest = [await world.submit(servers[-1], PULL, fair_key="modest") for _ in range(2)]

    assert set(modest) <= set(await released(world))


async def test_organizations_share_evenly_what_is_released_at_a_time(world: World) -> None:
    """Of 2,000 due jobs 500 are released at a time."""
    server = await world.add_server(quick_limit=2000)
    await world.owner.execute("INSERT INTO organization (organization_id, name) VALUES ('b', 'b')")
    await world.owner.execute(
        "INSERT INTO server (server_id, organization_id, name, description, incarnation, seen_at,"
        " kinds, quick_limit) VALUES ('b', 'b', 'b', '', 'first', now(), %s, 2000)",
        (KINDS,),
    )
    await world.owner.execute(
        "INSERT INTO server_enrolment SELECT 'b', public_key, role_verifier FROM server_enrolment"
    )
    await world.owner.execute("UPDATE server SET approved_at = now()")
    template = await world.submit(server)
    for organization_id, server_id in ((world.organization_id, server.server_id), ("b", "b")):
        await world.owner.execute(
            "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class,"
            " command, max_failures, timeout_seconds)"
            " SELECT gen_random_uuid(), %s, %s, kind, version, job_class, command, max_failures,"
            " timeout_seconds FROM job, generate_series(1, 1000) WHERE job_id = %s",
            (organization_id, server_id, template),
        )

    shares = Counter(job.organization_id for job in await world.release())

    assert abs(shares[world.organization_id] - MAX_JOBS / 2) <= 1
    await world.release()
    held = await world.rows(
        "SELECT organization_id, count(*) AS jobs FROM job WHERE state = 'dispatched' GROUP BY 1"
    )
    assert {row["organization_id"] == "b": row["jobs"] for row in held} == {
        False: MAX_JOBS,
        True: MAX_JOBS,
    }


# Everything at once


async def test_in_any_crowd_no_limit_is_exceeded_and_no_room_is_left_unused(world: World) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a crowd, no secret
    servers = [
        await world.add_server(
            quick_limit=chance.randint(1, 3), transfer_limit=chance.randint(1, 4)
        )
        for _ in range(3)
    ]
    registries: list[str | None] = [None, await world.add_registry(), await world.add_registry()]
    await limit(world, "registry", 3)
    await limit(world, "organization", 7)
    ended = 0

    for _ in range(12):
        for _ in range(chance.randint(0, 12)):
            command: Command = chance.choice([TAG, TEST, PULL, PULL, PUSH])
            await world.submit(
                chance.choice(servers),
                command,
                registry_id=chance.choice(registries),
                fair_key=chance.choice("abc"),
                exclusive_key=chance.choice([None, None, "x", "y"]),
            )
        while await world.release():
            await require_within_limits(world)
        await require_no_room_for_any(world)
        for row in await world.rows("SELECT job_id, server_id FROM job WHERE state = 'dispatched'"):
            if chance.random() < 0.5:
                [server] = [one for one in servers if one.server_id == row["server_id"]]
                await end(world, server, row["job_id"])
                ended += 1

    assert ended > 20


HELD = "SELECT * FROM job JOIN server USING (server_id) WHERE state = 'dispatched'"


async def require_within_limits(world: World) -> None:
    held = await world.rows(HELD)
    for (server_id, job_class), jobs in _by(held, "server_id", "job_class").items():
        assert len(jobs) <= jobs[0][f"{job_class}_limit"], (server_id, job_class)
    transfers = [job for job in held if job["job_class"] == "transfer"]
    assert len(transfers) <= 7
    for registry_id, jobs in _by(transfers, "registry_id").items():
        assert registry_id == (None,) or len(jobs) <= 3
    keys = [job["exclusive_key"] for job in held if job["exclusive_key"]]
    assert len(keys) == len(set(keys))


async def require_no_room_for_any(world: World) -> None:
    """Each waiting job has a limit that is reached."""
    held = await world.rows(HELD)
    transfers = [job for job in held if job["job_class"] == "transfer"]
    keys = {job["exclusive_key"] for job in held} - {None}
    for job in await world.rows(
        "SELECT * FROM job JOIN server USING (server_id) WHERE state = 'queued'"
    ):
        place = (job["server_id"], job["job_class"])
        here = _by(held, "server_id", "job_class").get(place, [])
        there = _by(transfers, "registry_id").get((job["registry_id"],), [])
        is_transfer = job["job_class"] == "transfer"
        assert (
            len(here) == job[f"{job['job_class']}_limit"]
            or job["exclusive_key"] in keys
            or (is_transfer and len(transfers) == 7)
            or (is_transfer and job["registry_id"] and len(there) == 3)
        ), job


def _by(jobs: list[dict[str, Any]], *columns: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for job in jobs:
        found.setdefault(tuple(job[column] for column in columns), []).append(job)
    return found


def test_the_order_of_the_kinds_is_a_matter_of_their_rules() -> None:
    order = sorted(RULES, key=lambda kind: (RULES[kind].job_class, -RULES[kind].priority))

    quick, transfers = (
        [
            *("server.check", "registry.test", "image.inspect", "image.tags"),
            *("image.repositories", "signature.verify", "application.logs", "application.control"),
            *("image.tag", "image.verify", "service.login"),
        ],
        [
            *("image.pull", "compose.pull", "service.replace", "container.replace"),
            *("image.push", "image.copy", "image.delete", "image.scan", "signature.sign"),
        ],
    )
    assert order == ["image.build", *quick, *transfers]
