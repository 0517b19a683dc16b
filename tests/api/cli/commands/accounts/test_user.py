"""``wharf user`` and ``wharf audit``: people, their roles, and what was done."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.cli.running import run
from tests.api.console.browsing import invite, join, open_browser
from tests.api.fleet import TestServer
from tests.api.scene import Scene, open_scene
from tests.databases import Database


@pytest.fixture
async def scene(
    client: httpx2.AsyncClient, database: Database, server: TestServer
) -> AsyncIterator[Scene]:
    async with open_scene(client, database, server) as scene:
        await scene.make("user")
        yield scene


async def test_a_person_is_invited_gets_a_role_and_is_removed(
    client: httpx2.AsyncClient, url: str, scene: Scene
) -> None:
    invited = await run(url, "user", "invite", "eve@example.com", "--role", "viewer")
    pending = await run(url, "user", "invitations")
    changed = await run(url, "user", "update", "Ada", "--role", "viewer")
    limited = await run(url, "user", "limit", "Ada", "--network", "10.0.0.0/8", "--force")
    listed = await run(url, "user", "list")
    removed = await run(url, "user", "remove", "user-", "--yes")

    assert (invited.code, invited.out.startswith(f"{url}/console/")) == (0, True)
    assert pending.out.splitlines()[1].split()[:2] == ["eve@example.com", "viewer"]
    assert changed.out == "Ada: viewer\n"
    assert limited.out == "Ada: 10.0.0.0/8\n"
    assert listed.out.splitlines()[1].split()[2] == "viewer"
    assert removed.out == "removed Ada\n"
    assert (await client.get("/api/user.all")).json() == []


async def test_a_person_gets_a_link_for_a_new_password(
    url: str, scene: Scene, database: Database
) -> None:
    made = await run(url, "user", "reset", "Ada")

    assert (made.code, made.out.startswith(f"{url}/console/reset/whr_")) == (0, True), made.err
    assert database.execute("SELECT count(*) FROM password_reset WHERE used_at IS NULL") == [(1,)]


async def recover(*words: str, **more: str) -> tuple[int | None, str, str]:
    """Run the command in a process of its own: it becomes another program."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "api.cli.main", "user", "recover", *words),
        env={**os.environ, **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_last_owner_gets_in_again_with_the_database_url_of_control_alone(
    app: Starlette, database: Database
) -> None:
    async with open_browser(app) as owner:
        await join(owner, invite(database, "owner"), "owner@example.com")
        control = {"WHARF_DATABASE_URL": database.url("wharf_control")}

        code, _, err = await recover(
            "owner@example.com", WHARF_DATABASE_URL=database.url("wharf_api")
        )
        assert (code, "cannot make a link" in err) == (1, True), err
        code, _, err = await recover("nobody@example.com", **control)
        assert (code, "there is no person with the e-mail address" in err) == (1, True), err
        code, out, err = await recover("Owner@example.com", **control)
        assert (code, "within an hour" in err) == (0, True), err

        new = "another correct horse"
        path = out.strip().removeprefix("/console")
        changed = await owner.post(path, password=new, again=new)
        signed_in = await owner.sign_in("owner@example.com", new)

    assert (changed.status_code, signed_in.status_code) == (303, 303)
    recorded = "SELECT data->>'actor' FROM audit_event WHERE action = 'user.recover'"
    assert database.execute(recorded) == [("the operator",)]


async def test_what_was_done_is_listed_by_page(url: str, scene: Scene) -> None:
    await run(url, "user", "invite", "eve@example.com")
    newest = await run(url, "audit", "list", "--limit", "1")
    cursor = newest.err.split()[-1]
    older = await run(url, "audit", "list", "--limit", "1", "--cursor", cursor)

    heading, row = newest.out.splitlines()
    assert heading.split() == ["at", "action", "of", "by", "data", "id"]
    assert "invit" in row.lower()
    assert newest.err == f"there are more: --cursor {cursor}\n"
    assert older.out.splitlines()[1] != row
