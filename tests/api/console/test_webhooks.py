"""The pages of webhooks: add, change, disable and remove one, and send a message again."""

import json
from typing import Any

import httpx2
from starlette.applications import Starlette

from shared.ids import make_id
from tests.api.asking import open_client
from tests.api.conftest import add_organization
from tests.api.console.browsing import Browser, invite, join, open_browser
from tests.api.console.hostile import HOSTILE, require_text
from tests.databases import Database

URL = "https://ci.example.com/hooks/a-secret-path"
ACTIONS = ("edit", "enable", "disable", "remove")


async def create(client: httpx2.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/api/webhook.create", json={"url": URL, **changes})
    created: dict[str, Any] = answer.json()
    return created


async def list_all(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/api/webhook.all")).json()
    return found


def store_delivery(database: Database, webhook_id: str, **payload: Any) -> str:
    """Store a message whose last attempt was answered with 500."""
    delivery_id = make_id()
    database.execute(
        "INSERT INTO webhook_delivery (delivery_id, webhook_id, organization_id, event, subject_id,"
        " payload, attempts, due_at, failed_at, status) SELECT %s, webhook_id, organization_id,"
        " 'job.ended', gen_random_uuid()::text, %s::jsonb, 7, NULL, now(), 500 FROM webhook"
        " WHERE webhook_id = %s",
        delivery_id,
        json.dumps(payload),
        webhook_id,
    )
    return delivery_id


async def test_the_first_webhook_is_added_and_its_secret_shown_once(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    assert "There is no webhook yet" in (await owner.get("/webhooks")).text
    await owner.get("/webhooks/new")

    added = await owner.post("/webhooks/new", url=URL, **{"event:job.ended": "true"})

    [webhook] = await list_all(client)
    assert (webhook["url"], webhook["events"]) == (URL, ["job.ended"])
    assert "whsec_" in added.text
    shown = (await owner.get(f"/webhooks/{webhook['webhookId']}")).text
    assert "whsec_" not in shown
    assert URL in shown


async def test_a_refused_webhook_keeps_what_was_typed(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    await owner.get("/webhooks/new")

    wrong = await owner.post("/webhooks/new", url="ftp://kept", **{"event:job.ended": "true"})
    empty = await owner.post("/webhooks/new", url=URL)

    assert (wrong.status_code, "url_invalid" in wrong.text) == (400, True)
    assert 'value="ftp://kept"' in wrong.text
    assert wrong.text.count(" checked") == 1
    assert (empty.status_code, "events" in empty.text) == (400, True)
    assert await list_all(client) == []


async def test_a_webhook_is_changed_and_a_new_host_gets_a_new_secret(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    webhook = await create(client)
    path = f"/webhooks/{webhook['webhookId']}/edit"
    assert (await owner.get(path)).text.count(" checked") == len(webhook["events"])

    same = await owner.post(path, url=URL, **{"event:build.ended": "true"})
    moved = await owner.post(path, url="https://other.example", **{"event:build.ended": "true"})

    assert (same.status_code, same.text) == (303, "")
    assert "whsec_" in moved.text
    [stored] = await list_all(client)
    assert (stored["url"], stored["events"]) == ("https://other.example", ["build.ended"])


async def test_a_webhook_is_disabled_enabled_and_removed(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    path = f"/webhooks/{(await create(client))['webhookId']}"
    await owner.get(path)

    await owner.post(f"{path}/disable")
    assert [each["enabled"] for each in await list_all(client)] == [False]
    assert "Enable" in (await owner.get(path)).text
    await owner.post(f"{path}/enable")
    assert [each["enabled"] for each in await list_all(client)] == [True]
    assert "gets no more messages" in (await owner.get(f"{path}/remove")).text
    await owner.post(f"{path}/remove")

    assert await list_all(client) == []


async def test_a_message_is_sent_again(
    owner: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    webhook = await create(client)
    delivery_id = store_delivery(database, webhook["webhookId"], jobId="the-job")
    path = f"/webhooks/{webhook['webhookId']}"
    page = (await owner.get(path)).text
    assert "500" in page
    assert "the-job" in page
    delivered = (await owner.get(path, state="delivered")).text
    assert "None of this state" in delivered
    assert f'data-address="/console{path}?state=delivered"' in delivered

    answer = await owner.post(f"{path}/deliveries/{delivery_id}")

    assert answer.headers["location"] == f"/console{path}"
    chosen = {"webhookId": webhook["webhookId"]}
    [delivery] = (await client.get("/api/webhook.deliveries", params=chosen)).json()
    assert (delivery["state"], delivery["attempts"]) == ("pending", 0)
    await owner.post(f"{path}/disable")
    refused = await owner.post(f"{path}/deliveries/{delivery_id}")
    assert (refused.status_code, "webhook_disabled" in refused.text) == (412, True)


async def test_text_of_messages_is_shown_as_text(
    owner: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    webhook = await create(client)
    store_delivery(
        database, webhook["webhookId"], name=HOSTILE.replace("\x1b", "").replace("\x07", "")
    )
    database.execute("UPDATE webhook_delivery SET status = NULL, code = %s", HOSTILE)

    require_text((await owner.get(f"/webhooks/{webhook['webhookId']}")).text)


async def test_only_administrators_see_the_path_of_an_address(
    app: Starlette, owner: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    await create(client)
    async with open_browser(app) as member:
        await join(member, invite(database, "member"), "member@example.com", "Max")

        hidden = (await member.get("/webhooks")).text

    assert "a-secret-path" not in hidden
    assert "https://ci.example.com/…" in hidden
    assert "a-secret-path" in (await owner.get("/webhooks")).text


async def test_a_viewer_sees_no_action_and_may_do_none(
    owner: Browser, viewer: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    webhook = await create(client)
    delivery_id = store_delivery(database, webhook["webhookId"])
    path = f"/webhooks/{webhook['webhookId']}"
    page = (await viewer.get(path)).text + (await viewer.get("/webhooks")).text
    before = await list_all(client)

    names = [*ACTIONS, f"deliveries/{delivery_id}"]
    answers = [(await viewer.post(f"{path}/{name}", url=URL)).status_code for name in names]
    new = await viewer.post("/webhooks/new", url=URL, **{"event:job.ended": "true"})

    assert 'action="/console/webhooks' not in page
    assert "/console/webhooks/new" not in page
    assert answers == [403] * len(names)
    assert new.status_code == 403
    assert await list_all(client) == before


async def test_a_webhook_of_another_organization_is_not_found(
    app: Starlette, owner: Browser, database: Database
) -> None:
    async with open_client(app, add_organization(database)) as stranger:
        webhook = await create(stranger)
    delivery_id = store_delivery(database, webhook["webhookId"])
    path = f"/webhooks/{webhook['webhookId']}"
    await owner.get("/webhooks")

    names = [*ACTIONS, f"deliveries/{delivery_id}"]
    pages = [(await owner.get(f"{path}{end}")).status_code for end in ("", "/edit", "/remove")]
    posts = [(await owner.post(f"{path}/{name}", url=URL)).status_code for name in names]

    assert pages == [404] * 3
    assert posts == [404] * len(names)
