"""``wharf registry``, against a real API process's socket, with servers that test new logins."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from shared.vault import KeyRing
from tests.api.asking import ADMIN_KEY, create_application, create_registry
from tests.api.cli.running import Ran, run
from tests.api.events.reading import serving
from tests.api.fleet import TestServer, bad_error, good_report, make_stage
from tests.api.registries.rotations.rotating import NEW, OLD, Fleet, open_fleet
from tests.databases import Database
from tests.waiting import wait_until


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


@pytest.fixture
async def fleet(
    client: httpx2.AsyncClient, server: TestServer, database: Database, vault: KeyRing
) -> AsyncIterator[Fleet]:
    async with open_fleet(client, server, database, vault) as fleet:
        yield fleet


async def test_an_operator_rotates_a_password_that_no_argument_shows(
    client: httpx2.AsyncClient, url: str, fleet: Fleet
) -> None:
    servers = [server.server_id for server in fleet.servers]
    await create_registry(client, registryName="ours", allowedServers=servers)
    words = ("registry", "rotate", "ours")

    async with fleet.working(accepts=False):
        refused = await run(url, *words, text="wrong\n")
    async with fleet.working():
        rotated = await run(url, *words, "--username", "bob", "--keep", "1", text=f"{NEW}\n")
    async with fleet.working(accepts=False):
        forced = await run(url, *words, "--force", text="wrong, and used\n")

    assert refused.code == 1
    assert "fails from the server alpha" in refused.err
    assert rotated.err == "alpha: passed\nbeta: passed\n"
    assert rotated.out.startswith("switched; the old login is kept until ")
    assert forced.code == 0
    assert "alpha: failed: auth_bad_credentials" in forced.err
    assert fleet.login() == ("bob", "wrong, and used")


async def test_a_rotation_is_cancelled(client: httpx2.AsyncClient, url: str, fleet: Fleet) -> None:
    created = await create_registry(client, registryName="ours")
    body = {"registryId": created["registryId"], "password": NEW}
    headers = {"prefer": "respond-async"}
    await client.post("/api/registry.rotate", json=body, headers=headers)

    cancelled = await run(url, "registry", "cancel", created["registryId"])
    unknown = await run(url, "registry", "cancel", "nothing")

    assert cancelled == Ran(0, "cancelled\n", "")
    assert unknown.code == 1
    assert "there is no registry nothing" in unknown.err


async def test_the_old_password_is_brought_back(
    client: httpx2.AsyncClient, url: str, fleet: Fleet
) -> None:
    created = await create_registry(client, registryName="ours")
    body = {"registryId": created["registryId"], "password": NEW}
    await client.post("/api/registry.update", json=body)

    back = await run(url, "registry", "rollback", "ours")

    assert back == Ran(0, "rolled_back\n", "")
    assert fleet.login() == ("github-username", OLD)


async def test_the_life_of_a_login_is_shown(client: httpx2.AsyncClient, url: str) -> None:
    created = await create_registry(client, registryName="ours")

    shown = await run(url, "registry", "show", "ours")

    assert shown.code == 0
    lines = dict(line.split(": ", 1) for line in shown.out.splitlines())
    assert lines["registry"] == f"ours ({created['registryUrl']})"
    assert (lines["login"], lines["last used by"]) == ("untested", "-")
    assert lines["due"] == created["passwordDueAt"]


async def when_queued(database: Database, answer: Awaitable[object]) -> None:
    queued = "SELECT 1 FROM job WHERE state = 'queued'"
    await wait_until(lambda: bool(database.execute(queued)), seconds=60)
    await answer


EXCESS = {"code": "delete", "message": "it may delete images in team/connection-test"}


async def test_a_test_shows_its_stages_and_what_the_login_may_do_beyond_need(
    client: httpx2.AsyncClient, url: str, server: TestServer, database: Database
) -> None:
    created = await create_registry(client, registryName="ours")
    words = ("registry", "test", "ours", "--server", server.server_id)
    database.execute("UPDATE server SET seen_at = now() + interval '1 hour'")

    before = await run(url, "registry", "show", "ours")
    passed, _ = await asyncio.gather(
        run(url, *words),
        when_queued(database, server.succeed_next(good_report() | {"excess": [EXCESS]})),
    )
    shown = await run(url, "registry", "show", "ours")
    failed, _ = await asyncio.gather(
        run(url, *words), when_queued(database, server.fail_next(bad_error()))
    )
    after = await run(url, "registry", "show", "ours")
    change = {"registryId": created["registryId"], "password": NEW}
    await client.post("/api/registry.update", json=change)
    changed = await run(url, "registry", "show", "ours")
    nowhere = await run(url, *words[:-1], "nothing")

    line = "beyond need: delete: it may delete images in team/connection-test\n"
    assert passed.code == 0
    assert passed.out.startswith("parse: ok\n") and passed.out.endswith(line)
    assert line in shown.out
    assert failed.code == 1
    assert "auth: failed: auth_bad_credentials: ghcr.io refuses" in failed.out
    assert after.out.endswith("beyond need: nothing known\n")
    assert "beyond need" not in before.out + changed.out
    assert nowhere.code == 1


async def test_a_change_that_breaks_a_use_names_it_and_is_forced(
    client: httpx2.AsyncClient, url: str, fleet: Fleet
) -> None:
    used = (await create_registry(client, registryName="ours", imagePrefix="old"))["registryId"]
    made = await create_application(client, name="shop", buildRegistryId=used)
    server, application = fleet.servers[0].server_id, made["applicationId"]
    login = ("--url", "quay.io", "--username", "bob", "--prefix", "team")
    limits = ("--allow-server", server, "--allow-application", application)
    days = ("--rotate-after-days", "30")
    changes = ("--name", "theirs", *login, *limits, *days, "--password")
    words = ("registry", "update", "ours", *changes)

    refused = await run(url, *words, text=f"{NEW}\n")
    forced = await run(url, *words, "--force", text=f"{NEW}\n")

    assert (refused.code, refused.out) == (1, "")
    assert "it would be at quay.io instead of ghcr.io" in refused.err
    assert "shop (build)" in refused.err and "--force" in refused.err
    assert (forced.code, forced.out) == (0, "changed\n")
    assert "used by applications: shop (build)\n" in forced.err
    shown = (await client.get("/api/registry.one", params={"registryId": used})).json()
    assert (shown["registryName"], shown["registryUrl"]) == ("theirs", "quay.io")
    assert (shown["imagePrefix"], fleet.login()) == ("team", ("bob", NEW))
    assert (shown["allowedServers"], shown["allowedApplications"]) == ([server], [application])
    assert shown["rotateAfterDays"] == 30


async def test_limits_days_and_the_prefix_of_a_registry_are_taken_away(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    created = await create_registry(
        client,
        registryName="ours",
        imagePrefix="old",
        allowedServers=[server.server_id],
        rotateAfterDays=30,
    )

    words = ("--prefix", "", "--allow-server", "", "--rotate-after-days", "0")
    changed = await run(url, "registry", "update", "ours", *words)

    assert changed == Ran(0, "changed\n", "")
    chosen = {"registryId": created["registryId"]}
    shown = (await client.get("/api/registry.one", params=chosen)).json()
    assert (shown["imagePrefix"], shown["allowedServers"]) == (None, [])
    assert shown["rotateAfterDays"] is None


async def test_a_used_registry_is_removed_by_force_alone(
    client: httpx2.AsyncClient, url: str
) -> None:
    used = (await create_registry(client, registryName="ours"))["registryId"]
    await create_application(client, name="shop", registryId=used)

    refused = await run(url, "registry", "remove", "ours", "--yes")
    forced = await run(url, "registry", "remove", "ours", "--force", "--yes")

    assert refused.code == 1
    assert "is used by 1 application: shop (pull)" in refused.err and "--force" in refused.err
    assert (forced.code, forced.out) == (0, "removed ours\n")
    assert "used by applications: shop (pull)\n" in forced.err
    assert (await client.get("/api/registry.all")).json() == []


async def test_a_test_that_is_waited_for_writes_its_stages_as_they_end(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    await create_registry(client, registryName="ours")
    program = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("wharf"),
        *("registry", "test", "ours", "--wait", "--json"),
        env={**os.environ, "WHARF_URL": url, "WHARF_API_KEY": ADMIN_KEY, "WHARF_PROFILE": ""},
        stdout=PIPE,
        stderr=PIPE,
    )
    assert program.stdout and program.stderr
    job, stages = await server.next_job(), list[dict[str, Any]]()
    for name in ("parse", "dns"):
        stages.append(make_stage(name))
        await server.show_progress(job, {"stages": stages})
        line = b""
        while b"works" not in line:
            line = await program.stderr.readline()
            assert line, "the command has ended"
        assert line == f"test: {name}: ok: {name} works\n".encode()
    await server.finish(job, "failed", error=bad_error())

    out, _ = await program.communicate()
    assert program.returncode == 1
    assert [each["stage"] for each in json.loads(out)["stages"]] == ["ping", "auth"]
