"""A worker says what nobody can read: its job ends, all others go on, and it can be removed."""

from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from api.events.waiter import EndedJob
from api.jobs.submission import fault_of, read_result
from shared.errors import FailedJobError
from shared.jobs.results import ImageResult
from shared.jobs.states import State
from shared.untrusted.documents import UNREADABLE
from tests.api.events.reading import open_reader, serving
from tests.api.fleet import TestServer, open_server
from tests.databases import Database
from tests.world import EnrolledServer, World

DIGEST = f"sha256:{'0' * 64}"


def nest(levels: int) -> str:
    return '{"a":' * levels + "{}" + "}" * levels


BAD = {
    "nested 17 deep": nest(17),
    "nested 400 deep": nest(400),
    "nested 3000 deep": nest(3000),
    "beyond a double": f'{{"a": 1{"0" * 400}}}',
    "beyond 64 bits": f'{{"a": [-1{"0" * 19}]}}',
}
TOO_LONG = f'{{"a": "{"x" * 200_000}"}}'
LONG = f'{{"a": "{"x" * 20_000}"}}'
"""Too long for what an Engine says, and not for all that a worker says at once."""

STEERING = "\x1b[2J\r\x07\x9b\u202e"


@pytest.mark.parametrize("document", BAD.values(), ids=BAD.keys())
async def test_a_result_that_cannot_be_read_ends_its_job_as_failed(
    world: World, document: str
) -> None:
    enrolled = await world.add_server()
    job_id = await world.run(enrolled)

    answer = await say(enrolled, "finish", job_id, f'"outcome": "succeeded", "result": {document}')

    job = await world.job(job_id)
    assert answer["status"] == "recorded"
    assert (job["state"], job["error"]["code"], job["result"]) == (
        "failed",
        "result_unreadable",
        None,
    )


@pytest.mark.parametrize("digest", ["sha256:$(touch /tmp/x)\x1b[2J", f"{DIGEST}\n", "latest"])
async def test_a_digest_that_is_none_is_no_success(world: World, digest: str) -> None:
    enrolled = await world.add_server()
    job_id = await world.run(enrolled)

    await enrolled.call(
        "finish", "first", job_id=job_id, attempt=1, outcome="succeeded", result={"digest": digest}
    )

    job = await world.job(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "result_unreadable")


@pytest.mark.parametrize("document", BAD.values(), ids=BAD.keys())
async def test_an_error_that_cannot_be_read_ends_its_job_all_the_same(
    world: World, document: str
) -> None:
    enrolled = await world.add_server()
    job_id = await world.run(enrolled)

    error = f'{{"code": "x", "message": "y", "evidence": {document}}}'
    await say(enrolled, "finish", job_id, f'"outcome": "failed", "error": {error}')

    job = await world.job(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "internal")


@pytest.mark.parametrize("document", [*BAD.values(), TOO_LONG], ids=[*BAD.keys(), "too long"])
async def test_an_unreadable_document_is_not_stored_and_the_heartbeat_counts(
    world: World, document: str
) -> None:
    enrolled = await world.add_server()
    job_id = await world.run(enrolled)
    jobs = f'[{{"job_id": "{job_id}", "attempt": 1, "progress": {document}}}]'

    answer = await say(enrolled, "heartbeat", job_id, f'"jobs": {jobs}, "engine": {document}')
    event = await say(enrolled, "event", job_id, f'"number": 1, "kind": "log", "data": {document}')

    [server] = await world.rows("SELECT engine FROM server")
    assert answer["status"] == "current"
    assert event["status"] == "refused"
    assert (server["engine"], (await world.job(job_id))["progress"]) == ({}, None)


@pytest.mark.parametrize("document", [*BAD.values(), LONG], ids=[*BAD.keys(), "too long"])
async def test_an_engine_that_cannot_be_read_is_none_and_its_worker_is_heard(
    world: World, document: str
) -> None:
    enrolled = await world.add_server()

    answer = await say(enrolled, "register", "", f'"kinds": [], "engine": {document}')

    assert answer["status"] == "current"
    assert await world.rows("SELECT engine FROM server") == [{"engine": None}]


