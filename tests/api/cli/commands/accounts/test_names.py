"""Things of the audit log, deliveries and personal keys are found by names and beginnings."""

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


async def test_the_log_is_filtered_by_names_and_beginnings(url: str, scene: Scene) -> None:
    await run(url, "key", "create", "pipeline")
    await run(url, "webhook", "create", "https://log.example/hook")

    of_name = await run(url, "audit", "list", "--of", "pipeline")
    of_beginning = await run(url, "audit", "list", "--of", "https://log")
    nobody_did = await run(url, "audit", "list", "--by", "Ada")
    unknown = await run(url, "audit", "list", "--of", "nothing")

    assert [row.split()[2] for row in of_name.out.splitlines()[1:]] == ["apiKey.create"]
    assert [row.split()[2] for row in of_beginning.out.splitlines()[1:]] == ["webhook.create"]
    assert (nobody_did.code, len(nobody_did.out.splitlines())) == (0, 1)
    assert (unknown.code, unknown.out) == (1, "")
    assert "there is nothing named nothing among: application, registry, server" in unknown.err


async def test_a_beginning_of_several_things_is_refused(url: str, scene: Scene) -> None:
    for name in ("twin-1", "twin-2"):
        await run(url, "key", "create", name)

    ran = await run(url, "audit", "list", "--of", "twin")

    assert ran.code == 1
    assert "2 things begin with twin" in ran.err


async def test_the_log_of_a_removed_thing_is_found_by_its_whole_id(url: str, scene: Scene) -> None:
    made = await run(url, "webhook", "create", "https://gone.example/", "--quiet")
    await run(url, "webhook", "remove", "https://gone.example/", "--yes")

    found = await run(url, "audit", "list", "--of", made.out.strip())

    assert len(found.out.splitlines()) == 3


async def test_a_delivery_is_sent_again_by_the_url_and_its_beginning(
    url: str, scene: Scene
) -> None:
    delivery, webhook_id = scene.names["delivery"], scene.names["subscribed"]
    await scene.post("webhook.update", webhookId=webhook_id, url="https://ours.example/hook")

    sent = await run(url, "webhook", "redeliver", "https://ours", delivery[:-1], "--quiet")
    unknown = await run(url, "webhook", "redeliver", "https://ours", "nothing")

    assert (sent.code, sent.out) == (0, f"{delivery}\n")
    assert unknown.code == 1
    assert "there is no delivery nothing" in unknown.err


async def test_personal_keys_are_listed_with_their_person_and_removed(
    url: str, scene: Scene
) -> None:
    scene.owner.execute(
        "INSERT INTO api_key (api_key_id, organization_id, name, role, member_id, start, key_hash)"
        " VALUES ('personal', %s, 'laptop', 'member', %s, 'wharf_abc', 'hash')",
        (scene.names["organization"], scene.names["member"]),
    )

    listed = await run(url, "key", "list")
    removed = await run(url, "key", "remove", "laptop", "--yes")

    [row] = [line.split() for line in listed.out.splitlines() if line.startswith("laptop")]
    assert row[:3] == ["laptop", "member", "Ada"]
    assert removed.out == "removed laptop\n"
