"""A login that a registry refuses is sent nowhere, until it is changed or a test succeeds."""

from dataclasses import dataclass
from typing import Any

import pytest

from shared.ids import make_id
from shared.jobs.commands import (
    BaseRegistry,
    ComposeImage,
    ComposePull,
    ImageBuild,
    ImageCopy,
    ImagePull,
    RegistryTest,
)
from shared.jobs.sources import GitSource
from shared.jobs.store.release import Released
from tests.world import PULL, EnrolledServer, World
from worker.control.maintenance.accepted_logins import accept_logins

REFUSED = {"code": "auth_bad_credentials", "message": "not accepted", "retryable": False}
OTHER = {"code": "image_not_found", "message": "not there", "retryable": False}
NO_PUSH = {"code": "push_denied", "message": "may not", "retryable": False, "stage": "push"}


@dataclass
class Fleet:
    """Servers that pull from one registry."""

    world: World
    servers: list[EnrolledServer]
    registry_id: str

    async def queue(self, *numbers: int, registry_id: str | None = None) -> list[str]:
        """Submit a pull for each of these servers."""
        chosen = registry_id or self.registry_id
        return [
            await self.world.submit(
                self.servers[number],
                ImagePull(reference=f"registry.example/team/{make_id()}:1", registry_id=chosen),
                registry_id=chosen,
            )
            for number in numbers
        ]

    async def test(self, number: int) -> str:
        command = RegistryTest(
            host="registry.example",
            username="alice",
            repository="team/app",
            registry_id=self.registry_id,
        )
        return await self.world.submit(self.servers[number], command, registry_id=self.registry_id)

    async def start(self) -> list[Released]:
        """Release what may be released, and claim it."""
        jobs = await self.world.release()
        for job in jobs:
            answer = await self.server(job).call(
                "claim", "first", job_id=job.job_id, attempt=job.attempt
            )
            assert answer["status"] == "claimed"
        return jobs

    async def end(self, job: Released, error: dict[str, Any] | None = None) -> None:
        outcome = {"outcome": "failed", "error": error} if error else {"outcome": "succeeded"}
        answer = await self.server(job).call(
            "finish", "first", job_id=job.job_id, attempt=job.attempt, result={}, **outcome
        )
        assert answer["status"] == "recorded"

    async def run_one(self, number: int, error: dict[str, Any] | None = None) -> None:
        """Run a pull on a server to its end."""
        await self.queue(number)
        [job] = await self.start()
        await self.end(job, error)

    async def renew(self) -> None:
        """Give the registry another login, as the API does."""
        await self.world.owner.execute(
            "UPDATE registry SET login_revision = %s WHERE registry_id = %s",
            (make_id(), self.registry_id),
        )

    def server(self, job: Released) -> EnrolledServer:
        return next(one for one in self.servers if one.server_id == job.server_id)

    async def waits(self, job_id: str) -> bool:
        [row] = await self.world.rows(
            "SELECT login_is_held FROM queued_job WHERE job_id = %s", job_id
        )
        return bool(row["login_is_held"])


@pytest.fixture
async def fleet(world: World) -> Fleet:
    servers = [await world.add_server() for _ in range(3)]
    return Fleet(world, servers, await world.add_registry(is_tried=False))


async def test_one_job_at_a_time_tries_a_login_that_was_never_accepted(fleet: Fleet) -> None:
    await fleet.queue(0, 0, 1, 2)

    [first] = await fleet.start()
    assert await fleet.start() == []
    await fleet.end(first)

    assert len(await fleet.start()) == 3


async def test_two_servers_that_are_refused_open_it_for_all(fleet: Fleet) -> None:
    jobs = await fleet.queue(0, 1, 2, 2)
    refused = []
    while started := await fleet.start():
        [job] = started
        await fleet.end(job, REFUSED)
        refused.append(job.job_id)

    assert len(refused) == 2
    assert [await fleet.waits(job_id) for job_id in jobs if job_id not in refused] == [True, True]
    assert [await fleet.world.state(job_id) for job_id in refused] == ["failed", "failed"]


