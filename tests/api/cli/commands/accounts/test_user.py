"""``wharf user`` and ``wharf audit``: people, their roles, and what was done."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.api.cli.running import run
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
    listed = await run(url, "user", "list")
    removed = await run(url, "user", "remove", "user-", "--yes")

    assert (invited.code, invited.out.startswith(f"{url}/console/")) == (0, True)
    assert pending.out.splitlines()[1].split()[:2] == ["eve@example.com", "viewer"]
    assert changed.out == "Ada: viewer\n"
    assert listed.out.splitlines()[1].split()[2] == "viewer"
    assert removed.out == "removed Ada\n"
    assert (await client.get("/api/user.all")).json() == []


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
