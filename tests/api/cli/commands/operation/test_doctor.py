"""``wharf doctor`` against a real process, and against what is none."""

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from aiohttp import web
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from rich.console import Console
from starlette.applications import Starlette

from api.cli.commands.operation.checks import Check, examine, show
from api.cli.settings import ClientSettings
from tests.api.asking import ADMIN_KEY, create_registry
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.fakes.web import open_fake
from worker.local.processes import free_port

READY = "INSERT INTO control (control_id, version) VALUES ('c', '0')"

CHECKED = {"engineVersion": "28.0.0", "milliseconds": 3.5}
AWAY = {"code": "engine_unreachable", "message": "no Engine answers", "remedy": "Start Docker."}


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


async def ask(url: str, key: str | None = ADMIN_KEY, ahead: timedelta = timedelta()) -> list[Check]:
    settings = ClientSettings(url=url, api_key=SecretStr(key) if key else None)
    return await asyncio.to_thread(examine, settings, datetime.now(UTC) + ahead)


def wrong(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.is_good]


async def test_all_is_well(url: str, server: TestServer, database: Database) -> None:
    database.execute(READY)

    checks, _ = await asyncio.gather(ask(url), server.succeed_next(CHECKED))

    assert wrong(checks) == []
    found = {check.name: check.found for check in checks}
    assert found["path to alpha"].startswith("API, database, control, broker, worker, Engine: ")
    assert found["API key"] == "good, role admin"
    assert found["server alpha"] == "online, Docker Engine 28.0.0"
    assert found["clock"] == "this machine and the API have the same time"
    assert {"database", "migrations", "control"} <= set(found)


async def test_an_expired_password_is_wrong_and_one_that_is_due_is_shown(
    url: str, client: httpx2.AsyncClient, database: Database
) -> None:
    for name in ("Expired", "Due", "Current"):
        await create_registry(client, registryName=name)
    database.execute(
        "UPDATE registry SET password_expires_at = now() WHERE registry_name = 'Expired'"
    )
    database.execute(
        "UPDATE registry SET password_changed_at = '2026-01-01Z' WHERE registry_name = 'Due'"
    )

    checks = {check.name: check for check in await ask(url)}

    assert checks["password of Expired"].remedy == "Store a new one with registry.update."
    assert checks["password of Due"].found == "due for a change since 2026-04-01T00:00:00.000Z"
    assert checks["password of Due"].is_good
    assert "password of Current" not in checks


async def test_an_expired_certificate_is_wrong_and_one_that_is_due_is_shown(
    url: str, client: httpx2.AsyncClient, database: Database
) -> None:
    for name, days in (("Expired", -1), ("Due", 29), ("Current", 31)):
        await create_registry(client, registryName=name)
        ends = (datetime.now(UTC) + timedelta(days=days)).isoformat()
        certificate = {"use": "ca", "subject": "CN=ours", "sha256": "00ff", "not_after": ends}
        database.execute(
            "UPDATE registry SET certificates = %s WHERE registry_name = %s",
            *(Jsonb([certificate]), name),
        )

    checks = {check.name: check for check in await ask(url)}

    assert checks["TLS of Expired"].remedy == "Store a new one with registry.update."
    assert checks["TLS of Due"].found.startswith("the certificate CN=ours expires at ")
    assert checks["TLS of Due"].is_good
    assert "TLS of Current" not in checks


async def test_each_thing_that_is_wrong_has_a_remedy(
    url: str, server: TestServer, database: Database
) -> None:
    database.execute("UPDATE server SET worker_version = '0.0.1', clock_ahead_seconds = 90")
    without_control, _ = await asyncio.gather(ask(url), server.fail_next(AWAY))
    database.execute("UPDATE server SET seen_at = now() - interval '1 minute'")
    database.execute(READY)
    server_away = await ask(url)
    clock_off = await ask(url, ahead=timedelta(minutes=5))

    assert wrong(without_control) == [
        *("control", "version of alpha", "clock of alpha", "path to alpha")
    ]
    assert without_control[-1].found == "stops at engine: no Engine answers"
    assert wrong(server_away) == ["server alpha"]
    assert wrong(clock_off) == ["clock", "server alpha"]


async def test_an_organization_without_a_server_can_do_nothing(
    url: str, database: Database
) -> None:
    database.execute(READY)

    assert wrong(await ask(url)) == ["servers"]


