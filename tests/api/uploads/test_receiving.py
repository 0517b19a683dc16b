"""Uploads: whole and as they should be they are kept, else nothing is."""

import asyncio
import base64
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from api.main import create_app
from api.uploads import store
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY, create_application, open_client, until, upload_context
from tests.databases import Database

URL = "/api/application.uploadContext"
TAR = {"content-type": "application/x-tar"}


@pytest.fixture
def kept(settings: ApiSettings) -> Path:
    assert settings.data_dir
    return settings.data_dir / store.FOLDER


@pytest.fixture
async def chosen(client: httpx2.AsyncClient) -> dict[str, str]:
    return {"applicationId": (await create_application(client))["applicationId"]}


def files(kept: Path) -> list[str]:
    return sorted(path.name for path in kept.iterdir())


@pytest.mark.parametrize(
    "kind", ["application/x-tar", "application/gzip", "Application/Octet-Stream; a=b"]
)
async def test_what_was_sent_is_kept_and_named(
    client: httpx2.AsyncClient,
    chosen: dict[str, str],
    kept: Path,
    database: Database,
    kind: str,
) -> None:
    content = os.urandom(300_000)
    sha256 = hashlib.sha256(content).hexdigest()

    answer = await client.post(URL, params=chosen, content=content, headers={"content-type": kind})

    shown = answer.json()
    assert (answer.status_code, shown["sizeBytes"], shown["sha256"]) == (200, 300_000, sha256)
    assert files(kept) == [shown["contextId"]]
    file = kept / shown["contextId"]
    assert file.read_bytes() == content
    assert (file.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o600, 0o700)
    assert database.execute("SELECT context_id, application_id, sha256 FROM context") == [
        (shown["contextId"], chosen["applicationId"], sha256)
    ]


@pytest.mark.parametrize("header", ["x-content-sha256", "Content-Digest"])
@pytest.mark.parametrize("is_right", [True, False])
async def test_a_checksum_that_is_given_decides(
    client: httpx2.AsyncClient,
    chosen: dict[str, str],
    kept: Path,
    database: Database,
    header: str,
    is_right: bool,  # noqa: FBT001 - from a parameter
) -> None:
    digest = hashlib.sha256(b"a tar" if is_right else b"another").digest()
    text = f"sha-512=:AA==:, sha-256=:{base64.b64encode(digest).decode()}:"
    value = digest.hex().upper() if header.startswith("x-") else text

    answer = await client.post(URL, params=chosen, content=b"a tar", headers={**TAR, header: value})

    if is_right:
        assert answer.status_code == 200, answer.text
    else:
        assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (
            400,
            "checksum_mismatch",
        )
        assert (files(kept), database.execute("SELECT FROM context")) == ([], [])


