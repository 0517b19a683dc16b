"""Webhooks: kept with a secret that is shown once, changed, removed; what was sent to them."""

import asyncio
from typing import Any

import httpx2
import psycopg
import pytest

from shared.vault import KeyRing, SealContext
from tests.api.asking import until
from tests.api.deploying import DIGEST, create_deployable, deploy, reconcile, replace_next
from tests.api.fleet import TestServer
from tests.databases import Database
from worker.local.postgres import OWNER

URL = "https://Hooks.Example:8443/team/a?key=b"
HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
CREATE TRIGGER hold AFTER UPDATE ON webhook FOR EACH ROW EXECUTE FUNCTION hold();
"""
"""A change of a webhook waits, with the row locked."""

WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted"
ALL = [
    *("build.ended", "certificate.due", "certificate.expired"),
    *("credential.due", "credential.expired", "credential.refused"),
    *("credential.rolled_back", "credential.rotated", "credential.rotation_refused"),
    *("deployment.ended", "job.ended"),
]


async def create(client: httpx2.AsyncClient, url: str = URL, **more: Any) -> dict[str, Any]:
    answer = await client.post("/api/webhook.create", json={"url": url, **more})
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def change(client: httpx2.AsyncClient, webhook_id: str, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/api/webhook.update", json={"webhookId": webhook_id, **changes})
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


async def sent(client: httpx2.AsyncClient, webhook_id: str, **more: Any) -> list[dict[str, Any]]:
    answer = await client.get("/api/webhook.deliveries", params={"webhookId": webhook_id, **more})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def open_secret(database: Database, vault: KeyRing, webhook_id: str, host: str) -> str:
    [(organization_id, sealed)] = database.execute(
        "SELECT organization_id, secret FROM webhook WHERE webhook_id = %s", webhook_id
    )
    return vault.open(
        str(sealed), SealContext("webhook", str(organization_id), webhook_id, host, "")
    )


async def test_its_secret_is_shown_once_and_kept_sealed_for_its_host(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing
) -> None:
    created = await create(client)

    shown = {**created}
    secret = shown.pop("secret")
    chosen = {"webhookId": created["webhookId"]}
    assert secret.startswith("whsec_")
    assert (await client.get("/api/webhook.one", params=chosen)).json() == shown
    assert (await client.get("/api/webhook.all")).json() == [shown]
    assert (shown["url"], shown["events"], shown["enabled"]) == (URL, ALL, True)
    opened = open_secret(database, vault, created["webhookId"], "hooks.example:8443")
    assert opened == secret


async def test_another_path_keeps_the_secret_and_another_host_makes_a_new_one(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing
) -> None:
    created = await create(client)

    same = await change(client, created["webhookId"], url="https://hooks.example:8443/b")
    moved = await change(client, created["webhookId"], url="https://hooks.example/b")

    assert same["secret"] is None
    assert moved["secret"] not in {None, created["secret"]}
    opened = open_secret(database, vault, created["webhookId"], "hooks.example")
    assert (moved["url"], opened) == ("https://hooks.example/b", moved["secret"])


async def test_only_what_is_given_changes(client: httpx2.AsyncClient) -> None:
    created = await create(client, events=["job.ended"])

    off = await change(client, created["webhookId"], enabled=False)
    fewer = await change(client, created["webhookId"], events=["build.ended", "build.ended"])
    on = await change(client, created["webhookId"], enabled=True)

    assert (off["enabled"], off["disabledAt"] is None, off["events"]) == (
        False,
        False,
        ["job.ended"],
    )
    assert (fewer["enabled"], fewer["events"]) == (False, ["build.ended"])
    assert (on["enabled"], on["disabledAt"], on["url"]) == (True, None, URL)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://hooks.example/", "url_invalid"),
        ("hooks.example/a", "url_invalid"),
        ("https://user:password@hooks.example/", "url_invalid"),
        ("https://hooks.example/#a", "url_invalid"),
        ("https://hooks.example/a b", "url_invalid"),
        ("https://hooks.example:99999/", "url_invalid"),
        ("https://hooks.example:0/", "url_invalid"),
        ("https://127.1/", "url_invalid"),
        ("https://[::1]/", "url_invalid"),
        ("https:///a", "url_invalid"),
        ("https://169.254.169.254/latest", "network_refused"),
        ("https://127.0.0.1/", "network_refused"),
        ("http://localhost:9000/", "network_refused"),
        ("http://10.0.0.1/", "network_refused"),
        ("https://10.0.0.1/", "network_refused"),
        ("http://93.184.216.34/", "network_refused"),
    ],
)
async def test_a_url_that_cannot_be_reached_is_refused(
    client: httpx2.AsyncClient, url: str, code: str
) -> None:
    answer = await client.post("/api/webhook.create", json={"url": url})

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (400, code)
    assert (await client.get("/api/webhook.all")).json() == []


@pytest.mark.parametrize("events", [[], ["job.began"], "job.ended", None])
async def test_events_are_some_of_those_that_there_are(
    client: httpx2.AsyncClient, events: object
) -> None:
    answer = await client.post("/api/webhook.create", json={"url": URL, "events": events})

    assert answer.status_code == 400


async def test_there_is_room_for_twenty(client: httpx2.AsyncClient) -> None:
    for number in range(20):
        await create(client, f"https://hooks.example/{number}")

    answer = await client.post("/api/webhook.create", json={"url": URL})

    cause = answer.json()["data"]["cause"]
    assert (answer.status_code, cause["code"]) == (409, "quota_exceeded")
    assert "has 20 webhooks; its quota is 20" in answer.json()["message"]
    assert "WHARF_QUOTA_WEBHOOKS" in cause["remedy"]


async def test_there_is_room_for_no_more_where_many_are_made_at_once(
    client: httpx2.AsyncClient, database: Database
) -> None:
    for number in range(19):
        await create(client, f"https://hooks.example/{number}")

    async with await psycopg.AsyncConnection.connect(database.url(OWNER)) as held:
        await held.execute("LOCK TABLE audit_event IN EXCLUSIVE MODE")
        requested = [client.post("/api/webhook.create", json={"url": URL}) for _ in range(3)]
        making = asyncio.gather(*requested)
        await until(lambda: len(database.execute(WAITING)) >= 2)
        await held.rollback()
        answers = await making

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert len((await client.get("/api/webhook.all")).json()) == 20


async def test_a_build_a_deployment_and_their_jobs_are_delivered(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    everything = (await create(client))["webhookId"]
    ends = (await create(client, events=["deployment.ended", "build.ended"]))["webhookId"]
    application = await create_deployable(client, [server])

    deployed = await deploy(client, application["applicationId"])
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    await replace_next(server)
    await reconcile(server)
    await reconcile(server)

    delivered = await sent(client, ends)
    assert [each["event"] for each in delivered] == ["deployment.ended", "build.ended"]
    assert len({each["deliveryId"] for each in delivered}) == 2
    data = delivered[0]["payload"]["data"]
    assert data["deploymentId"] == deployed["deploymentId"]
    assert (data["applicationId"], data["state"]) == (application["applicationId"], "succeeded")
    assert (data["reference"], data["digest"]) == (deployed["reference"], DIGEST)
    assert data["error"] is None
    assert len(await sent(client, everything)) == 6
    assert len(await sent(client, everything, limit=4)) == 4


async def test_a_message_is_sent_again_on_request(
    client: httpx2.AsyncClient, database: Database, server: TestServer
) -> None:
    webhook_id = (await create(client))["webhookId"]
    await client.post("/api/image.pull", json={"image": "nginx"})
    await server.succeed_next({"reference": "nginx"})
    database.execute(
        "UPDATE webhook_delivery SET attempts = 8, due_at = NULL, failed_at = now(), status = 500"
    )
    [failed] = await sent(client, webhook_id)

    chosen = {"deliveryId": failed["deliveryId"]}
    again = (await client.post("/api/webhook.redeliver", json=chosen)).json()

    assert (failed["state"], failed["attempts"], failed["status"]) == ("failed", 8, 500)
    assert (again["state"], again["attempts"], again["failedAt"]) == ("pending", 0, None)
    assert await sent(client, webhook_id) == [again]

    await change(client, webhook_id, enabled=False)
    refused = await client.post("/api/webhook.redeliver", json=chosen)
    assert refused.json()["data"]["cause"]["code"] == "webhook_disabled"


async def test_an_endpoint_that_is_being_changed_takes_messages_and_holds_no_job_up(
    client: httpx2.AsyncClient, database: Database, server: TestServer
) -> None:
    webhook_id = (await create(client))["webhookId"]
    await client.post("/api/image.pull", json={"image": "nginx"})
    job = await server.next_job()

    async with await psycopg.AsyncConnection.connect(database.url(OWNER)) as held:
        await held.execute(HOLD)
        await held.commit()
        try:
            await held.execute("SELECT pg_advisory_xact_lock(7)")
            changed = ["build.ended", "job.ended"]
            changing = asyncio.create_task(change(client, webhook_id, events=changed))
            await until(lambda: database.execute(WAITING) != [])
            async with asyncio.timeout(5):
                await server.finish(job, "succeeded", result={"reference": "nginx"})
            await held.commit()
            await changing
        finally:
            await held.execute("DROP FUNCTION hold() CASCADE")

    [delivered] = await sent(client, webhook_id)
    assert delivered["payload"]["data"]["jobId"] == job.job_id


async def test_changed_fields_are_audited_without_the_path(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create(client)
    await change(client, created["webhookId"], enabled=False)
    removed = await client.post("/api/webhook.remove", json={"webhookId": created["webhookId"]})

    assert removed.json()["webhookId"] == created["webhookId"]
    rows = database.execute(
        "SELECT action, data::text FROM audit_event WHERE action LIKE 'webhook.%%' ORDER BY at"
    )
    assert [action for action, _ in rows] == ["webhook.create", "webhook.update", "webhook.remove"]
    assert not [data for _, data in rows if "team" in str(data) or created["secret"] in str(data)]