async def test_a_row_that_control_cannot_handle_is_named_with_its_cause(
    url: str, server: TestServer, database: Database
) -> None:
    database.execute(READY)
    database.execute("INSERT INTO set_aside VALUES ('automatic_rollback', 'x', 'ref_invalid', '')")

    checks, _ = await asyncio.gather(ask(url), server.succeed_next(CHECKED))

    assert wrong(checks) == ["control: automatic_rollback"]
    [check] = [check for check in checks if not check.is_good]
    assert check.found == "1 set aside: ref_invalid"


async def test_each_part_that_works_in_a_degraded_way_is_named(
    url: str, server: TestServer, database: Database
) -> None:
    database.execute(
        "INSERT INTO control (control_id, version, broker_error) VALUES ('c', '0', 'full')"
    )
    database.execute(
        "INSERT INTO server (server_id, organization_id, name, description, removed_at,"
        " role_ready_at) SELECT 's', organization_id, 's', '', now() - interval '2 minutes', now()"
        " FROM organization"
    )

    checks, _ = await asyncio.gather(ask(url), server.succeed_next(CHECKED))

    assert wrong(checks) == ["broker", "removed_servers"]
    assert {check.name: check.remedy for check in checks}["broker"].startswith("Check that the bro")


async def test_a_full_notification_queue_and_a_part_of_a_newer_api_are_named() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/readyz":
            return web.json_response({"failing": ["newer"], "degraded": ["notifications"]})
        return web.json_response({})

    async with open_fake(answer) as fake:
        checks = await ask(f"http://{fake.host}", None)

    remedies = {check.name: check.remedy for check in checks}
    assert "pg_stat_activity" in remedies["notifications"]
    assert remedies["newer"] == "See the API's log."


async def test_a_restored_database_is_named_with_the_jobs_that_wait(
    url: str, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    database.execute(READY)
    held = (await client.post("/api/image.pull", json={"image": "nginx:1"})).json()["jobId"]
    database.execute("UPDATE organization SET held_at = clock_timestamp()")

    checks, _ = await asyncio.gather(ask(url), server.succeed_next(CHECKED))

    [check] = [check for check in checks if not check.is_good]
    assert check.name == "restore"
    assert f" job {held} waits; key first admin key (admin, " in check.found
    assert "wharf resume" in check.remedy


@pytest.mark.parametrize("is_online", [True, False])
async def test_a_copied_state_directory_is_named_once(
    url: str, server: TestServer, database: Database, *, is_online: bool
) -> None:
    database.execute(READY)
    database.execute("UPDATE server SET second_worker_at = now()")
    if is_online:
        checks, _ = await asyncio.gather(ask(url), server.succeed_next(CHECKED))
    else:
        database.execute("UPDATE server SET seen_at = now() - interval '1 minute'")
        checks = await ask(url)

    assert wrong(checks) == ["key of alpha", *([] if is_online else ["server alpha"])]
    [key] = [check for check in checks if check.name == "key of alpha"]
    assert "two workers used it" in key.found
    assert "join it again" in key.remedy


async def test_a_key_that_is_missing_or_bad_is_named(url: str, database: Database) -> None:
    database.execute(READY)

    missing, bad = await ask(url, None), await ask(url, "wharf_not-a-key")

    assert wrong(missing) == wrong(bad) == ["API key"]
    assert "not known" in bad[-1].found
    assert "not-a-key" not in str(bad)


async def test_doctor_says_that_there_is_no_api(database: Database) -> None:
    nobody = await ask(f"http://127.0.0.1:{free_port()}")
    junk = await ask("no url at all")

    assert wrong(nobody) == wrong(junk) == ["API"]


async def test_the_database_being_away_hides_the_rest(url: str, app: Starlette) -> None:
    await app.state.resources.pool.close()

    assert wrong(await ask(url)) == ["database", "API key"]


def test_names_are_shown_as_they_are() -> None:
    output = io.StringIO()

    is_well = show(
        [Check("server [bold]x\x1b[2J", "found", "do [link=x]")], Console(file=output, width=200)
    )

    assert not is_well
    assert "server [bold]x?[2J" in output.getvalue()
    assert "do [link=x]" in output.getvalue()


async def test_the_command_ends_with_1_where_something_is_wrong(
    url: str, server: TestServer, database: Database
) -> None:
    bad, _ = await asyncio.gather(run(url), server.succeed_next(CHECKED))
    database.execute(READY)
    good, _ = await asyncio.gather(run(url), server.succeed_next(CHECKED))

    assert (bad[0], good[0]) == (1, 0)
    assert "wharf control" in bad[1]
    assert ADMIN_KEY not in bad[1] + good[1]


async def run(url: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "api.cli.main", "doctor"),
        env={**os.environ, "WHARF_URL": url, "WHARF_API_KEY": ADMIN_KEY, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    message, _ = await process.communicate()
    return process.returncode, message.decode()
