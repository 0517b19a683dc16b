"""A context is given once, to the attempt that runs, for its own token, and for nothing else."""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from shared.jobs.store.release import Released
from tests.api.asking import ADMIN_KEY, create_application, open_client, upload_context
from tests.api.fleet import TestServer
from tests.databases import Database
from worker.control.credentials.context_tokens import make_token, store_token

RETRY = {"code": "source_unreachable", "message": "cut", "retryable": True}


@dataclass
class ContextScenario:
    """An application with a context, its server, and a client without any key."""

    client: httpx2.AsyncClient
    server: TestServer
    nobody: httpx2.AsyncClient
    application_id: str
    context_id: str
    job: Released
    token: str

    async def get(self, token: str | None = None, **changes: Any) -> httpx2.Response:
        context_id = changes.pop("context_id", self.context_id)
        headers = {"authorization": f"Bearer {token or self.token}", **changes}
        return await self.nobody.get(f"/api/contexts/{context_id}", headers=headers)


async def begin(server: TestServer) -> tuple[Released, str]:
    """The next job of the server, running, and its token as control makes it."""
    job = await server.next_job()
    token = make_token(job)
    assert token is not None
    async with server.control.connection() as connection:
        await store_token(connection, job, token)
    return job, token.get_secret_value()


async def build(client: httpx2.AsyncClient, application_id: str) -> dict[str, Any]:
    answer = await client.post("/api/application.build", json={"applicationId": application_id})
    assert answer.status_code == 200, answer.text
    requested: dict[str, Any] = answer.json()
    return requested


@pytest.fixture
async def nobody(app: Starlette) -> Any:
    async with open_client(app, None) as client:
        yield client


@pytest.fixture
async def scenario(
    client: httpx2.AsyncClient, server: TestServer, nobody: httpx2.AsyncClient
) -> ContextScenario:
    application_id = (await create_application(client, sourceType="drop"))["applicationId"]
    context_id = (await upload_context(client, application_id, b"the tar"))["contextId"]
    await build(client, application_id)
    job, token = await begin(server)
    return ContextScenario(client, server, nobody, application_id, context_id, job, token)


async def test_the_attempt_that_runs_gets_it_once(scenario: ContextScenario) -> None:
    first = await scenario.get()
    second = await scenario.get()

    assert (first.status_code, first.content) == (200, b"the tar")
    assert first.headers["content-length"] == "7"
    assert first.headers["cache-control"] == "no-store"
    assert second.status_code == 404


async def test_a_refused_address_is_told_and_the_token_stays_valid(
    scenario: ContextScenario, database: Database
) -> None:
    database.execute("UPDATE server SET networks = '{10.0.0.0/8}'")
    refused = await scenario.get()
    database.execute("UPDATE server SET networks = '{}'")

    assert refused.status_code == 403
    assert refused.json()["data"]["cause"]["code"] == "address_refused"
    assert (await scenario.get()).content == b"the tar"


async def test_of_many_that_ask_at_once_one_gets_it(scenario: ContextScenario) -> None:
    answers = await asyncio.gather(*(scenario.get() for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 7


async def test_an_attempt_s_token_is_of_no_use_to_the_next_one(scenario: ContextScenario) -> None:
    await scenario.server.finish(scenario.job, "failed", error=RETRY)
    over = await scenario.get()
    async with scenario.server.control.connection() as connection:
        await connection.execute("UPDATE job SET run_at = now()")
    again, token = await begin(scenario.server)

    assert (again.job_id, again.attempt) == (scenario.job.job_id, 2)
    assert over.status_code == 404
    assert (await scenario.get()).status_code == 404
    assert (await scenario.get(token)).content == b"the tar"


async def test_the_token_of_another_job_opens_its_own_context_only(
    scenario: ContextScenario,
) -> None:
    other_id = (await create_application(scenario.client, name="Other", sourceType="drop"))[
        "applicationId"
    ]
    other = await upload_context(scenario.client, other_id, b"another tar")
    await build(scenario.client, other_id)
    _, token = await begin(scenario.server)

    assert (await scenario.get(token)).status_code == 404
    assert (await scenario.get(context_id=other["contextId"])).status_code == 404
    assert (await scenario.get(token, context_id=other["contextId"])).content == b"another tar"
    assert (await scenario.get()).content == b"the tar"


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
async def test_after_the_end_of_the_job_nothing_is_given(
    scenario: ContextScenario, outcome: str
) -> None:
    if outcome == "cancelled":
        await scenario.client.post("/api/job.cancel", json={"jobId": scenario.job.job_id})
    given = {"error": {**RETRY, "retryable": False}} if outcome == "failed" else {}
    await scenario.server.finish(scenario.job, outcome, **given)

    assert (await scenario.get()).status_code == 404


async def test_before_the_job_is_claimed_nothing_is_given(
    scenario: ContextScenario, database: Database
) -> None:
    database.execute(
        "UPDATE job SET state = 'queued'; UPDATE job SET state = 'dispatched', attempt = 2;"
        "UPDATE context_token SET attempt = 2"
    )

    assert (await scenario.get()).status_code == 404


async def test_no_api_key_and_no_guess_opens_it(
    scenario: ContextScenario, database: Database
) -> None:
    [(stored,)] = database.execute("SELECT encode(token_hash, 'hex') FROM context_token")
    guesses = [
        {"authorization": ""},
        {"authorization": f"Bearer {ADMIN_KEY}", "x-api-key": ADMIN_KEY},
        {"authorization": f"Basic {scenario.token}"},
        {"authorization": f"Bearer {stored}"},
        {"authorization": f"Bearer {scenario.token[:-1]}"},
        {"authorization": "Bearer " + "x" * 5000},
    ]

    statuses = {(await scenario.get(**guess)).status_code for guess in guesses}
    of_paths = {
        (await scenario.get(context_id=path)).status_code
        for path in ("%2E%2E", "%00", "x" * 500, f"{scenario.context_id}%00")
    }

    assert statuses == of_paths == {404}
    assert (await scenario.get()).status_code == 200


async def test_nobody_learns_whether_there_is_a_context(scenario: ContextScenario) -> None:
    there = await scenario.get("wrong")
    not_there = await scenario.get("wrong", context_id="nowhere")

    assert there.content == not_there.content


async def test_a_context_that_is_gone_from_the_disk_is_not_found(
    scenario: ContextScenario, app: Starlette
) -> None:
    app.state.resources.contexts.remove(scenario.context_id)

    assert (await scenario.get()).status_code == 404


async def test_the_token_is_stored_nowhere_in_clear(
    scenario: ContextScenario, database: Database
) -> None:
    rows = database.execute("SELECT t::text FROM context_token t UNION SELECT j::text FROM job j")

    assert rows
    assert scenario.token not in str(rows)
    assert scenario.token.encode().hex() not in str(rows)
