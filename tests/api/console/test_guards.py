"""A form does not overwrite what somebody else has changed since its page was opened."""

import asyncio
import html
import re
from collections.abc import Mapping
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.api.asking import create_application, create_registry, until
from tests.api.console.browsing import Browser
from tests.api.fleet import TestServer
from tests.databases import Database
from worker.local.postgres import OWNER

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "registry": ({"registryName": "other"}, "registryName: ours → other"),
    "webhook": ({"events": ["build.ended"]}, "event:deployment.ended: true → empty"),
    "server": ({"description": "other"}, "description: empty → other"),
    "application": ({"dockerImage": "nginx:2"}, "dockerImage: nginx:1 → nginx:2"),
}
"""By the thing: the other person's change, and how it is shown."""

PATHS = {"webhook": "edit", "server": "edit", "registry": "edit", "application": "settings"}
NOUNS = {"registry": "registries"}
WAITING = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
FIELD = re.compile(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"')


def typed(page: str, part: str = "") -> dict[str, str]:
    """Return what a browser would send of a page's form of this part."""
    start = f'name="part" value="{part}"' if part else '<form method="post" class="stack"'
    form = page.partition(start)[2].partition("</form>")[0]
    fields = {name: html.unescape(value) for name, value in FIELD.findall(form)}
    boxes = re.findall(r'type="checkbox" name="([^"]+)" value="true" checked', form)
    return {**fields, **dict.fromkeys(boxes, "true")}


async def make(client: httpx2.AsyncClient, server: TestServer, noun: str) -> dict[str, Any]:
    match noun:
        case "registry":
            return await create_registry(client, registryName="ours")
        case "server":
            return {"serverId": server.server_id, "name": "alpha"}
        case "application":
            return await create_application(client, dockerImage="nginx:1")
        case _:
            events = {"url": "https://a.example/", "events": ["build.ended", "deployment.ended"]}
            made: dict[str, Any] = (await client.post("/api/webhook.create", json=events)).json()
            return made


def mine(noun: str) -> Mapping[str, str]:
    """Return what is typed into the form that was opened before the other's change."""
    texts = {"registry": ("registryName", "mine"), "webhook": ("url", "https://a.example/mine")}
    name, text = texts.get(noun, ("name", "mine"))
    if noun == "application":
        return {"part": "source", "dockerImage": "nginx:3"}
    return {name: text, "kind": "keep"} if noun == "registry" else {name: text}


@pytest.mark.parametrize("noun", sorted(CHANGES))
async def test_a_change_of_another_editor_is_shown_and_not_overwritten(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, noun: str
) -> None:
    made = await make(client, server, noun)
    chosen = {f"{noun}Id": made[f"{noun}Id"]}
    path = f"/{NOUNS.get(noun, f'{noun}s')}/{made[f'{noun}Id']}/{PATHS[noun]}"
    opened = (await owner.get(path)).text
    part = "source" if noun == "application" else ""
    change, shown = CHANGES[noun]
    await client.post(f"/api/{noun}.update", json={**chosen, **change})

    refused = await owner.post(path, **{**typed(opened, part), **mine(noun)})
    stored = (await client.get(f"/api/{noun}.one", params=chosen)).json()
    again = await owner.post(path, **{**typed(refused.text, part), **mine(noun)})
    after = (await client.get(f"/api/{noun}.one", params=chosen)).json()

    assert refused.status_code == 409
    assert shown in html.unescape(refused.text) and "changed_meanwhile" in refused.text
    assert {name: stored[name] for name in change} == change
    assert again.status_code == 303, again.text
    assert after != stored


async def test_a_save_is_not_refused_for_what_a_process_writes_meanwhile(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    beat = {"incarnation": server.incarnation, "jobs": [], "draining": True}
    renewal = "UPDATE registry SET password = 'v1.x', password_expires_at = now()"
    writes: dict[str, tuple[str, str, tuple[Any, ...]]] = {
        "server": (server.url, "SELECT worker_v1.heartbeat(%s)", (Jsonb(beat),)),
        "registry": (database.url("wharf_control"), renewal, ()),
        "application": (database.url(OWNER), "UPDATE application SET last_version = 7", ()),
    }
    for noun, (url, statement, values) in writes.items():
        made = await make(client, server, noun)
        path = f"/{NOUNS.get(noun, f'{noun}s')}/{made[f'{noun}Id']}/{PATHS[noun]}"
        part = "source" if noun == "application" else ""
        form = {**typed((await owner.get(path)).text, part), **mine(noun)}

        with psycopg.connect(url) as process:
            process.execute(statement.encode(), values)
            save = asyncio.create_task(owner.post(path, **form))
            await until(lambda: database.execute(WAITING) == [(1,)])

        assert (await save).status_code == 303, noun


async def test_of_two_saves_at_once_one_is_refused(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    for noun in sorted(CHANGES):
        made = await make(client, server, noun)
        path = f"/{NOUNS.get(noun, f'{noun}s')}/{made[f'{noun}Id']}/{PATHS[noun]}"
        part = "source" if noun == "application" else ""
        form = {**typed((await owner.get(path)).text, part), **mine(noun)}
        [(name, text)] = [each for each in mine(noun).items() if each[1] not in {part, "keep"}]

        with psycopg.connect(database.url("wharf_api")) as holder:
            lock = f"SELECT FROM {noun} WHERE {noun}_id = %s FOR UPDATE"
            holder.execute(lock, (made[f"{noun}Id"],))
            forms = [{**form, name: f"{text}{number}"} for number in (1, 2)]
            saves = [asyncio.create_task(owner.post(path, **each)) for each in forms]
            await until(lambda: database.execute(WAITING) == [(2,)])
        answers = sorted(await asyncio.gather(*saves), key=lambda answer: answer.status_code)

        assert [answer.status_code for answer in answers] == [303, 409], noun
        assert "was changed by somebody else while this was being saved" in answers[1].text


async def test_an_application_s_warnings_reach_the_settings_page(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    made = await create_application(client, dockerImage="nginx:1")
    registry = (await create_registry(client))["registryId"]
    path = f"/applications/{made['applicationId']}/settings"

    answer = await owner.post(path, part="build", registryId=registry)
    page = (await owner.get(path)).text

    assert answer.status_code == 303
    assert "registryId has no effect: the image is at docker.io" in page


async def test_all_applications_rollback_points_are_paged(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    for number in range(21):
        await create_application(client, name=f"app-{number:02}", dockerImage="nginx:1")

    first = (await owner.get("/rollbacks")).text
    second = (await owner.get("/rollbacks", **{"from": "20"})).text

    assert "Applications 1 to 20 of 21" in first and 'href="/console/rollbacks?from=20"' in first
    assert "Applications 21 to 21 of 21" in second and 'rel="next"' not in second