async def test_a_build_waits_only_while_the_login_of_one_of_its_bases_is_refused(
    fleet: Fleet,
) -> None:
    build = ImageBuild(
        application_id="application",
        reference="app:1",
        source=GitSource(url="https://git.example/team/app.git"),
        bases=(BaseRegistry(registry_id=fleet.registry_id, host="registry.example"),),
    )
    await fleet.run_one(0, REFUSED)
    waiting = await fleet.world.submit(fleet.servers[2], build)
    await fleet.world.owner.execute("UPDATE job SET run_at = now() + interval '1 hour'")
    assert not await fleet.waits(waiting)

    await fleet.run_one(1, REFUSED)

    assert await fleet.waits(waiting)
    await fleet.renew()
    assert not await fleet.waits(waiting)


async def test_a_server_that_is_refused_alone_stops_only_itself(fleet: Fleet) -> None:
    await fleet.run_one(1)
    for _ in range(2):
        await fleet.run_one(0, REFUSED)

    [waiting, _] = await fleet.queue(0, 1)
    [trial] = await fleet.start()
    await fleet.end(trial)
    await fleet.queue(0, 0, 1, 2, 2)

    assert trial.server_id == fleet.servers[1].server_id
    assert len(await fleet.start()) == 3
    assert await fleet.waits(waiting)


async def test_at_most_three_jobs_of_a_fleet_are_refused_whatever_the_order(fleet: Fleet) -> None:
    await fleet.queue(0, 0, 0, 0)
    refused = 0
    for number in (0, 1, 2):
        await fleet.queue(number, number)
        while started := await fleet.start():
            for job in started:
                await fleet.end(job, REFUSED)
                refused += 1

    assert refused == 3


async def test_other_errors_open_nothing(fleet: Fleet) -> None:
    await fleet.run_one(0)
    for number in (0, 1, 2):
        await fleet.run_one(number, OTHER)

    await fleet.queue(0, 1, 2)

    assert len(await fleet.start()) == 3


async def test_another_login_closes_it(fleet: Fleet) -> None:
    for number in (0, 1):
        await fleet.run_one(number, REFUSED)
    await fleet.queue(2)
    assert await fleet.start() == []

    await fleet.renew()

    assert len(await fleet.start()) == 1


async def test_a_refusal_of_an_earlier_login_counts_no_more(fleet: Fleet) -> None:
    await fleet.run_one(0)
    await fleet.queue(0, 1, 2)
    running = await fleet.start()
    await fleet.renew()
    for job in running:
        await fleet.end(job, REFUSED)

    await fleet.run_one(0)

    await fleet.queue(1, 2)
    assert len(await fleet.start()) == 2


async def test_a_success_with_an_earlier_login_says_nothing_of_the_new_one(fleet: Fleet) -> None:
    await fleet.run_one(0)
    await fleet.queue(0)
    [running] = await fleet.start()
    await fleet.renew()
    await fleet.end(running)

    await fleet.queue(1, 2)

    assert len(await fleet.start()) == 1


async def test_a_success_that_started_before_the_refusals_does_not_close_it(fleet: Fleet) -> None:
    await fleet.run_one(0)
    await fleet.queue(0, 1, 2)
    long, *others = await fleet.start()
    for job in others:
        await fleet.end(job, REFUSED)
    await fleet.end(long)

    await fleet.queue(0)

    assert await fleet.start() == []


async def test_a_test_goes_through_and_its_success_closes_it(fleet: Fleet) -> None:
    for number in (0, 1, 1):
        await fleet.queue(number)
    for _ in range(2):
        [job] = await fleet.start()
        await fleet.end(job, REFUSED)

    await fleet.test(2)
    [test] = await fleet.start()
    assert test.kind == "registry.test"
    await fleet.end(test)

    await fleet.queue(0, 1, 2)
    assert len(await fleet.start()) == 4


async def test_a_test_that_fails_after_the_login_closes_it_too(fleet: Fleet) -> None:
    for number in (0, 1):
        await fleet.run_one(number, REFUSED)

    await fleet.test(2)
    [test] = await fleet.start()
    await fleet.end(test, NO_PUSH)

    await fleet.queue(0, 1)
    assert len(await fleet.start()) == 2


