"""Uploads: whole and as they should be they are kept, else nothing is."""

import asyncio
import base64
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from api.errors import IncompleteUploadError
from api.http.uploads import read_chunks
from api.main import create_app
from api.uploads import store
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY, create_application, open_client, until, upload_context
from tests.api.events.reading import serving
from tests.databases import Database

URL = "/api/application.uploadContext"
TAR = {"content-type": "application/x-tar"}


@pytest.fixture
def stored(settings: ApiSettings) -> Path:
    assert settings.data_dir
    return settings.data_dir / store.FOLDER


@pytest.fixture
async def chosen(client: httpx2.AsyncClient) -> dict[str, str]:
    return {"applicationId": (await create_application(client))["applicationId"]}


def files(stored: Path) -> list[str]:
    return sorted(path.name for path in stored.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(
    "kind", ["application/x-tar", "application/gzip", "Application/Octet-Stream; a=b"]
)
async def test_an_upload_is_stored_and_gets_an_id(
    client: httpx2.AsyncClient,
    chosen: dict[str, str],
    stored: Path,
    database: Database,
    kind: str,
) -> None:
    content = os.urandom(300_000)
    sha256 = hashlib.sha256(content).hexdigest()

    answer = await client.post(URL, params=chosen, content=content, headers={"content-type": kind})

    shown = answer.json()
    assert (answer.status_code, shown["sizeBytes"], shown["sha256"]) == (200, 300_000, sha256)
    assert files(stored) == [shown["contextId"]]
    assert (stored / shown["contextId"]).read_bytes() == content
    assert [mode(stored), mode(stored / shown["contextId"])] == [0o700, 0o600]
    assert database.execute("SELECT context_id, application_id, sha256 FROM context") == [
        (shown["contextId"], chosen["applicationId"], sha256)
    ]


def checksums(content: bytes) -> list[dict[str, str]]:
    """The headers that say what the SHA-256 of some content is."""
    digest = hashlib.sha256(content).digest()
    text = f"sha-512=:AA==:, sha-256=:{base64.b64encode(digest).decode()}:"
    return [{"x-content-sha256": digest.hex().upper()}, {"Content-Digest": text}]


@pytest.mark.parametrize("header", checksums(b"a tar"))
async def test_an_upload_with_the_given_checksum_is_stored(
    client: httpx2.AsyncClient, chosen: dict[str, str], header: dict[str, str]
) -> None:
    answer = await client.post(URL, params=chosen, content=b"a tar", headers={**TAR, **header})

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("header", checksums(b"another"))
async def test_an_upload_with_another_checksum_is_not_stored(
    client: httpx2.AsyncClient, chosen: dict[str, str], stored: Path, header: dict[str, str]
) -> None:
    answer = await client.post(URL, params=chosen, content=b"a tar", headers={**TAR, **header})

    cause = answer.json()["data"]["cause"]
    assert (answer.status_code, cause["code"]) == (400, "checksum_mismatch")
    assert cause["remedy"]
    assert files(stored) == []


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (415, {"headers": {"content-type": "application/json"}}),
        (415, {"headers": {}}),
        (400, {"headers": {**TAR, "x-content-sha256": "abc"}}),
        (400, {"headers": {**TAR, "content-digest": "sha-256=:AA==:"}}),
        (400, {"headers": {**TAR, "content-digest": "sha-512=:AA==:"}}),
        (400, {"headers": {**TAR, "repr-digest": "sha-256=:AA==:"}}),
        (400, {"headers": {**TAR, "digest": "sha-256=AA=="}}),
        (400, {"headers": {**TAR, "content-md5": "AA=="}}),
        (400, {"headers": {**TAR, "content-range": "bytes 0-0/2"}}),
        (400, {"headers": {**TAR, "idempotency-key": "k"}}),
        (400, {"content": b""}),
        (404, {"params": {"applicationId": "nowhere"}}),
        (400, {"params": {"applicationId": ""}}),
        (400, {"params": {}}),
    ],
)
async def test_an_upload_that_cannot_be_stored_is_refused_and_leaves_nothing(
    client: httpx2.AsyncClient,
    chosen: dict[str, str],
    stored: Path,
    status: int,
    changes: dict[str, Any],
) -> None:
    good = {"params": chosen, "content": b"x", "headers": TAR}

    answer = await client.post(URL, **{**good, **changes})

    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert files(stored) == []


