"""The functions that a server worker calls for its attempts, called as its own role."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from shared.ids import make_id
from tests.world import PULL, EnrolledServer, World, call

DIGEST = f"sha256:{'0' * 64}"
SECOND = timedelta(seconds=1)
RETRYABLE = {"code": "registry_error", "message": "busy", "remedy": "", "retryable": True}


async def finish(
    server: EnrolledServer, job_id: str, outcome: str, **document: Any
) -> dict[str, Any]:
    return await server.call(
        "finish", "first", **{"job_id": job_id, "attempt": 1, "outcome": outcome, **document}
    )


# Hello


async def test_hello_answers_who_the_server_is(world: World) -> None:
    server = await world.add_server(None)

    answer = await server.register("first")

    assert answer.pop("mark")
    assert answer == {
        "status": "current",
        "server_id": server.server_id,
        "organization_id": world.organization_id,
    }


async def test_a_loopback_address_replaces_no_address_from_which_the_server_joined(
    world: World,
) -> None:
    server = await world.add_server(None)

    async def seen(before: str) -> object:
        change = "UPDATE server SET seen_address = %s RETURNING server_id"
        await world.rows(change, before)
        await server.register("first")
        [row] = await world.rows("SELECT seen_address FROM server")
        return row["seen_address"]

    # The tests' PostgreSQL sees all clients on loopback, as one behind a relay does.
    assert [await seen("10.1.2.3"), await seen("127.0.0.1")] == ["10.1.2.3", None]


async def test_a_new_worker_with_proof_hands_back_what_the_dead_one_held(world: World) -> None:
    server = await world.add_server()
    running, unclaimed = await world.run(server), await world.dispatch(server)

    assert (await server.register("second", predecessor="first"))["status"] == "current"

    job = await world.job(running)
    assert (job["state"], job["failures"], job["error"]["code"]) == ("queued", 1, "worker_lost")
    assert await world.state(unclaimed) == "dispatched"
    assert [job.job_id for job in await world.release()] == [running]


@pytest.mark.parametrize("proof", [None, "a-wrong-guess"])
async def test_a_new_worker_without_proof_waits_for_the_lease_of_the_other(
    world: World, proof: str | None
) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    answer = await server.register("second", predecessor=proof)

    assert answer["status"] == "wait"
    assert 10 < answer["seconds"] <= 15
    assert await world.state(job_id) == "running"
    await world.make_offline(server, 16 * SECOND)
    assert (await server.register("second", predecessor=proof))["status"] == "current"
    assert await world.state(job_id) == "queued"


async def test_a_repeated_hello_takes_nothing_from_its_own_worker(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    assert (await server.register("first", predecessor="zeroth"))["status"] == "current"

    assert await world.state(job_id) == "running"


async def test_a_hello_without_a_name_changes_nothing(world: World) -> None:
    server = await world.add_server()

    for nameless in (None, "", "x" * 101):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            await server.call("register", nameless, predecessor="first")

    assert (await server.call("heartbeat", "first"))["status"] == "current"


async def test_a_cancelled_job_of_a_dead_worker_is_cancelled(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    await world.api.execute("SELECT job_cancel(%s, %s, '{}')", (job_id, world.organization_id))

    await server.register("second", predecessor="first")

    assert await world.state(job_id) == "cancelled"


async def test_a_removed_server_is_unknown(world: World) -> None:
    server = await world.add_server()
    await world.api.execute("UPDATE server SET removed_at = now()")

    assert await server.register("second", predecessor="first") == {"status": "unknown"}


# Claim


async def test_a_claim_answers_all_that_the_attempt_needs(world: World) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server, PULL)
    await world.control.execute(
        "INSERT INTO job_secret VALUES (%s, 'login', 1, 'v1.sealed')", (job_id,)
    )

    answer = await server.call("claim", "first", job_id=job_id, attempt=1)

    assert answer == {
        "status": "claimed",
        "kind": "image.pull",
        "version": 1,
        "command": PULL.model_dump(mode="json"),
        "organization_id": world.organization_id,
        "timeout_seconds": 7200,
        "secrets": [{"purpose": "login", "sealed": "v1.sealed", "number": 1}],
    }


async def test_a_repeated_claim_is_answered_the_same_and_changes_nothing(world: World) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server)
    first = await server.call("claim", "first", job_id=job_id, attempt=1)
    row = await world.job(job_id)

    assert await server.call("claim", "first", job_id=job_id, attempt=1) == first
    assert await world.job(job_id) == row


async def test_a_password_of_the_job_is_not_shown_to_its_worker(world: World) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server, sealed={"password": "v1.sealed-to-the-vault"})

    answer = await server.call("claim", "first", job_id=job_id, attempt=1)

    assert answer["secrets"] == []


@pytest.mark.parametrize("attempt", [0, 2])
async def test_another_attempt_cannot_be_claimed(world: World, attempt: int) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server)

    answer = await server.call("claim", "first", job_id=job_id, attempt=attempt)

    assert answer == {"status": "fenced"}


async def test_a_job_of_another_server_cannot_be_claimed_or_touched(world: World) -> None:
    owner, thief = await world.add_server(), await world.add_server()
    unclaimed, running = await world.dispatch(owner), await world.run(owner)
    before = [await world.job(unclaimed), await world.job(running)]

    message = {"job_id": running, "attempt": 1}
    answers = [
        await thief.call("claim", "first", job_id=unclaimed, attempt=1),
        await thief.call("claim", "first", **message),
        await thief.call("event", "first", **message, kind="log", data={}),
        await thief.call("finish", "first", **message, outcome="succeeded", result={}),
    ]
    heartbeat = await thief.call("heartbeat", "first", jobs=[message])

    assert {answer["status"] for answer in answers} == {"fenced"}
    assert heartbeat["jobs"] == []
    assert [await world.job(unclaimed), await world.job(running)] == before


async def test_of_two_claims_at_once_by_two_workers_one_wins(world: World) -> None:
    server = await world.add_server()
    old, new = await server.connect(), await server.connect()

    for turn in range(10):
        before, after = ("first", "second") if turn % 2 == 0 else ("second", "first")
        job_id = await world.dispatch(server)
        message = {"job_id": job_id, "attempt": 1}
        claiming = asyncio.create_task(call(old, "claim", before, **message))
        await call(new, "register", after, predecessor=before, kinds=[])
        answer = await claiming
        second = await call(new, "claim", after, **message)
        # The claim of the old worker came first and is fenced, or its answer is to stop.
        assert (answer["status"], second["status"]) in {
            ("claimed", "fenced"),
            ("superseded", "claimed"),
        }
        await server.register(after)
        await world.owner.execute("DELETE FROM job")


async def test_two_claims_at_once_by_one_worker_are_one_claim(world: World) -> None:
    server = await world.add_server()
    one, two = await server.connect(), await server.connect()
    job_id = await world.dispatch(server)

    answers = await asyncio.gather(
        *(call(by, "claim", "first", job_id=job_id, attempt=1) for by in (one, two))
    )

    assert [answer["status"] for answer in answers] == ["claimed", "claimed"]
    events = await world.rows("SELECT 1 FROM job_event WHERE state = 'running'")
    assert len(events) == 1


# A worker that was succeeded


async def test_a_superseded_worker_is_refused_everything(world: World) -> None:
    server = await world.add_server()
    running, unclaimed = await world.run(server), await world.dispatch(server)
    await server.register("second", predecessor="first")
    message = {"job_id": running, "attempt": 1}

    claim = await server.call("claim", "first", job_id=unclaimed, attempt=1)
    heartbeat = await server.call("heartbeat", "first", jobs=[message])
    event = await server.call("event", "first", **message, kind="log", data={})
    end = await server.call("finish", "first", **message, outcome="succeeded", result={})

    assert [claim["status"], heartbeat["status"]] == ["superseded", "superseded"]
    assert [event["status"], end["status"]] == ["fenced", "fenced"]
    assert await world.state(running) == "queued"


# Beat


async def test_a_heartbeat_extends_the_leases_that_are_held_and_names_them(world: World) -> None:
    server = await world.add_server()
    held, lost = await world.run(server), await world.run(server)
    for job_id in (held, lost):
        await world.pass_time(job_id, 10 * SECOND)
    await world.owner.execute("UPDATE job SET incarnation = 'x' WHERE job_id = %s", (lost,))

    jobs = [{"job_id": job_id, "attempt": 1} for job_id in (held, lost, make_id())]
    answer = await server.call("heartbeat", "first", jobs=jobs)

    told = {"cancel": False, "hand_back": False}
    assert answer["jobs"] == [{"job_id": held, "attempt": 1, **told}]
    [row] = await world.rows("SELECT lease_until - now() AS left FROM job WHERE job_id = %s", held)
    assert row["left"] > 14 * SECOND


async def test_a_heartbeat_stores_progress_and_leaves_the_last_where_there_is_none(
    world: World,
) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    message = {"job_id": job_id, "attempt": 1}
    await server.call("heartbeat", "first", jobs=[{**message, "progress": {"done": 1}}])

    for progress in (None, "text", [1], {"much": "x" * 40_000}):
        await server.call("heartbeat", "first", jobs=[{**message, "progress": progress}])

    assert (await world.job(job_id))["progress"] == {"done": 1}


async def test_a_heartbeat_without_jobs_shows_only_that_the_server_is_online(world: World) -> None:
    server = await world.add_server()
    await world.make_offline(server, 10 * SECOND)

    answer = await server.call("heartbeat", "first")

    assert (answer["status"], answer["jobs"]) == ("current", [])
    assert abs(answer["now"] - time.time()) < 60

    [row] = await world.rows("SELECT now() - seen_at AS silence FROM server")
    assert row["silence"] < 5 * SECOND


async def test_a_heartbeat_names_the_started_jobs_that_have_ended(world: World) -> None:
    server, other = await world.add_server(), await world.add_server("another")
    running, over, unknown = await world.run(server), await world.run(server), make_id()
    await finish(server, over, "failed", error=RETRYABLE | {"retryable": False})
    retried = await world.run(server)
    await finish(server, retried, "failed", error=RETRYABLE)
    elsewhere = await world.dispatch(other)

    begun = [running, over, retried, elsewhere, unknown]
    answer = await server.call("heartbeat", "first", begun=begun)

    assert sorted(answer["ended"]) == sorted([over, elsewhere, unknown])


@pytest.mark.parametrize("begun", [None, "job", {}, [], [None], [["x"]]])
async def test_a_heartbeat_of_an_odd_shape_still_shows_that_the_server_is_online(
    world: World, begun: Any
) -> None:
    server = await world.add_server()

    answer = await server.call("heartbeat", "first", begun=begun)

    assert answer["status"] == "current"


# Event


async def test_events_are_numbered_without_gaps_and_one_is_the_end(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    message = {"job_id": job_id, "attempt": 1}

    answer = await server.call("event", "first", **message, kind="log", data={"line": "pulling"})
    await finish(server, job_id, "succeeded", result={})

    assert answer == {"status": "recorded", "seq": 4}
    events = await world.rows("SELECT seq, kind, state FROM job_event ORDER BY seq")
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]
    states = [event["state"] for event in events]
    assert states == ["queued", "dispatched", "running", None, "succeeded"]


async def test_events_written_at_once_have_numbers_of_their_own(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    connections = [await server.connect() for _ in range(2)]

    async def write(number: int) -> None:
        for line in range(20):
            data = {"line": line}
            message = {"job_id": job_id, "attempt": 1, "kind": "log", "data": data}
            await call(connections[number], "event", "first", **message)

    await asyncio.gather(write(0), write(1))

    events = await world.rows("SELECT seq FROM job_event ORDER BY seq")
    assert [event["seq"] for event in events] == list(range(1, 44))


async def test_an_event_that_is_no_progress_and_no_log_is_refused(world: World) -> None:
    server = await world.add_server()
    message = {"job_id": await world.run(server), "attempt": 1}

    answers = [
        await server.call("event", "first", **message, kind="state", data={}),
        await server.call("event", "first", **message, data={}),
        await server.call("event", "first", **message, kind="log", data={"text": "x" * 20_000}),
    ]

    assert {answer["status"] for answer in answers} == {"refused"}


async def test_an_attempt_that_has_ended_writes_no_more_events(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    await finish(server, job_id, "succeeded", result={})

    message = {"job_id": job_id, "attempt": 1}
    answer = await server.call("event", "first", **message, kind="log", data={})

    assert answer == {"status": "fenced"}


# Finish


async def test_a_success_is_recorded_with_its_result(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    answer = await finish(server, job_id, "succeeded", result={"digest": DIGEST})

    assert answer == {"status": "recorded", "state": "succeeded"}
    job = await world.job(job_id)
    assert (job["result"], job["error"]) == ({"digest": DIGEST}, None)
    assert job["finished_at"] is not None


@pytest.mark.parametrize("progress", [None, 5, "text", [1], {"text": "x" * 40_000}])
async def test_a_finish_with_odd_progress_leaves_that_of_the_last_heartbeat(
    world: World, progress: object
) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    reported = {"job_id": job_id, "attempt": 1, "progress": {"current_bytes": 1}}
    await server.call("heartbeat", "first", jobs=[reported])

    await finish(server, job_id, "succeeded", result={}, progress=progress)

    assert (await world.job(job_id))["progress"] == {"current_bytes": 1}


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled", "returned"])
async def test_a_repeated_finish_is_answered_as_recorded_already(
    world: World, outcome: str
) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    first = await finish(server, job_id, outcome, result={}, error=RETRYABLE)
    row = await world.job(job_id)

    again = await finish(server, job_id, outcome, result={}, error=RETRYABLE)

    assert (first["status"], again["status"]) == ("recorded", "already_recorded")
    assert await world.job(job_id) == row


async def test_two_finishes_at_once_are_recorded_once(world: World) -> None:
    server = await world.add_server()
    one, two = await server.connect(), await server.connect()

    for _ in range(10):
        job_id = await world.run(server)
        message = {"job_id": job_id, "attempt": 1, "outcome": "failed", "error": RETRYABLE}
        answers = await asyncio.gather(
            *(call(by, "finish", "first", **message) for by in (one, two))
        )

        statuses = sorted(answer["status"] for answer in answers)
        assert statuses == ["already_recorded", "recorded"]
        assert (await world.job(job_id))["failures"] == 1


async def test_a_failure_without_retry_after_waits_seconds_and_not_an_hour(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    await finish(server, job_id, "failed", error=RETRYABLE)

    [row] = await world.rows("SELECT state, run_at - now() AS left FROM job")
    assert row["state"] == "queued"
    assert SECOND < row["left"] <= 3 * SECOND


@pytest.mark.parametrize(
    ("requested", "least", "most"), [(60, 59, 60), (86_400, 3599, 3600), (-5, 1, 3)]
)
async def test_retry_after_is_honoured_up_to_an_hour(
    world: World, requested: int, least: int, most: int
) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    await finish(server, job_id, "failed", error={**RETRYABLE, "retry_after_seconds": requested})

    [row] = await world.rows("SELECT run_at - now() AS left FROM job")
    assert least * SECOND < row["left"] <= most * SECOND


async def test_a_failure_without_a_word_has_an_error_all_the_same(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    await finish(server, job_id, "failed")

    job = await world.job(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "internal")


@pytest.mark.parametrize("outcome", [None, "lost", "expired"])
async def test_a_word_that_is_no_outcome_is_refused(world: World, outcome: str | None) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    answer = await server.call("finish", "first", job_id=job_id, attempt=1, outcome=outcome)

    assert answer == {"status": "refused"}
    assert await world.state(job_id) == "running"


async def test_a_result_beyond_all_measure_is_refused(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    answer = await finish(server, job_id, "succeeded", result={"text": "x" * 300_000})

    assert answer == {"status": "refused"}


async def test_a_worker_whose_lease_was_lost_is_fenced_when_it_finishes(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    await world.pass_time(job_id, 16 * SECOND)
    await world.sweep()

    answer = await finish(server, job_id, "succeeded", result={})

    assert answer == {"status": "fenced"}
    assert await world.state(job_id) == "queued"


async def test_unknown_fields_are_ignored(world: World) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server)

    answer = await server.call("claim", "first", job_id=job_id, attempt=1, colour="blue")

    assert answer["status"] == "claimed"
