import asyncio
import random
from typing import Any

import httpx2
import pytest

from shared.coroutines import end
from shared.vault import KeyRing, SealContext
from tests.api.asking import create_registry, until
from tests.api.fleet import TestServer, bad_error, good_report
from tests.databases import Database

AD_HOC = {"registryUrl": "ghcr.io", "username": "github-user", "password": "ghp_secret"}
CALLERS = 20


async def test_identical_tests_at_the_same_moment_are_one_job(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    created = await create_registry(client)
    asking = [_test_stored(client, created) for _ in range(CALLERS)]
    job = await server.next_job()
    await until(lambda: _submitted(database) == CALLERS)

    await server.finish(job, "succeeded", result=good_report())

    answers = await asyncio.gather(*asking)
    assert [answer.json() for answer in answers] == [True] * CALLERS
    assert database.execute("SELECT state FROM job") == [("succeeded",)]


@pytest.mark.parametrize("seed", range(3))
async def test_no_caller_gets_the_verdict_of_another_password(
    client: httpx2.AsyncClient,
    member: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    vault: KeyRing,
    *,
    seed: int,
) -> None:
    choices = random.Random(seed)  # noqa: S311 - reproducible
    callers = [
        (choices.choice([client, member]), choices.choice(["right", "wrong"]))
        for _ in range(CALLERS)
    ]
    working = asyncio.create_task(_verify_passwords(server, vault))

    answers = await asyncio.gather(
        *(
            caller.post("/api/registry.testRegistry", json={**AD_HOC, "password": password})
            for caller, password in callers
        )
    )

    await end(working)
    expected = [200 if password == "right" else 400 for _, password in callers]
    assert [answer.status_code for answer in answers] == expected
    assert len(database.execute("SELECT 1 FROM job")) < CALLERS


async def test_a_changed_password_is_tested_anew(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = await create_registry(client, password="wrong")
    before = _test_stored(client, created)
    with_wrong = await server.next_job()
    changed = {"registryId": created["registryId"], "password": "right"}
    await client.post("/api/registry.update", json=changed)

    after = _test_stored(client, created)
    with_right = await server.next_job()

    await server.finish(with_right, "succeeded", result=good_report())
    await server.finish(with_wrong, "failed", error=bad_error())
    assert ((await before).status_code, (await after).json()) == (400, True)


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"password": "another"}, {}),
        ({"username": "another"}, {}),
        ({"registryUrl": "registry.example.com"}, {}),
        ({}, {"idempotency-key": "its own"}),
        ({}, {"prefer": "respond-async"}),
    ],
)
async def test_another_request_has_a_job_of_its_own(
    client: httpx2.AsyncClient,
    server: TestServer,
    changes: dict[str, str],
    headers: dict[str, str],
) -> None:
    first = asyncio.create_task(client.post("/api/registry.testRegistry", json=AD_HOC))
    of_first = await server.next_job()

    body = {**AD_HOC, **changes}
    second = asyncio.create_task(
        client.post("/api/registry.testRegistry", json=body, headers=headers)
    )
    of_second = await server.next_job()

    await server.finish(of_first, "succeeded", result=good_report())
    await server.finish(of_second, "succeeded", result=good_report())
    assert {(await first).status_code, (await second).status_code} <= {200, 202}


async def test_a_caller_that_leaves_does_not_end_the_test_of_the_others(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    created = await create_registry(client)
    leaving = _test_stored(client, created)
    abandoned = await server.next_job()
    staying = [_test_stored(client, created) for _ in range(3)]
    await until(lambda: _submitted(database) == 4)

    leaving.cancel()
    await until(lambda: _cancelled(database) == [abandoned.job_id])
    await server.finish(abandoned, "cancelled")
    await server.succeed_next(good_report())

    assert [(await each).json() for each in staying] == [True] * 3
    assert len(database.execute("SELECT 1 FROM job")) == 2


async def test_a_caller_that_joined_a_test_may_leave(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    created = await create_registry(client)
    staying = _test_stored(client, created)
    job = await server.next_job()
    leaving = _test_stored(client, created)
    await until(lambda: _submitted(database) == 2)

    leaving.cancel()
    await asyncio.wait({leaving})

    assert _cancelled(database) == []
    await server.finish(job, "succeeded", result=good_report())
    assert (await staying).json() is True


def _test_stored(
    client: httpx2.AsyncClient, created: dict[str, Any]
) -> asyncio.Task[httpx2.Response]:
    body = {"registryId": created["registryId"]}
    return asyncio.create_task(client.post("/api/registry.testRegistryById", json=body))


async def _verify_passwords(server: TestServer, vault: KeyRing) -> None:
    """Work as a server whose registry accepts one password."""
    while True:
        for job in await server.release():
            await server.claim(job)
            context = SealContext(
                "password", job.organization_id, job.job_id, "ghcr.io", "github-user"
            )
            if vault.open(job.sealed["password"], context) == "right":
                await server.finish(job, "succeeded", result=good_report())
            else:
                await server.finish(job, "failed", error=bad_error())
        await asyncio.sleep(0.01)


def _submitted(database: Database) -> int:
    """Return the number of submissions: each is audited in its transaction."""
    return len(database.execute("SELECT 1 FROM audit_event WHERE action = 'registry.test'"))


def _cancelled(database: Database) -> list[str]:
    query = "SELECT job_id FROM job WHERE cancel_requested_at IS NOT NULL"
    return [str(job_id) for (job_id,) in database.execute(query)]
