"""Reports of workers on the limits of registries, and the jobs that wait for them."""

from datetime import timedelta
from typing import Any

import pytest

from shared.jobs.commands import (
    Command,
    ComposeImage,
    ComposePull,
    ImageCopy,
    ImagePull,
    ImagePush,
    ServiceReplace,
)
from tests.world import TAG, EnrolledServer, World

HUB = "docker.io"
PULL = ImagePull(reference="docker.io/library/alpine:3")
LIMITED = {
    "code": "rate_limited",
    "message": "it was asked too often",
    "remedy": "Wait.",
    "retryable": True,
}
USED_UP = {"limit": 100, "remaining": 0, "window_seconds": 3600}


def pull_with(registry_id: str) -> ImagePull:
    return ImagePull(reference="docker.io/team/app:1", registry_id=registry_id)


async def run(world: World, server: EnrolledServer, command: Command = PULL) -> str:
    return await world.run(server, command=command, registry_id=_registry_of(command))


async def submit(world: World, server: EnrolledServer, command: Command = PULL) -> str:
    return await world.submit(server, command, registry_id=_registry_of(command))


def _registry_of(command: Command) -> str | None:
    registry_id: str | None = getattr(command, "registry_id", None)
    return registry_id


async def end(
    world: World,
    server: EnrolledServer,
    job_id: str,
    *reports: dict[str, Any],
    error: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Finish the newest attempt, with what its worker saw at Docker Hub."""
    return await server.call(
        "finish",
        "first",
        job_id=job_id,
        attempt=(await world.job(job_id))["attempt"],
        outcome="failed" if error else "succeeded",
        result=None if error else {},
        error=error,
        quotas=[{"host": HUB, **report} for report in reports],
    )


async def released(world: World) -> set[str]:
    return {job.job_id for job in await world.release()}


async def quotas(world: World) -> dict[str, dict[str, Any]]:
    rows = await world.rows("SELECT * FROM registry_quota")
    return {row["quota_key"]: row for row in rows}


async def pass_time(world: World, seconds: float) -> None:
    await world.owner.execute(
        "UPDATE registry_quota SET observed_at = observed_at - %(time)s,"
        " window_ends_at = window_ends_at - %(time)s, blocked_until = blocked_until - %(time)s",
        {"time": timedelta(seconds=seconds)},
    )


async def test_a_job_that_met_the_limit_waits_and_has_not_failed(world: World) -> None:
    server = await world.add_server()
    for _ in range(5):
        job_id = await run(world, server)
        report = {**USED_UP, "refused": True}
        assert (await end(world, server, job_id, report, error=LIMITED))["state"] == "queued"

        job = await world.job(job_id)
        assert (job["failures"], job["error"]["code"]) == (0, "rate_limited")
        assert await released(world) == set()
        await world.owner.execute("DELETE FROM job")
        await world.owner.execute("DELETE FROM registry_quota")


async def test_all_pulls_of_an_account_wait_on_all_servers_and_others_go_on(world: World) -> None:
    here, there = await world.add_server(), await world.add_server()
    account, other = await world.add_registry(host=HUB), await world.add_registry(host=HUB)
    report = {**USED_UP, "registry_id": account}
    await end(world, here, await run(world, here, pull_with(account)), report)

    waits = [await submit(world, server, pull_with(account)) for server in (here, there)]
    pushes = await submit(
        world,
        here,
        ImagePush(source="app:1", reference="docker.io/team/app:1", registry_id=account),
    )
    goes = [await submit(world, there, pull_with(other)), await submit(world, here, TAG)]
    anonymous = await submit(world, there)

    assert await released(world) == {pushes, anonymous, *goes}
    assert {await world.state(job_id) for job_id in waits} == {"queued"}


async def test_no_more_pulls_begin_than_are_left(world: World) -> None:
    servers = [await world.add_server() for _ in range(4)]
    account = await world.add_registry(host=HUB)
    report = {"registry_id": account, "limit": 100, "remaining": 3, "window_seconds": 3600}
    await end(world, servers[0], await run(world, servers[0], pull_with(account)), report)
    for server in servers * 2:
        await submit(world, server, pull_with(account))

    assert len(await released(world)) == 3
    assert await released(world) == set()


async def test_after_the_window_one_pull_tries_and_its_success_lets_the_others_go(
    world: World,
) -> None:
    servers = [await world.add_server() for _ in range(3)]
    account = await world.add_registry(host=HUB)
    report = {**USED_UP, "registry_id": account}
    await end(world, servers[0], await run(world, servers[0], pull_with(account)), report)
    jobs = {await submit(world, server, pull_with(account)): server for server in servers}
    assert await released(world) == set()

    await pass_time(world, 901)
    [tries] = await released(world)
    assert await released(world) == set()
    await jobs[tries].call("claim", "first", job_id=tries, attempt=1)
    await end(world, jobs[tries], tries, {**report, "remaining": 99})

    assert await released(world) == set(jobs) - {tries}


async def test_a_pull_that_tries_in_vain_blocks_the_others_again(world: World) -> None:
    server = await world.add_server()
    job_id = await run(world, server)
    other = await submit(world, server)
    await end(world, server, job_id, {"refused": True}, error=LIMITED)
    first = (await quotas(world))[f"server:{server.server_id}@{HUB}"]
    await pass_time(world, 60)

    [tries] = await released(world)
    await server.call("claim", "first", job_id=tries, attempt=(await world.job(tries))["attempt"])
    await end(world, server, tries, {"refused": True}, error=LIMITED)

    [again] = (await quotas(world)).values()
    assert (first["refusals"], again["refusals"]) == (1, 2)
    assert await released(world) == set()
    assert {await world.state(one) for one in (job_id, other)} == {"queued"}


async def test_a_long_pull_that_was_counted_keeps_no_other_one_from_starting(
    world: World,
) -> None:
    server = await world.add_server()
    long = await run(world, server)
    await world.owner.execute("UPDATE job SET dispatched_at = now() - interval '1 hour'")
    report = {"limit": 100, "remaining": 1, "window_seconds": 3600}
    await end(world, server, await run(world, server), report)

    first, second = await submit(world, server), await submit(world, server)

    assert await released(world) == {first}
    assert await world.state(second) == "queued"
    assert await world.state(long) == "running"


async def test_a_long_pull_keeps_no_other_one_from_trying_after_a_block(world: World) -> None:
    server = await world.add_server()
    long, refused = await run(world, server), await run(world, server)
    await end(world, server, refused, {"refused": True}, error=LIMITED)
    await pass_time(world, 1)
    assert await released(world) == set()

    await world.owner.execute("UPDATE registry_quota SET blocked_until = now()")

    assert await released(world) == {refused}
    assert await world.state(long) == "running"


async def test_retry_after_says_until_when_to_wait(world: World) -> None:
    server = await world.add_server()
    job_id = await run(world, server)

    await end(world, server, job_id, {"refused": True, "retry_after_seconds": 600}, error=LIMITED)

    await pass_time(world, 590)
    assert await released(world) == set()
    await pass_time(world, 11)
    assert await released(world) == {job_id}


async def test_servers_behind_one_address_share_its_quota(world: World) -> None:
    here, there, elsewhere = [await world.add_server() for _ in range(3)]
    source = {"source": "192.0.2.1", "by_address": True}
    await end(world, there, await run(world, there), {**USED_UP, **source, "remaining": 50})
    far = {"limit": 100, "remaining": 70, "window_seconds": 3600, "source": "192.0.2.9"}
    await end(world, elsewhere, await run(world, elsewhere), far)

    await end(world, here, await run(world, here), {**USED_UP, **source})

    waits = [await submit(world, server) for server in (here, there)]
    goes = await submit(world, elsewhere)
    assert await released(world) == {goes}
    assert {await world.state(job_id) for job_id in waits} == {"queued"}


async def test_a_login_that_is_counted_by_address_holds_up_its_own_server_only(
    world: World,
) -> None:
    here, there = await world.add_server(), await world.add_server()
    account = await world.add_registry(host=HUB)
    report = {**USED_UP, "registry_id": account, "by_address": True, "source": "192.0.2.1"}
    await end(world, here, await run(world, here, pull_with(account)), report)

    waits = await submit(world, here, pull_with(account))
    goes = await submit(world, there, pull_with(account))

    assert await released(world) == {goes}
    assert await world.state(waits) == "queued"


async def test_a_copy_waits_for_the_quota_of_its_source(world: World) -> None:
    server = await world.add_server()
    source, target = await world.add_registry(host=HUB), await world.add_registry()
    await end(
        world,
        server,
        await run(world, server, pull_with(source)),
        {**USED_UP, "registry_id": source},
    )
    copy = ImageCopy(
        reference="registry.example/team/app:1",
        source="docker.io/team/app:1",
        source_registry_id=source,
        registry_id=target,
    )

    job_id = await submit(world, server, copy)

    assert await released(world) == set()
    await pass_time(world, 901)
    assert await released(world) == {job_id}


def copy_from(registry_id: str) -> ImageCopy:
    return ImageCopy(
        reference="registry.example/team/app:1",
        source="docker.io/team/app:1",
        source_registry_id=registry_id,
    )


async def know(world: World, server: EnrolledServer, registry_id: str, remaining: int) -> None:
    """Have a job report what is left of the limit, a minute ago."""
    report = {"registry_id": registry_id, "limit": 100, "remaining": remaining}
    job_id = await run(world, server, pull_with(registry_id))
    await end(world, server, job_id, {**report, "window_seconds": 3600})
    await pass_time(world, 60)


async def test_a_copy_spends_a_pull_for_each_manifest_that_it_read(world: World) -> None:
    server, account = await world.add_server(), await world.add_registry(host=HUB)
    await know(world, server, account, 50)

    job_id = await run(world, server, copy_from(account))
    await end(world, server, job_id, {"registry_id": account, "pulls": 9})

    [row] = (await quotas(world)).values()
    assert row["remaining"] == 41


async def test_what_a_registry_said_of_a_copy_counts_rather_than_its_pulls(world: World) -> None:
    server, account = await world.add_server(), await world.add_registry(host=HUB)
    await know(world, server, account, 50)

    job_id = await run(world, server, copy_from(account))
    report = {"registry_id": account, "limit": 100, "remaining": 48, "window_seconds": 3600}
    await end(world, server, job_id, {**report, "pulls": 9})

    [row] = (await quotas(world)).values()
    assert row["remaining"] == 48


@pytest.mark.parametrize("code", ["rate_limited", "conn_reset"])
async def test_a_copy_that_is_repeated_reserves_all_the_pulls_it_takes(
    world: World, code: str
) -> None:
    server, account = await world.add_server(), await world.add_registry(host=HUB)
    copies = await run(world, server, copy_from(account))
    report = {"registry_id": account, "pulls": 4, "limit": None, "refused": code == "rate_limited"}
    await end(world, server, copies, report, error={**LIMITED, "code": code})
    await world.owner.execute("UPDATE job SET run_at = now() + interval '1 hour'")

    keys = (await world.job(copies))["quota_keys"]
    assert keys.count(f"registry:{account}") == 4
    assert keys.count(f"registry:{account}@{server.server_id}") == 4
    await world.owner.execute("DELETE FROM registry_quota")
    await know(world, server, account, 5)
    await world.owner.execute(
        "UPDATE job SET run_at = now(), priority = 3 WHERE job_id = %s", (copies,)
    )
    for _ in range(2):
        await submit(world, server, pull_with(account))
    begun = await released(world)
    assert (copies in begun, len(begun)) == (True, 2)


async def test_a_service_reserves_a_pull_for_each_replica(world: World) -> None:
    server, account = await world.add_server(), await world.add_registry(host=HUB)
    command = ServiceReplace(
        application_id="app",
        deployment_id="deployment",
        name="app",
        reference=f"docker.io/team/app@sha256:{'a' * 64}",
        registry_id=account,
        replicas=3,
    )

    job_id = await submit(world, server, command)

    keys = (await world.job(job_id))["quota_keys"]
    assert keys.count(f"registry:{account}") == 3


async def test_a_job_of_more_pulls_than_are_left_begins_alone(world: World) -> None:
    server = await world.add_server()
    report = {"limit": 2, "remaining": 2, "window_seconds": 3600}
    await end(world, server, await run(world, server), report)
    images = tuple(
        ComposeImage(services=(f"s{n}",), reference=f"docker.io/library/s{n}:1") for n in range(5)
    )

    first = await submit(world, server, ComposePull(compose="", images=images))
    await submit(world, server, ComposePull(compose="", images=images))

    assert await released(world) == {first}


async def test_a_build_that_met_a_limit_waits_for_it_from_then_on(world: World) -> None:
    server = await world.add_server()
    push = ImagePush(source="app:1", reference="registry.example/team/app:1")
    job_id = await run(world, server, push)

    await end(world, server, job_id, {**USED_UP, "refused": True}, error=LIMITED)

    assert (await world.job(job_id))["quota_keys"] == [f"server:{server.server_id}@{HUB}"]
    assert await released(world) == set()
    await pass_time(world, 901)
    assert await released(world) == {job_id}


async def test_a_refusal_without_a_report_is_repeated_after_a_growing_pause(world: World) -> None:
    server = await world.add_server()
    job_id = await run(world, server)
    pauses = []
    for attempt in (1, 2, 3):
        await end(world, server, job_id, error=LIMITED)
        job = await world.job(job_id)
        assert (job["state"], job["failures"], job["attempt"]) == ("queued", 0, attempt)
        [row] = await world.rows(
            "SELECT extract(epoch FROM run_at - now())::float AS wait FROM job"
        )
        pauses.append(row["wait"])
        await world.owner.execute("UPDATE job SET run_at = now()")
        await world.release()
        await server.call("claim", "first", job_id=job_id, attempt=attempt + 1)

    assert 1 < pauses[0] < 3.1 < pauses[1] < 6.1 < pauses[2]


async def test_a_waiting_job_ends_at_its_deadline(world: World) -> None:
    server = await world.add_server()
    job_id = await run(world, server)
    await end(world, server, job_id, {**USED_UP, "refused": True}, error=LIMITED)

    await world.owner.execute("UPDATE job SET deadline_at = now() - interval '1 s'")
    await world.sweep()

    assert await world.state(job_id) == "expired"


async def test_a_worker_reports_only_on_registries_of_its_job(world: World) -> None:
    server = await world.add_server()
    foreign = await world.add_registry(host=HUB)
    reports: list[dict[str, Any]] = [
        {**USED_UP, "registry_id": foreign},
        {**USED_UP, "registry_id": 7},
        {**USED_UP, "host": ""},
        {**USED_UP, "host": "x" * 256},
        {**USED_UP, "host": None},
    ]

    answer = await end(world, server, await run(world, server), *reports)

    assert answer["state"] == "succeeded"
    assert await quotas(world) == {}


@pytest.mark.parametrize("reports", [None, 7, "x", {}, ["x", 7, None, []]])
async def test_a_report_of_another_shape_is_ignored(world: World, reports: object) -> None:
    server = await world.add_server()
    job_id = await run(world, server)

    answer = await server.call(
        "finish",
        "first",
        job_id=job_id,
        attempt=1,
        outcome="succeeded",
        result={},
        quotas=reports,
    )

    assert answer["status"] == "recorded"
    assert await quotas(world) == {}


async def test_numbers_out_of_range_are_cut_or_ignored(world: World) -> None:
    server = await world.add_server()
    report = {"limit": 1e30, "remaining": -1, "window_seconds": "60", "age_seconds": 1e9}

    await end(world, server, await run(world, server), report)

    [row] = (await quotas(world)).values()
    assert (row["pull_limit"], row["remaining"]) == (10**9, None)
    assert row["window_seconds"] is None


async def test_another_account_of_a_registry_has_another_quota(world: World) -> None:
    server = await world.add_server()
    account = await world.add_registry(host=HUB)
    report = {**USED_UP, "registry_id": account}
    await end(world, server, await run(world, server, pull_with(account)), report)
    await world.owner.execute("UPDATE registry SET registry_name = 'renamed'")
    assert len(await quotas(world)) == 1

    await world.api.execute("UPDATE registry SET username = 'bob'")

    assert await quotas(world) == {}


async def test_a_removed_registry_takes_its_quota_with_it(world: World) -> None:
    server = await world.add_server()
    account = await world.add_registry(host=HUB)
    job_id = await run(world, server, pull_with(account))
    late = await run(world, server, pull_with(account))
    await end(world, server, job_id, {**USED_UP, "registry_id": account})

    await world.api.execute("DELETE FROM registry")
    await end(world, server, late, {**USED_UP, "registry_id": account})

    assert await quotas(world) == {}