async def test_one_test_at_a_time_tries_a_refused_login(fleet: Fleet) -> None:
    for number in (0, 1):
        await fleet.run_one(number, REFUSED)

    for number in (0, 1, 2):
        await fleet.test(number)
    for _ in range(3):
        [test] = await fleet.start()
        assert await fleet.start() == []
        await fleet.end(test, REFUSED)

    await fleet.queue(2)
    assert await fleet.start() == []


async def test_jobs_without_this_login_go_on(fleet: Fleet) -> None:
    for number in (0, 1):
        await fleet.run_one(number, REFUSED)
    other = await fleet.world.add_registry(host="other.example")

    await fleet.world.submit(fleet.servers[0], PULL)
    await fleet.queue(1, registry_id=other)

    assert len(await fleet.start()) == 2


async def test_copies_and_compose_files_wait_for_each_of_their_logins(fleet: Fleet) -> None:
    world, other = fleet.world, await fleet.world.add_registry(host="other.example")
    for number in (0, 1):
        await fleet.run_one(number, REFUSED)
    copy = ImageCopy(
        source="registry.example/team/app:1",
        reference="other.example/team/app:1",
        source_registry_id=fleet.registry_id,
        registry_id=other,
    )
    image = ComposeImage(
        services=("web",),
        reference="registry.example/team/app:1",
        registry_id=fleet.registry_id,
    )
    await world.submit(fleet.servers[2], copy, registry_id=other)
    await world.submit(fleet.servers[2], ComposePull(compose="services: {}", images=(image,)))

    assert await fleet.start() == []


async def test_an_error_of_a_copy_is_not_blamed_on_a_login_that_it_does_not_name(
    fleet: Fleet,
) -> None:
    other = await fleet.world.add_registry(host="other.example")
    copy = ImageCopy(
        source="registry.example/team/app:1",
        reference="other.example/team/app:1",
        source_registry_id=fleet.registry_id,
        registry_id=other,
    )
    for server in fleet.servers:
        await fleet.world.submit(server, copy, registry_id=other)
        [job] = await fleet.start()
        await fleet.end(job, REFUSED)
    assert await fleet.world.rows("SELECT FROM login_use WHERE refusals <> '{}'") == []

    for server in fleet.servers[:2]:
        await fleet.world.submit(server, copy, registry_id=other)
        [job] = await fleet.start()
        await fleet.end(job, {**REFUSED, "registry_id": fleet.registry_id})
    await fleet.queue(2)
    await fleet.queue(2, registry_id=other)

    [free] = await fleet.start()
    assert free.registry_id == other


async def test_the_use_of_a_login_is_stored(fleet: Fleet) -> None:
    await fleet.queue(1)
    [job] = await fleet.start()
    await fleet.end(job)

    [use] = await fleet.world.rows("SELECT * FROM login_use")
    assert (use["used_job_id"], use["used_server_id"]) == (job.job_id, job.server_id)
    assert use["accepted_at"] == (await fleet.world.job(job.job_id))["started_at"]


async def test_a_transfer_that_moves_bytes_ends_the_trial(fleet: Fleet) -> None:
    await fleet.queue(0, 1, 2)
    [long] = await fleet.start()
    await accept_logins(fleet.world.control)
    assert await fleet.start() == []

    running = {"job_id": long.job_id, "attempt": 1, "progress": {"current_bytes": 4096}}
    await fleet.server(long).call("heartbeat", "first", jobs=[running])
    await accept_logins(fleet.world.control)

    assert len(await fleet.start()) == 2


async def test_another_job_tries_after_half_a_minute(fleet: Fleet) -> None:
    await fleet.queue(0, 1, 2)
    assert len(await fleet.start()) == 1
    await fleet.world.owner.execute(
        "UPDATE job_attempt SET dispatched_at = dispatched_at - interval '31 seconds'"
    )

    assert len(await fleet.start()) == 1
