"""How much an organization may keep, counted by all API processes together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from api.main import create_app
from api.uploads.store import FOLDER
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY, create_application, open_client, until
from tests.api.fleet import TestServer
from tests.databases import Database
from worker.local.postgres import OWNER

URL = "/api/application.uploadContext"
TAR = {"content-type": "application/x-tar"}


def small(settings: ApiSettings, quota_bytes: int) -> ApiSettings:
    return ApiSettings.model_validate({**settings.model_dump(), "context_quota_bytes": quota_bytes})


async def test_no_more_is_kept_than_the_quota_whichever_process_takes_it(
    settings: ApiSettings,
) -> None:
    assert settings.data_dir
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            app = create_app(small(settings, 1000))
            await stack.enter_async_context(app.router.lifespan_context(app))
            clients.append(await stack.enter_async_context(open_client(app, ADMIN_KEY)))
        first, second = clients
        chosen = {"applicationId": (await create_application(first))["applicationId"]}

        async def send(client: httpx2.AsyncClient, size: int) -> httpx2.Response:
            # Its length is not announced, so that it is known at its end only.
            async def content() -> AsyncIterator[bytes]:
                yield bytes(size)

            return await client.post(URL, params=chosen, content=content(), headers=TAR)

        answers = await asyncio.gather(*(send(client, 300) for client in clients * 4))
        announced = await second.post(URL, params=chosen, content=bytes(300), headers=TAR)
        fits = await send(second, 100)

        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [413] * 5
        cause = announced.json()["data"]["cause"]
        assert (announced.status_code, cause["code"]) == (413, "quota_exceeded")
        assert "WHARF_CONTEXT_QUOTA_BYTES" in cause["remedy"]
        assert fits.status_code == 200
        stored = [path.stat().st_size for path in (settings.data_dir / FOLDER).iterdir()]
        assert sorted(stored) == [100, 300, 300, 300]

        await first.post("/api/application.remove", json=chosen)
        chosen = {"applicationId": (await create_application(first))["applicationId"]}
        assert (await send(second, 1000)).status_code == 200


async def test_uploads_of_an_organization_are_counted_one_after_the_other(
    settings: ApiSettings, database: Database
) -> None:
    app = create_app(small(settings, 1000))
    async with app.router.lifespan_context(app), open_client(app, ADMIN_KEY) as client:
        chosen = {"applicationId": (await create_application(client))["applicationId"]}
        async with await psycopg.AsyncConnection.connect(database.url(OWNER)) as other:
            # Another process stores one, and has not committed yet.
            await other.execute("SELECT organization_lock(organization_id) FROM application")
            await other.execute(
                "INSERT INTO context (context_id, organization_id, application_id, size_bytes,"
                " sha256) SELECT 'theirs', organization_id, application_id, 900, repeat('0', 64)"
                " FROM application"
            )
            sending = asyncio.create_task(
                client.post(URL, params=chosen, content=bytes(300), headers=TAR)
            )
            await until(lambda: sending.done() or is_waiting(database))
            await other.commit()
        answer = await sending

    assert answer.status_code == 413, answer.text


def is_waiting(database: Database) -> bool:
    """Return whether a session waits for a lock."""
    return bool(database.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))


async def test_a_server_that_holds_what_locks_it_can_keeps_nobody_from_uploading(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_application(client)
    chosen = {"applicationId": application["applicationId"]}
    organization = application["organizationId"]
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as thief:
        # What the quota was once counted behind, by a name that a server can know.
        await thief.execute(
            "SELECT pg_advisory_lock(hashtextextended('context_quota ' || %s, 0))", (organization,)
        )
        answer = await client.post(URL, params=chosen, content=b"x", headers=TAR)

    assert answer.status_code == 200, answer.text


async def test_uploads_of_one_organization_are_few_at_once_and_others_are_served(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, settings: ApiSettings
) -> None:
    assert settings.data_dir
    directory: Path = settings.data_dir / FOLDER
    open_end = asyncio.Event()
    chosen = {"applicationId": (await create_application(client))["applicationId"]}
    foreign = {"applicationId": (await create_application(stranger))["applicationId"]}

    async def content() -> AsyncIterator[bytes]:
        yield b"begun"
        await open_end.wait()

    async def send() -> Any:
        return await client.post(URL, params=chosen, content=content(), headers=TAR)

    sending = [asyncio.create_task(send()) for _ in range(8)]
    await until(lambda: len(list(directory.iterdir())) == 8)
    refused = await client.post(URL, params=chosen, content=b"x", headers=TAR)
    other = await stranger.post(URL, params=foreign, content=b"x", headers=TAR)
    open_end.set()
    answers = await asyncio.gather(*sending)

    assert refused.status_code == 429
    assert refused.json()["data"]["cause"]["code"] == "too_many_at_once"
    assert refused.headers["retry-after"]
    assert other.status_code == 200
    assert [answer.status_code for answer in answers] == [200] * 8
