"""The same request twice under one ``Idempotency-Key`` is one job and the same answer."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from api.http.plain import WARNINGS
from api.routers import PROCEDURES
from tests.api.asking import create_registry, open_client, until
from tests.api.fleet import TestServer, bad_error, good_report
from tests.databases import Database

PULL = {"image": "ghcr.io/myorg/app:1"}
PASSWORD = "what-nobody-may-guess"
AD_HOC = {"registryUrl": "ghcr.io", "username": "github-user", "password": PASSWORD}
DIALECTS = ("/api/trpc/{}", "strict", "/api/{}")


async def ask(
    client: httpx2.AsyncClient, name: str, body: object, key: str = "once", dialect: str = "/api/{}"
) -> httpx2.Response:
    headers = {"idempotency-key": key}
    if dialect == "strict":
        return await client.post(f"/api/trpc/{name}", json={"json": body}, headers=headers)
    return await client.post(dialect.format(name), json=body, headers=headers)


def read(answer: httpx2.Response) -> Any:
    """Return the answer of either dialect."""
    body = answer.json()
    return body["result"]["data"]["json"] if isinstance(body, dict) and "result" in body else body


def count(database: Database, table: str = "job") -> int:
    [(number,)] = database.execute(f"SELECT count(*) FROM {table}")
    return int(str(number))


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_same_request_twice_is_one_job_and_the_same_answer(
    client: httpx2.AsyncClient, server: TestServer, database: Database, dialect: str
) -> None:
    first = await ask(client, "image.pull", PULL, dialect=dialect)
    await server.succeed_next({"reference": "ghcr.io/myorg/app:1"})
    second = await ask(client, "image.pull", PULL, dialect=dialect)

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert count(database) == 1


async def test_the_dialect_of_a_request_does_not_matter(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    answers = [await ask(client, "image.pull", PULL, dialect=dialect) for dialect in DIALECTS]

    assert read(answers[0]) == read(answers[1]) == read(answers[2])
    assert read(answers[0])["joined"] is False
    assert count(database) == 1


async def test_the_order_of_the_fields_and_quotes_around_the_key_do_not_matter(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    body = {**PULL, "serverId": server.server_id}

    first = await ask(client, "image.pull", body, key="8e03978e")
    again = await ask(client, "image.pull", dict(reversed(body.items())), key='"8e03978e"')

    assert first.json() == again.json()
    assert count(database) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_another_request_under_the_same_key_is_a_conflict(
    client: httpx2.AsyncClient, server: TestServer, database: Database, dialect: str
) -> None:
    registry = await create_registry(client)
    await ask(client, "image.pull", PULL)

    answers = [
        await ask(client, "image.pull", {"image": "ghcr.io/myorg/app:2"}, dialect=dialect),
        await ask(
            client, "image.push", {**PULL, "registryId": registry["registryId"]}, dialect=dialect
        ),
    ]

    for answer in answers:
        assert answer.status_code == 409
        assert "idempotency_mismatch" in answer.text
    assert count(database) == 1


async def test_the_same_input_to_another_procedure_is_another_request(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    requested = asyncio.create_task(ask(client, "registry.testRegistry", AD_HOC))
    await server.succeed_next(good_report())
    await requested

    assert (await ask(client, "registry.diagnose", AD_HOC)).status_code == 409


async def test_of_two_answers_the_one_that_was_kept_first_is_everybodys(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    requested = asyncio.create_task(ask(client, "registry.testRegistry", AD_HOC))
    job = await server.next_job()
    database.execute("""UPDATE idempotency SET answer = '{"shown": "false"}'""")
    await server.finish(job, "succeeded", result=good_report())

    assert (await requested).json() is False


async def test_another_key_is_another_job(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    tags = [{"image": f"ghcr.io/myorg/app:{number}"} for number in range(2)]

    answers = [await ask(client, "image.pull", body, key=body["image"]) for body in tags]

    assert answers[0].json() != answers[1].json()
    assert count(database) == 2


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_many_at_the_same_moment_are_one_job_and_one_answer(
    client: httpx2.AsyncClient, server: TestServer, database: Database, dialect: str
) -> None:
    registry = await create_registry(client)
    body = {"image": "my-app:1", "registryId": registry["registryId"]}

    for number in range(5):
        answers = await asyncio.gather(
            *(
                ask(client, "image.push", body, key=f"key-{number}", dialect=dialect)
                for _ in range(8)
            )
        )
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert count(database) == number + 1


async def test_two_who_wait_for_the_same_test_both_get_its_end(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    requested = [
        asyncio.create_task(ask(client, "registry.testRegistry", AD_HOC)) for _ in range(2)
    ]
    await server.succeed_next(good_report())

    answers = await asyncio.gather(*requested)

    assert [answer.json() for answer in answers] == [True, True]
    assert count(database) == 1


async def test_a_test_that_failed_fails_the_same_again_without_being_run(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    requested = asyncio.create_task(ask(client, "registry.testRegistry", AD_HOC))
    await server.fail_next(bad_error())
    first = await requested
    database.execute("UPDATE server SET seen_at = now() - interval '1 minute'")

    second = await ask(client, "registry.testRegistry", AD_HOC)

    assert first.status_code == second.status_code == 400
    assert first.json() == second.json()
    assert first.json()["data"]["cause"]["code"] == "auth_bad_credentials"
    assert count(database) == 1


async def test_the_same_answer_stands_when_the_world_has_changed(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await create_registry(client)
    body = {"image": "ghcr.io/myorg/app:1", "registryId": registry["registryId"]}
    first = await ask(client, "image.pull", body)
    await client.post("/api/registry.remove", json={"registryId": registry["registryId"]})
    database.execute("DELETE FROM job")

    assert (await ask(client, "image.pull", body)).content == first.content


async def test_a_request_that_was_refused_before_it_had_a_job_may_be_repeated(
    client: httpx2.AsyncClient, database: Database
) -> None:
    refused = await ask(client, "registry.testRegistry", AD_HOC)
    created = (await client.post("/api/server.create", json={"name": "late"})).json()
    body = {**PULL, "serverId": created["serverId"]}
    invalid = await ask(client, "image.pull", {**body, "image": "NO"}, key="two")
    accepted = await ask(client, "image.pull", body, key="three")

    assert refused.json()["data"]["cause"]["code"] == "no_server"
    assert (invalid.status_code, accepted.status_code) == (400, 200)
    assert count(database) == 1


async def test_a_caller_that_did_not_wait_for_its_job_may_wait_for_it_later(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    headers = {"prefer": "respond-async", "idempotency-key": "once"}
    accepted = await client.post("/api/registry.testRegistry", json=AD_HOC, headers=headers)
    await server.succeed_next(good_report())

    waited = await ask(client, "registry.testRegistry", AD_HOC)

    assert (accepted.status_code, waited.status_code, waited.json()) == (202, 200, True)
    assert count(database) == 1


async def test_a_caller_who_went_away_finds_the_job_done(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    requested = asyncio.create_task(ask(client, "registry.testRegistry", AD_HOC))
    await until(lambda: count(database) == 1)
    requested.cancel()
    await asyncio.gather(requested, return_exceptions=True)
    await server.succeed_next(good_report())

    assert (await ask(client, "registry.testRegistry", AD_HOC)).json() is True
    assert count(database) == 1


async def test_a_request_whose_answer_was_never_kept_is_taken_up_again(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    """As when the process dies between the job and its answer."""
    registry = await create_registry(client)
    body = {"image": "my-app:1", "registryId": registry["registryId"]}
    first = await ask(client, "image.push", body)
    database.execute("UPDATE idempotency SET answer = NULL")

    assert (await ask(client, "image.push", body)).json() == first.json()
    assert count(database) == 1


async def test_after_a_day_a_key_is_free_again(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    first = await ask(client, "image.pull", PULL)
    database.execute("UPDATE idempotency SET created_at = now() - interval '24 hours 1 second'")

    second = await ask(client, "image.pull", {"image": "ghcr.io/myorg/app:2"})

    assert second.status_code == 200
    assert second.json()["jobId"] != first.json()["jobId"]
    assert count(database, "idempotency") == 1


async def test_a_key_counts_for_one_api_key(
    client: httpx2.AsyncClient,
    member: httpx2.AsyncClient,
    stranger: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
) -> None:
    await ask(client, "image.pull", PULL)

    by_member = await ask(member, "image.pull", {"image": "ghcr.io/myorg/app:2"})
    by_stranger = await ask(stranger, "image.pull", PULL)

    assert by_member.status_code == 200
    assert by_stranger.json()["data"]["cause"]["code"] == "no_server"
    assert count(database) == 2


async def test_each_call_of_a_batch_has_a_place_of_its_own(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    calls = {
        "0": {"json": {"image": "ghcr.io/myorg/app:1"}},
        "1": {"json": {"image": "ghcr.io/myorg/app:2"}},
    }
    url, headers = "/api/trpc/image.pull,image.pull?batch=1", {"idempotency-key": "once"}

    first, second = [await client.post(url, json=calls, headers=headers) for _ in range(2)]

    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert count(database) == 2


@pytest.mark.parametrize("key", ["", "   ", "x" * 256, "ü".encode(), b"tab\there"])
async def test_a_key_that_is_none_is_refused(
    client: httpx2.AsyncClient, server: TestServer, database: Database, key: Any
) -> None:
    answer = await client.post("/api/image.pull", json=PULL, headers={"idempotency-key": key})

    assert answer.status_code == 400
    assert count(database) == 0


async def test_two_keys_are_refused(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    headers = [("idempotency-key", "one"), ("idempotency-key", "two")]

    answer = await client.post("/api/image.pull", json=PULL, headers=headers)

    assert answer.status_code == 400
    assert count(database) == 0


async def test_a_key_is_refused_where_it_would_promise_nothing_and_ignored_by_queries(
    client: httpx2.AsyncClient, database: Database
) -> None:
    refused = await ask(client, "server.create", {"name": "alpha"})
    listed = await client.get("/api/server.all", headers={"idempotency-key": "once"})

    assert (refused.status_code, listed.status_code) == (400, 200)
    assert "takes no Idempotency-Key" in refused.json()["message"]
    assert count(database, "server") == 0


def test_each_procedure_that_submits_a_job_takes_a_key() -> None:
    assert {name for name, procedure in PROCEDURES.items() if procedure.submits} == {
        *("registry.testRegistry", "registry.testRegistryById", "registry.diagnose"),
        *("image.pull", "image.push", "image.copy", "image.tag"),
        *("application.build", "application.deploy", "application.redeploy"),
        *("application.stop", "application.start", "application.reload"),
        *("rollback.rollback", "compose.pull", "server.check", "registry.rotate"),
        *("job.retry", "scan.run", "signature.sign"),
    }


async def test_stored_answers_contain_no_password(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    requested = asyncio.create_task(ask(client, "registry.testRegistry", AD_HOC))
    await server.succeed_next(good_report())
    await requested

    [(row,)] = database.execute("SELECT to_jsonb(idempotency) FROM idempotency")

    assert PASSWORD not in json.dumps(row)
    # The hash is keyed: with the same body another API key has another one.
    created = (await client.post("/api/apiKey.create", json={"name": "second"})).json()
    async with open_client(app, created["key"]) as second:
        again = asyncio.create_task(ask(second, "registry.testRegistry", AD_HOC))
        await server.succeed_next(good_report())
        await again
    hashes = database.execute("SELECT DISTINCT request_hash FROM idempotency")
    assert len(hashes) == 2


async def test_a_removed_api_key_leaves_nothing_behind(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    created = (await client.post("/api/apiKey.create", json={"name": "short-lived"})).json()
    await client.post("/api/image.pull", json=PULL, headers={"idempotency-key": "own"})
    database.execute("UPDATE idempotency SET actor_id = %s", created["apiKeyId"])

    answer = await client.post("/api/apiKey.remove", json={"apiKeyId": created["apiKeyId"]})

    assert answer.status_code == 200
    assert count(database, "idempotency") == 0


async def test_a_key_on_a_query_is_named_in_the_warnings(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/registry.all", headers={"idempotency-key": "once"})

    [warning] = json.loads(answer.headers[WARNINGS])
    assert warning["field"] == "Idempotency-Key"
    assert "no effect on a query" in warning["message"]