async def test_control_sequences_are_not_stored(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await world.run(enrolled)
    message = {"text": f"a{STEERING}b\n\tc"}
    await enrolled.call(
        *("event", "first"), job_id=job_id, attempt=1, number=1, kind="log", data=message
    )
    await enrolled.call(
        *("finish", "first"),
        job_id=job_id,
        attempt=1,
        outcome="failed",
        error={"code": f"x{STEERING}", "message": f"y{STEERING}", "remedy": STEERING},
    )
    await enrolled.call(
        *("register", "second"),
        predecessor="first",
        worker_version=STEERING,
        wire_version=1,
        kinds=[f"image.pull@1{STEERING}"],
    )

    stored = await world.rows(
        "SELECT data::text AS said FROM job_event UNION ALL SELECT error::text FROM job"
        " UNION ALL SELECT error::text FROM job_attempt UNION ALL SELECT worker_version FROM server"
        " UNION ALL SELECT unnest(kinds) FROM server"
    )
    texts = [row["said"] for row in stored if row["said"]]
    assert len(texts) >= 5
    assert not [text for text in texts if any(sign in text for sign in "\x1b\r\x07\x9b\u202e")]
    assert not [text for text in texts if "\\u00" in text or "\\r" in text]
    assert "\\n\\tc" in "".join(texts)


@pytest.mark.parametrize("outcome", ["returned", "cancelled"])
async def test_a_job_that_is_given_back_again_and_again_fails(world: World, outcome: str) -> None:
    enrolled = await world.add_server()
    job_id = await world.submit(enrolled)

    failures = []
    for attempt in range(1, 20):
        await world.owner.execute("UPDATE job SET run_at = now()")
        await world.release()
        claim = await enrolled.call("claim", "first", job_id=job_id, attempt=attempt)
        if claim["status"] != "claimed":
            break
        await enrolled.call("finish", "first", job_id=job_id, attempt=attempt, outcome=outcome)
        failures.append((await world.job(job_id))["failures"])

    job = await world.job(job_id)
    assert failures[:5] == [0, 0, 0, 1, 2]
    assert (job["state"], job["error"]["code"]) == ("failed", "returned_too_often")
    assert job["failures"] == job["max_failures"]


@pytest.mark.parametrize(
    "error", [{"code": "x", "message": "y", "retryable": {}}, {"code": "x"}, dict(UNREADABLE)]
)
def test_an_error_of_another_shape_is_a_failed_job_to_who_waits(error: dict[str, Any]) -> None:
    fault = fault_of(EndedJob("job", State.FAILED, None, error))

    assert fault.code == UNREADABLE["code"]


@pytest.mark.parametrize("result", [{}, {"reference": 1}, {"reference": "x", "sizeBytes": -1}])
def test_a_result_of_another_shape_is_a_failed_job_to_who_waits(result: dict[str, Any]) -> None:
    ended = EndedJob("job", State.SUCCEEDED, result, None)

    with pytest.raises(FailedJobError) as raised:
        read_result(ended, ImageResult)
    assert raised.value.fault().code == UNREADABLE["code"]


# Rows of before: they are shown as what they are


async def test_bad_rows_of_before_break_nothing_that_is_shown(
    app: Starlette, client: httpx2.AsyncClient, database: Database
) -> None:
    async with open_server(client, database) as server:
        job_id = await ask_for_job(client, server)
        for bad in (f'{{"disk_free_bytes": 1{"0" * 400}}}', nest(400), nest(3000)):
            store_everywhere(database, bad)

            for path, query in (
                ("server.all", {}),
                ("server.one", {"serverId": server.server_id}),
                ("server.validate", {"serverId": server.server_id}),
                ("job.all", {}),
                ("job.one", {"jobId": job_id}),
            ):
                answer = await client.get(f"/api/{path}", params=query)
                assert answer.status_code == 200, (path, answer.text)
            shown = (await client.get("/api/job.one", params={"jobId": job_id})).json()
            assert shown["error"] == UNREADABLE

        async with serving(app) as (_, url), open_reader(url, job_id) as reader:
            assert (await reader.until("state")).data["data"] == UNREADABLE
        removed = await client.post("/api/server.remove", json={"serverId": server.server_id})
    assert removed.status_code == 200
    assert database.execute("SELECT count(*) FROM server WHERE removed_at IS NOT NULL") == [(1,)]


async def say(enrolled: EnrolledServer, function: str, job_id: str, rest: str) -> dict[str, Any]:
    """Call a function with a document that this program could not write itself."""
    text = f'{{"incarnation": "first", "job_id": "{job_id}", "attempt": 1, {rest}}}'
    connection = await enrolled.connection()
    cursor = await connection.execute(
        f"SELECT worker_v1.{function}(%s::jsonb) AS answer".encode(), (text,)
    )
    [row] = await cursor.fetchall()
    answer: dict[str, Any] = row["answer"]
    return answer


async def ask_for_job(client: httpx2.AsyncClient, server: TestServer) -> str:
    answer = await client.post(
        "/api/image.pull", json={"image": "nginx", "serverId": server.server_id}
    )
    job_id: str = answer.json()["jobId"]
    return job_id


def store_everywhere(database: Database, bad: str) -> None:
    """As an older version would have stored it."""
    database.execute("UPDATE server SET engine = %s::jsonb", bad)
    database.execute("UPDATE job SET progress = %s::jsonb, error = %s::jsonb", bad, bad)
    database.execute("UPDATE job_event SET data = %s::jsonb", bad)
