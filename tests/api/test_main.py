"""The process: its start, its health, its patience, and a real socket."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from starlette.applications import Starlette

from api.accounts.bootstrap import found_organization
from api.main import PATIENCE, create_app
from api.operations.health import migration_head
from shared.database import open_pool
from shared.errors import SetupError
from shared.settings import ApiSettings
from shared.tls import tls_context
from tests.api.asking import ADMIN_KEY, create_registry, open_client, until
from tests.api.fleet import TestServer
from tests.databases import Database
from worker.local.processes import Child, free_port

AD_HOC = {"registryUrl": "ghcr.io", "username": "u", "password": "canary-password"}


@pytest.fixture
def database(own_database: Database) -> Database:
    """Some of these tests change tables."""
    return own_database


@asynccontextmanager
async def running(
    settings: ApiSettings, patience: timedelta = PATIENCE
) -> AsyncIterator[Starlette]:
    app = create_app(settings, patience=patience)
    async with app.router.lifespan_context(app):
        yield app


async def test_only_the_first_start_makes_an_organization(
    settings: ApiSettings, database: Database
) -> None:
    async with open_pool(settings.url) as pool:
        await asyncio.gather(*(found_organization(pool, settings.admin_key) for _ in range(8)))

    assert database.execute("SELECT name FROM organization") == [("default",)]
    assert database.execute("SELECT role, name, start FROM api_key") == [
        ("admin", "first admin key", ADMIN_KEY[:10])
    ]


async def test_a_key_that_can_be_guessed_is_no_start(settings: ApiSettings) -> None:
    weak = ApiSettings.model_validate({**settings.model_dump(), "admin_key": "secret"})

    with pytest.raises(SetupError, match="fewer than 16 characters"):
        create_app(weak)


async def test_a_database_that_is_not_migrated_is_no_start(
    settings: ApiSettings, database: Database
) -> None:
    database.execute("ALTER TABLE organization RENAME TO something_else")

    with pytest.raises(SetupError, match="not migrated"):
        async with running(settings):
            pass


async def test_the_api_is_ready_once_control_was_seen(
    client: httpx2.AsyncClient, database: Database
) -> None:
    before = await client.get("/readyz")
    database.execute("INSERT INTO control (control_id, version) VALUES ('c', '0')")
    after = await client.get("/readyz")
    database.execute("UPDATE control SET seen_at = now() - interval '11 seconds'")
    later = await client.get("/readyz")

    assert (before.status_code, before.json()["failing"]) == (503, ["control"])
    assert (after.status_code, after.json()) == (
        200,
        {"status": "ready", "failing": [], "degraded": []},
    )
    assert later.status_code == 503
    assert (await client.get("/healthz")).status_code == 200


async def test_the_api_takes_jobs_and_names_degraded_parts(
    client: httpx2.AsyncClient, database: Database
) -> None:
    database.execute(
        "INSERT INTO control (control_id, version, broker_error) VALUES ('c', '0', 'full')"
    )
    database.execute(
        "INSERT INTO server (server_id, organization_id, name, description, removed_at,"
        " role_ready_at) SELECT 's', organization_id, 's', '', now() - interval '2 minutes', now()"
        " FROM organization"
    )

    answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()["degraded"]) == (200, ["broker", "removed_servers"])


async def test_the_api_is_not_ready_before_the_newest_migration(
    client: httpx2.AsyncClient, database: Database
) -> None:
    database.execute("UPDATE alembic_version SET version_num = '0000'")

    assert "migrations" in (await client.get("/readyz")).json()["failing"]


async def test_the_api_is_not_ready_without_its_database_and_recovers(
    client: httpx2.AsyncClient, database: Database
) -> None:
    with_database = f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS'
    with database.server.administer() as connection:
        connection.execute(f"{with_database} false".encode())
        connection.execute(
            b"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [database.name],
        )
        ready = await client.get("/readyz")
        connection.execute(f"{with_database} true".encode())

    assert (ready.status_code, ready.json()["failing"]) == (503, ["database"])
    assert (await client.get("/api/registry.all")).status_code == 200


async def test_a_call_without_the_database_is_503_in_every_dialect(
    client: httpx2.AsyncClient, app: Starlette
) -> None:
    await app.state.resources.pool.close()

    plain = await client.get("/api/registry.all")
    unknown = await client.get("/api/registry.nosuch")
    strict = await client.get('/api/trpc/registry.all?input={"json":null}')

    assert [plain.status_code, unknown.status_code, strict.status_code] == [503, 503, 503]
    assert strict.headers["retry-after"] == "1"
    assert strict.json()["error"]["json"]["data"]["code"] == "SERVICE_UNAVAILABLE"


async def test_a_wait_that_is_too_long_is_504_and_the_job_goes_on(
    settings: ApiSettings, server: TestServer, database: Database
) -> None:
    async with (
        running(settings, patience=timedelta(milliseconds=100)) as app,
        open_client(app, ADMIN_KEY) as hasty,
    ):
        answer = await hasty.post("/api/registry.testRegistry", json=AD_HOC)

    cause = answer.json()["data"]["cause"]
    assert (answer.status_code, cause["code"]) == (504, "still_running")
    assert database.execute("SELECT job_id, state FROM job") == [(cause["jobId"], "queued")]


async def test_a_defect_says_nothing_of_itself(
    client: httpx2.AsyncClient, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    database.execute("ALTER TABLE registry ADD CHECK (username <> 'canary-user')")

    answer = await client.post(
        "/api/registry.create",
        json={
            "registryName": "canary-name",
            "registryUrl": "ghcr.io",
            "username": "canary-user",
            "password": "canary-password",
        },
    )

    assert answer.status_code == 500
    assert answer.json()["message"] == "internal error; see the API's log"
    logged = "".join(capfd.readouterr())
    assert "IntegrityError" in logged
    assert "canary" not in answer.text + logged


def environment(settings: ApiSettings) -> dict[str, str]:
    return {
        "WHARF_DATABASE_URL": settings.url,
        "WHARF_VAULT_PUBLIC_KEY": settings.vault_public_key,
        "WHARF_ADMIN_KEY": ADMIN_KEY,
    }


@pytest.fixture
def process(settings: ApiSettings, tmp_path: Path) -> Iterator[tuple[Child, str]]:
    port = free_port()
    child = Child.start(
        "api",
        [sys.executable, "-m", "api", "--port", str(port)],
        log=tmp_path / "api.log",
        env=environment(settings),
    )
    url = f"http://127.0.0.1:{port}"
    try:
        child.wait_until(lambda: is_alive(url), deadline=timedelta(seconds=30))
        yield child, url
    finally:
        child.stop()


def test_the_newest_migration_is_the_one_that_alembic_would_go_to() -> None:
    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    config.set_main_option("recursive_version_locations", "true")

    assert migration_head() == ScriptDirectory.from_config(config).get_current_head()


def is_alive(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", verify=tls_context()).status_code == 200
    except httpx2.TransportError:
        return False


async def test_the_process_serves_a_socket_and_logs_no_secret(
    process: tuple[Child, str], server: TestServer, database: Database
) -> None:
    child, url = process
    headers = {"x-api-key": ADMIN_KEY}
    async with httpx2.AsyncClient(base_url=url, headers=headers) as client:
        created = await create_registry(client, password="canary-password")
        query = json.dumps({"json": {"registryId": created["registryId"], "x": "canary-password"}})
        await client.get("/api/trpc/registry.one", params={"input": query})
        big = await client.post("/api/trpc/registry.create", content=b" " * 3_000_000)
        with pytest.raises(httpx2.ReadTimeout):
            await client.post("/api/registry.testRegistry", json=AD_HOC, timeout=1)

    assert big.status_code == 413
    await until(lambda: database.execute("SELECT state FROM job") == [("cancelled",)])
    child.stop()
    assert child.process.returncode == 0
    logged = child.log.read_text()
    assert "Traceback" not in logged
    assert "canary" not in logged and ADMIN_KEY not in logged


async def said_at_start(variables: dict[str, str]) -> tuple[int | None, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("WHARF_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", env={**clean, **variables}, stderr=asyncio.subprocess.PIPE
    )
    _, message = await process.communicate()
    return process.returncode, message.decode()


async def test_a_missing_setting_is_one_sentence() -> None:
    assert await said_at_start({}) == (
        1,
        "wharf api: WHARF_DATABASE_URL is missing; WHARF_VAULT_PUBLIC_KEY is missing. "  # noqa: ISC004 - one line of text
        "Set the variable, or NAME_FILE to the path of a file with the value.\n",
    )


async def test_a_bad_key_at_the_start_is_one_sentence(settings: ApiSettings) -> None:
    code, message = await said_at_start({**environment(settings), "WHARF_ADMIN_KEY": "short"})

    assert (code, message.count("\n")) == (1, 1)
    assert "WHARF_ADMIN_KEY has fewer than 16 characters" in message


async def test_a_client_that_cuts_the_line_while_it_waits_cancels_its_job(
    process: tuple[Child, str], server: TestServer, database: Database
) -> None:
    _, url = process
    body = json.dumps(AD_HOC)
    request = (
        f"POST /api/trpc/registry.testRegistry HTTP/1.1\r\nHost: x\r\nx-api-key: {ADMIN_KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    )
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as line:
        line.sendall(request.encode())
        job = await server.next_job()

    await until(lambda: database.execute("SELECT cancel_requested_at FROM job") != [(None,)])
    await server.finish(job, "cancelled")
