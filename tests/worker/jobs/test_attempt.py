"""One attempt against a real database, with handlers that end in every possible way."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from shared.errors import EngineError, LeaseLostError, RegistryError
from shared.faults import Fault, FaultCode
from shared.jobs.commands import Command
from shared.jobs.results import ImageResult
from shared.jobs.states import Outcome
from shared.jobs.store.cancel import cancel
from shared.jobs.store.release import Released, give_login
from shared.vault import KeyRing, PrivateKey, SealContext
from tests.proxies import open_proxy
from tests.waiting import wait_until
from tests.worker.control.credentials.sealing import seal_grants
from tests.world import HOST, PASSWORD, PULL, EnrolledServer, World
from worker.jobs.attempt import (
    Attempt,
    AttemptResult,
    NegativeResultError,
    StopReason,
    Work,
    run_attempt,
)
from worker.jobs.functions import FreshLogin, Functions
from worker.login import Grants

DIGEST = f"sha256:{'0' * 64}"
DONE = ImageResult(reference=f"{HOST}/team/app:1", digest=DIGEST, size_bytes=7)


@dataclass
class AttemptScenario:
    """A dispatched job, and the attempt at it."""

    world: World
    enrolled: EnrolledServer
    attempt: Attempt
    functions: Functions
    keys: KeyRing
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, work: Work) -> AttemptResult | None:
        async def begin(command: Command, grants: Grants, attempt: Attempt) -> BaseModel:
            self.begun.set()
            return await work(command, grants, attempt)

        async with asyncio.timeout(20):
            return await run_attempt(
                self.attempt, self.functions, self.keys, self.enrolled.server_id, begin
            )

    async def stop_running(self, reason: StopReason, work: Work) -> AttemptResult | None:
        """Stop the attempt once its work has begun."""
        running = asyncio.create_task(self.run(work))
        await self.begun.wait()
        self.attempt.stop(reason)
        return await running

    async def job(self) -> dict[str, Any]:
        return await self.world.job(self.attempt.job_id)


@pytest.fixture
async def scenario(world: World) -> AttemptScenario:
    enrolled = await world.add_server()
    attempt = Attempt(await world.dispatch(enrolled), 1)
    return AttemptScenario(
        world, enrolled, attempt, enrolled.functions("first"), KeyRing([enrolled.key])
    )


async def succeed(_: Command, __: Grants, ___: Attempt) -> BaseModel:
    return DONE


async def wait_for_ever(_: Command, __: Grants, ___: Attempt) -> BaseModel:
    await asyncio.Event().wait()
    return DONE


def fail(error: Exception) -> Work:
    async def work(_: Command, __: Grants, ___: Attempt) -> BaseModel:
        raise error

    return work


async def test_a_result_is_stored_as_the_api_shows_it(scenario: AttemptScenario) -> None:
    end = await scenario.run(succeed)

    assert end is not None
    assert end.outcome is Outcome.SUCCEEDED
    job = await scenario.job()
    assert job["state"] == "succeeded"
    assert job["result"]["sizeBytes"] == 7


async def test_a_retryable_failure_is_queued_again_with_its_error(
    scenario: AttemptScenario,
) -> None:
    busy = RegistryError(FaultCode.RATE_LIMITED, "slow down", retry_after_seconds=60)

    end = await scenario.run(fail(busy))

    assert end is not None
    assert (end.outcome, end.fault) == (Outcome.FAILED, busy.fault())
    job = await scenario.job()
    assert (job["state"], job["failures"]) == ("queued", 1)
    assert (job["error"]["code"], job["error"]["message"]) == ("rate_limited", "slow down")
    [row] = await scenario.world.rows("SELECT run_at - now() AS left FROM job")
    assert timedelta(seconds=55) < row["left"] <= timedelta(seconds=60)


async def test_a_permanent_failure_ends_the_job(scenario: AttemptScenario) -> None:
    await scenario.run(fail(EngineError(FaultCode.DISK_FULL, "no space left")))

    job = await scenario.job()
    assert (job["state"], job["error"]["code"]) == ("failed", "disk_full")
    assert job["error"]["remedy"]


async def test_an_unexpected_error_is_stored_by_its_type_only(scenario: AttemptScenario) -> None:
    with capture_logs() as logs:
        end = await scenario.run(fail(RuntimeError(f"could not log in with {PASSWORD}")))

    job = await scenario.job()
    assert job["error"]["code"] == "internal"
    assert "RuntimeError" in job["error"]["message"]
    assert PASSWORD not in f"{job} {logs} {end}"
    assert "handler_broken" in {line["event"] for line in logs}


async def test_a_handler_that_returns_nothing_fails_as_internal(scenario: AttemptScenario) -> None:
    async def give_nothing(_: Command, __: Grants, ___: Attempt) -> BaseModel:
        return None  # type: ignore[return-value]

    await scenario.run(give_nothing)

    assert (await scenario.job())["error"]["code"] == "internal"


async def test_a_negative_result_is_a_failure_with_its_report(scenario: AttemptScenario) -> None:
    found = Fault(code="auth_bad_credentials", message="refused", remedy="look")

    await scenario.run(fail(NegativeResultError(found, DONE)))

    job = await scenario.job()
    assert (job["state"], job["error"]["code"]) == ("failed", "auth_bad_credentials")
    assert job["error"]["report"]["digest"] == DIGEST


async def test_a_result_that_is_too_large_fails_the_job_at_once(scenario: AttemptScenario) -> None:
    async def give_much(_: Command, __: Grants, ___: Attempt) -> BaseModel:
        return ImageResult(reference="x" * 300_000)

    end = await scenario.run(give_much)

    assert end is not None
    assert end.outcome is Outcome.FAILED
    job = await scenario.job()
    assert (job["state"], job["error"]["code"]) == ("failed", "internal")
    assert "too large" in job["error"]["message"]


async def test_an_attempt_that_takes_too_long_is_stopped(scenario: AttemptScenario) -> None:
    await scenario.world.owner.execute("UPDATE job SET timeout_seconds = 1")

    await scenario.run(wait_for_ever)

    job = await scenario.job()
    assert (job["state"], job["error"]["code"]) == ("queued", "transfer_timeout")
    assert "within 1 s" in job["error"]["message"]


async def test_a_timeout_inside_a_handler_is_not_the_attempt_s_timeout(
    scenario: AttemptScenario,
) -> None:
    await scenario.run(fail(TimeoutError()))

    assert (await scenario.job())["error"]["code"] == "internal"


async def test_a_cancelled_attempt_ends_its_job(scenario: AttemptScenario) -> None:
    running = asyncio.create_task(scenario.run(wait_for_ever))
    await scenario.begun.wait()
    organization = scenario.world.organization_id
    await cancel(scenario.world.api, scenario.attempt.job_id, organization, "not wanted")

    scenario.attempt.stop(StopReason.CANCELLED)
    end = await running

    assert end is not None
    assert end.outcome is Outcome.CANCELLED
    assert (await scenario.job())["state"] == "cancelled"


async def test_a_success_before_the_cancel_is_a_success(scenario: AttemptScenario) -> None:
    async def succeed_all_the_same(_: Command, __: Grants, ___: Attempt) -> BaseModel:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return DONE
        return DONE

    end = await scenario.stop_running(StopReason.CANCELLED, succeed_all_the_same)

    assert end is not None
    assert end.outcome is Outcome.SUCCEEDED
    assert (await scenario.job())["state"] == "succeeded"


async def test_a_last_step_that_fails_after_the_cancel_fails_with_its_error(
    scenario: AttemptScenario,
) -> None:
    async def fail_at_the_end(_: Command, __: Grants, attempt: Attempt) -> BaseModel:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            attempt.is_too_late = True
        raise EngineError(FaultCode.DISK_FULL, "no space left")

    running = asyncio.create_task(scenario.run(fail_at_the_end))
    await scenario.begun.wait()
    organization = scenario.world.organization_id
    await cancel(scenario.world.api, scenario.attempt.job_id, organization, "not wanted")

    scenario.attempt.stop(StopReason.CANCELLED)
    end = await running

    assert end is not None
    assert end.outcome is Outcome.FAILED
    job = await scenario.job()
    assert (job["state"], job["error"]["code"]) == ("cancelled", "disk_full")


async def test_a_drained_attempt_is_returned_and_has_not_failed(scenario: AttemptScenario) -> None:
    end = await scenario.stop_running(StopReason.DRAINED, wait_for_ever)

    assert end is not None
    assert end.outcome is Outcome.RETURNED
    job = await scenario.job()
    assert (job["state"], job["failures"], job["error"]) == ("queued", 0, None)


async def test_an_attempt_that_fails_while_it_is_drained_has_not_failed(
    scenario: AttemptScenario,
) -> None:
    async def fail_when_stopped(_: Command, __: Grants, ___: Attempt) -> BaseModel:
        try:
            await asyncio.Event().wait()
        finally:
            raise EngineError(FaultCode.ENGINE_STREAM_TRUNCATED, "cut off")

    await scenario.stop_running(StopReason.DRAINED, fail_when_stopped)

    job = await scenario.job()
    assert (job["state"], job["failures"]) == ("queued", 0)


async def test_an_attempt_that_is_stopped_before_it_begins_does_nothing(
    scenario: AttemptScenario,
) -> None:
    scenario.attempt.stop(StopReason.DRAINED)

    await scenario.run(succeed)

    assert not scenario.begun.is_set()
    assert (await scenario.job())["state"] == "queued"


async def test_a_lost_lease_stops_the_work_and_nothing_is_written(
    scenario: AttemptScenario,
) -> None:
    end = await scenario.stop_running(StopReason.LEASE_LOST, wait_for_ever)

    assert end is None
    job = await scenario.job()
    assert (job["state"], job["failures"]) == ("running", 0)
    assert len(await scenario.world.rows("SELECT 1 FROM job_event")) == 3


async def test_an_error_after_a_lost_lease_writes_nothing(scenario: AttemptScenario) -> None:
    async def fail_when_stopped(_: Command, __: Grants, ___: Attempt) -> BaseModel:
        try:
            await asyncio.Event().wait()
        finally:
            raise EngineError(FaultCode.ENGINE_STREAM_TRUNCATED, "cut off")

    assert await scenario.stop_running(StopReason.LEASE_LOST, fail_when_stopped) is None

    assert (await scenario.job())["state"] == "running"


async def test_a_success_of_a_superseded_worker_is_not_recorded(scenario: AttemptScenario) -> None:
    async def be_succeeded(_: Command, __: Grants, ___: Attempt) -> BaseModel:
        await scenario.enrolled.register("second", predecessor="first")
        return DONE

    assert await scenario.run(be_succeeded) is None

    job = await scenario.job()
    assert (job["state"], job["result"]) == ("queued", None)


async def test_unreported_progress_is_stored_with_the_result(scenario: AttemptScenario) -> None:
    async def move(_: Command, __: Grants, attempt: Attempt) -> BaseModel:
        attempt.progress = {"current_bytes": 5, "layers": []}
        return DONE

    await scenario.run(move)

    assert (await scenario.job())["progress"] == {"current_bytes": 5, "layers": []}


async def test_a_repeated_message_does_not_start_the_work(scenario: AttemptScenario) -> None:
    await scenario.run(succeed)
    scenario.begun.clear()

    assert await scenario.run(succeed) is None

    assert not scenario.begun.is_set()
    assert (await scenario.job())["attempt"] == 1


async def test_a_late_message_starts_nothing(scenario: AttemptScenario) -> None:
    scenario.attempt.number = 2

    assert await scenario.run(succeed) is None

    assert not scenario.begun.is_set()
    assert (await scenario.job())["state"] == "dispatched"


async def test_a_result_whose_answer_was_lost_is_sent_again_and_recorded_once(
    scenario: AttemptScenario,
) -> None:
    async def finish_twice(_: Command, __: Grants, attempt: Attempt) -> BaseModel:
        result = DONE.model_dump(mode="json", by_alias=True)
        await scenario.functions.finish(attempt.job_id, 1, Outcome.SUCCEEDED, result=result)
        return DONE

    end = await scenario.run(finish_twice)

    assert end is not None
    events = await scenario.world.rows("SELECT state FROM job_event WHERE state = 'succeeded'")
    assert len(events) == 1


@pytest.mark.parametrize("stalls", [True, False])
async def test_a_result_is_sent_until_the_database_is_back(
    scenario: AttemptScenario,
    stalls: bool,  # noqa: FBT001 - parametrized
) -> None:
    server = scenario.world.database.server
    async with open_proxy(("127.0.0.1", server.port)) as proxy:
        url = f"postgresql://{proxy.host}/{scenario.world.database.name}"
        scenario.functions = scenario.enrolled.functions("first", url=url, call_seconds=0.2)

        async def lose_the_link(_: Command, __: Grants, ___: Attempt) -> BaseModel:
            if stalls:
                proxy.stall_after_bytes = 0
            else:
                proxy.cut_after_bytes = 0
            return DONE

        with capture_logs() as logs:
            running = asyncio.create_task(scenario.run(lose_the_link))
            await wait_until(lambda: count(logs, "finish_retried") >= 2)
            proxy.stall_after_bytes = proxy.cut_after_bytes = None
            end = await running

    assert end is not None
    assert (await scenario.job())["state"] == "succeeded"
    assert len(await scenario.world.rows("SELECT 1 FROM job_event")) == 4


async def test_a_claim_is_repeated_until_the_database_is_back(scenario: AttemptScenario) -> None:
    async with open_proxy(("127.0.0.1", scenario.world.database.server.port)) as proxy:
        url = f"postgresql://{proxy.host}/{scenario.world.database.name}"
        scenario.functions = scenario.enrolled.functions("first", url=url, call_seconds=0.2)
        proxy.stall_after_bytes = 0

        with capture_logs() as logs:
            running = asyncio.create_task(scenario.run(succeed))
            await wait_until(lambda: count(logs, "claim_retried") >= 1)
            proxy.stall_after_bytes = None
            await running

    assert (await scenario.job())["state"] == "succeeded"


async def test_an_attempt_that_is_stopped_before_its_claim_is_abandoned(
    scenario: AttemptScenario,
) -> None:
    scenario.functions = scenario.enrolled.functions("first", url="postgresql://127.0.0.1:1/wharf")
    scenario.attempt.stop(StopReason.DRAINED)

    with pytest.raises(LeaseLostError):
        await scenario.run(succeed)


async def test_the_attempt_s_login_is_opened_for_the_handler(scenario: AttemptScenario) -> None:
    given: list[Grants] = []

    async def take(_: Command, grants: Grants, __: Attempt) -> BaseModel:
        given.append(grants)
        return DONE

    await give(scenario)
    await scenario.run(take)

    [[grant]] = [grants.grants for grants in given]
    assert grant.login.secret.get_secret_value() == PASSWORD
    assert (grant.login.host, grant.repository) == (HOST, "team/app")
    assert grant.rights == frozenset({"pull"})


async def test_a_login_that_does_not_open_ends_the_job(scenario: AttemptScenario) -> None:
    await give(scenario)
    scenario.keys = KeyRing([PrivateKey.generate()])

    await scenario.run(succeed)

    job = await scenario.job()
    assert (job["state"], job["error"]["code"]) == ("failed", "credential_unreadable")
    assert not scenario.begun.is_set()


async def test_a_newer_login_reaches_the_handler_that_works_with_the_former(
    scenario: AttemptScenario,
) -> None:
    secrets: list[str] = []

    async def take(_: Command, grants: Grants, attempt: Attempt) -> BaseModel:
        login = grants.grants[0].login
        for fresh in (newer, damaged, older):
            attempt.accept_login(fresh)
            secrets.append(login.newest.secret.get_secret_value())
        assert attempt.login_number == 3
        return DONE

    job = await give(scenario)
    sealed = seal_grants(scenario.world.keys, with_password(scenario.world, job, "newer"))
    assert sealed is not None
    newer = FreshLogin(sealed=sealed, number=2)
    damaged = FreshLogin(sealed="v1.damaged", number=3)
    older = FreshLogin(sealed=sealed, number=1)
    result = await scenario.run(take)

    assert result is not None and result.outcome is Outcome.SUCCEEDED
    assert secrets == ["newer", "newer", "newer"]


async def give(scenario: AttemptScenario) -> Released:
    """Give the job of the scenario a sealed login."""
    world = scenario.world
    registry_id = await world.add_registry()
    command = PULL.model_copy(update={"registry_id": registry_id})
    job_id = await world.submit(scenario.enrolled, command, registry_id=registry_id)
    [job] = await world.release()
    sealed = seal_grants(world.keys, job)
    assert sealed is not None
    await give_login(world.control, job, sealed)
    scenario.attempt.job_id = job_id
    return job


def with_password(world: World, job: Released, password: str) -> Released:
    """Return the released job as if its registry had another password."""
    [(registry_id, row)] = job.registries.items()
    context = SealContext(
        "credential", world.organization_id, registry_id, row["host"], row["username"]
    )
    changed = {**row, "password": world.vault.public.seal(password, context)}
    return replace(job, registries={registry_id: changed})


def count(logs: list[Any], event: str) -> int:
    return sum(line["event"] == event for line in logs)