@pytest.mark.parametrize(
    ("query", "headers", "content", "status"),
    [
        ({}, {"content-type": "application/json"}, b"{}", 415),
        ({}, {}, b"x", 415),
        ({}, {**TAR, "x-content-sha256": "abc"}, b"x", 400),
        ({}, {**TAR, "content-digest": "sha-256=:AA==:"}, b"x", 400),
        ({}, {**TAR, "idempotency-key": "k"}, b"x", 400),
        ({}, TAR, b"", 400),
        ({"applicationId": "nowhere"}, TAR, b"x", 404),
        ({"applicationId": ""}, TAR, b"x", 400),
        ({"more": "x"}, TAR, b"x", 400),
    ],
)
async def test_what_cannot_be_kept_is_refused_and_leaves_nothing(
    client: httpx2.AsyncClient,
    chosen: dict[str, str],
    kept: Path,
    query: dict[str, str],
    headers: dict[str, str],
    content: bytes,
    status: int,
) -> None:
    answer = await client.post(URL, params={**chosen, **query}, content=content, headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert files(kept) == []


async def test_nobody_sends_without_a_key_or_to_another_organization(
    app: FastAPI,
    stranger: httpx2.AsyncClient,
    chosen: dict[str, str],
    kept: Path,
    database: Database,
) -> None:
    sent: list[int] = []

    async with open_client(app, None) as nobody:
        unknown = await nobody.post(URL, params=chosen, content=endless(sent), headers=TAR)
    foreign = await stranger.post(URL, params=chosen, content=endless(sent), headers=TAR)
    # What else is wrong with it is not for those without a key.
    async with open_client(app, "wharf_wrong") as nobody:
        wrong = await nobody.post(URL, params=chosen, content=b"{}")

    assert (unknown.status_code, foreign.status_code, wrong.status_code) == (401, 404, 401)
    assert sent == []
    assert (files(kept), database.execute("SELECT FROM context")) == ([], [])


async def endless(sent: list[int], size_bytes: int = 100_000) -> AsyncIterator[bytes]:
    while True:
        sent.append(size_bytes)
        yield bytes(size_bytes)


async def test_what_is_too_large_is_read_up_to_the_limit_and_no_further(
    settings: ApiSettings, kept: Path
) -> None:
    small = ApiSettings.model_validate({**settings.model_dump(), "context_max_bytes": 1_000_000})
    app, sent, announced = create_app(small), list[int](), list[int]()
    async with app.router.lifespan_context(app), open_client(app, ADMIN_KEY) as client:
        chosen = {"applicationId": (await create_application(client))["applicationId"]}

        answer = await client.post(URL, params=chosen, content=endless(sent), headers=TAR)
        said = {**TAR, "content-length": "1000001"}
        early = await client.post(URL, params=chosen, content=endless(announced), headers=said)
        most = await upload_context(client, chosen["applicationId"], bytes(1_000_000))

    assert (answer.status_code, early.status_code) == (413, 413)
    assert answer.json()["data"]["cause"]["remedy"]
    assert sum(sent) <= 1_200_000
    assert announced == []
    assert files(kept) == [most["contextId"]]


async def test_without_a_directory_nothing_is_taken(settings: ApiSettings) -> None:
    app = create_app(ApiSettings.model_validate({**settings.model_dump(), "data_dir": None}))
    async with app.router.lifespan_context(app), open_client(app, ADMIN_KEY) as client:
        chosen = {"applicationId": (await create_application(client))["applicationId"]}

        answer = await client.post(URL, params=chosen, content=b"x", headers=TAR)

    cause = answer.json()["data"]["cause"]
    assert (answer.status_code, cause["code"]) == (412, "no_data_dir")
    assert "WHARF_DATA_DIR" in cause["remedy"]


async def test_memory_stays_flat_however_large_the_upload(
    client: httpx2.AsyncClient, chosen: dict[str, str]
) -> None:
    async def much() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield bytes(256 * 1024)

    await upload_context(client, chosen["applicationId"])
    tracemalloc.start()
    try:
        answer = await client.post(URL, params=chosen, content=much(), headers=TAR)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert answer.json()["sizeBytes"] == 50 * 1024 * 1024
    assert peak < 5_000_000


async def test_an_upload_is_rate_limited_as_every_call(settings: ApiSettings, kept: Path) -> None:
    limited = {"broker_url": "redis://127.0.0.1:1/0", "api_rate_per_minute": 2}
    app = create_app(ApiSettings.model_validate({**settings.model_dump(), **limited}))
    async with app.router.lifespan_context(app), open_client(app, ADMIN_KEY) as client:
        chosen = {"applicationId": (await create_application(client))["applicationId"]}

        first = await client.post(URL, params=chosen, content=b"x", headers=TAR)
        second = await client.post(URL, params=chosen, content=b"x", headers=TAR)

    assert (first.status_code, second.status_code) == (200, 429)
    assert len(files(kept)) == 1


async def test_an_upload_that_breaks_off_leaves_nothing(
    app: FastAPI, chosen: dict[str, str], kept: Path, database: Database
) -> None:
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"begun"
        begun.set()
        await asyncio.Event().wait()

    async with open_client(app, ADMIN_KEY) as client:
        sending = asyncio.create_task(
            client.post(URL, params=chosen, content=pieces(), headers=TAR)
        )
        await begun.wait()
        await until(lambda: len(files(kept)) == 1)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    await until(lambda: files(kept) == [])
    assert database.execute("SELECT FROM context") == []


async def test_a_context_whose_application_went_meanwhile_is_not_found(
    client: httpx2.AsyncClient, chosen: dict[str, str], database: Database
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await client.post("/api/application.remove", json=chosen)
        yield b"two"

    answer = await client.post(URL, params=chosen, content=pieces(), headers=TAR)

    assert answer.status_code == 404
    assert database.execute("SELECT FROM context") == []