async def test_nobody_sends_without_a_key_or_to_another_organization(
    app: Starlette,
    stranger: httpx2.AsyncClient,
    chosen: dict[str, str],
    stored: Path,
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
    assert (files(stored), database.execute("SELECT 1 FROM context")) == ([], [])


async def endless(sent: list[int], size_bytes: int = 100_000) -> AsyncIterator[bytes]:
    while True:
        sent.append(size_bytes)
        yield bytes(size_bytes)


async def test_an_upload_that_is_too_large_is_read_up_to_the_limit_and_no_further(
    settings: ApiSettings, stored: Path
) -> None:
    small = ApiSettings.model_validate({**settings.model_dump(), "context_max_bytes": 1_000_000})
    app, sent, announced = create_app(small), list[int](), list[int]()
    async with app.router.lifespan_context(app), open_client(app, ADMIN_KEY) as client:
        chosen = {"applicationId": (await create_application(client))["applicationId"]}

        answer = await client.post(URL, params=chosen, content=endless(sent), headers=TAR)
        message = {**TAR, "content-length": "1000001"}
        early = await client.post(URL, params=chosen, content=endless(announced), headers=message)
        most = await upload_context(client, chosen["applicationId"], bytes(1_000_000))

    assert (answer.status_code, early.status_code) == (413, 413)
    assert answer.json()["data"]["cause"]["remedy"]
    assert sum(sent) <= 1_200_000
    assert announced == []
    assert files(stored) == [most["contextId"]]


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


async def test_an_upload_is_rate_limited_as_every_call(settings: ApiSettings, stored: Path) -> None:
    limited = {"broker_url": "redis://127.0.0.1:1/0", "api_rate_per_minute": 2}
    app = create_app(ApiSettings.model_validate({**settings.model_dump(), **limited}))
    async with app.router.lifespan_context(app), open_client(app, ADMIN_KEY) as client:
        chosen = {"applicationId": (await create_application(client))["applicationId"]}

        first = await client.post(URL, params=chosen, content=b"x", headers=TAR)
        second = await client.post(URL, params=chosen, content=b"x", headers=TAR)

    assert (first.status_code, second.status_code) == (200, 429)
    assert len(files(stored)) == 1


async def test_an_upload_that_breaks_off_leaves_nothing(
    app: Starlette, chosen: dict[str, str], stored: Path, database: Database
) -> None:
    head = (
        f"POST {URL}?applicationId={chosen['applicationId']} HTTP/1.1\r\nHost: api.test\r\n"
        f"x-api-key: {ADMIN_KEY}\r\nContent-Type: application/x-tar\r\nContent-Length: 1000\r\n"
    )
    async with serving(app) as (_, url):
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(f"{head}\r\nonly the beginning".encode())
        await until(lambda: len(files(stored)) == 1)
        writer.close()
        await writer.wait_closed()

        await until(lambda: files(stored) == [])

    assert database.execute("SELECT 1 FROM context") == []


async def test_a_sender_that_falls_silent_is_not_waited_for_without_end() -> None:
    messages = [{"type": "http.request", "body": b"begun", "more_body": True}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        return await asyncio.Event().wait()

    chunks = read_chunks(Request({"type": "http"}, receive), timedelta(milliseconds=50))

    assert await anext(chunks) == b"begun"
    with pytest.raises(IncompleteUploadError, match=r"0\.05 s"):
        await anext(chunks)


async def test_a_context_whose_application_went_meanwhile_is_not_found(
    client: httpx2.AsyncClient, chosen: dict[str, str], database: Database
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await client.post("/api/application.remove", json=chosen)
        yield b"two"

    answer = await client.post(URL, params=chosen, content=pieces(), headers=TAR)

    assert answer.status_code == 404
    assert database.execute("SELECT 1 FROM context") == []
