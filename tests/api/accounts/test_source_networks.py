"""Source networks of organizations, members and servers."""

from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from shared.vault import PrivateKey
from tests.api.asking import ADMIN_KEY
from tests.api.fleet import make_verifier
from tests.databases import Database

OFFICE = ("10.1.2.3", 4000)
PROOF = {"publicKey": str(PrivateKey.generate().public), "roleVerifier": make_verifier("p")}
HOME = ("192.0.2.7", 4000)


def open_from(app: Starlette, client: tuple[str, int], key: str = ADMIN_KEY) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=client)
    headers = {"x-api-key": key}
    return httpx2.AsyncClient(transport=transport, base_url="http://api.test", headers=headers)


async def ask(client: httpx2.AsyncClient, name: str, body: dict[str, Any]) -> httpx2.Response:
    return await client.post(f"/api/{name}", json=body)


def refusals(database: Database) -> list[tuple[object, ...]]:
    """Return action and data of each refusal, and whether it names an actor."""
    return database.execute(
        "SELECT action, data, actor_id IS NOT NULL FROM audit_event"
        " WHERE right(action, 13) = 'refuseAddress'"
    )


async def test_an_organization_is_used_only_from_its_networks_and_records_refusals(
    app: Starlette, database: Database
) -> None:
    async with open_from(app, OFFICE) as office, open_from(app, HOME) as home:
        set_up = await ask(office, "organization.updateSettings", {"networks": ["10.0.0.0/8"]})
        inside = await office.get("/api/registry.all")
        outside = [await home.get("/api/registry.all") for _ in range(2)]

    assert set_up.json()["networks"] == ["10.0.0.0/8"]
    assert inside.status_code == 200
    assert [each.status_code for each in outside] == [403, 403]
    assert outside[0].json()["message"] == "this organization may not be used from 192.0.2.7"
    assert outside[0].json()["data"]["cause"]["code"] == "address_refused"
    data = {"address": "192.0.2.7", "networksOf": "organization"}
    assert refusals(database) == [("organization.refuseAddress", data, True)]


async def test_other_addresses_of_one_ipv6_network_record_no_further_refusal(
    app: Starlette, database: Database
) -> None:
    async with open_from(app, OFFICE) as office:
        await ask(office, "organization.updateSettings", {"networks": ["10.0.0.0/8"]})
    for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
        async with open_from(app, (host, 4000)) as outside:
            assert (await outside.get("/api/registry.all")).status_code == 403

    recorded = [data for _, data, _ in refusals(database)]
    assert recorded == [
        {"address": host, "networksOf": "organization"}
        for host in ("2001:db8::1", "2001:db8:0:1::1")
    ]


@pytest.mark.parametrize(("force", "status"), [(False, 409), (True, 200)])
async def test_nobody_excludes_the_own_address_by_mistake(
    app: Starlette, database: Database, *, force: bool, status: int
) -> None:
    body = {"networks": ["10.0.0.0/8"], "force": force}

    async with open_from(app, HOME) as home:
        answer = await ask(home, "organization.updateSettings", body)
        after = await home.get("/api/organization.settings")

    assert answer.status_code == status
    assert after.status_code == (403 if force else 200)
    if not force:
        assert answer.json()["data"]["cause"]["code"] == "would_lock_out"
        assert after.json()["networks"] == []


async def test_a_member_s_keys_are_used_only_from_the_member_s_networks(
    app: Starlette, client: httpx2.AsyncClient, database: Database
) -> None:
    key = {"name": "of a person", "role": "admin"}
    created = (await ask(client, "apiKey.create", key)).json()
    database.execute(
        "INSERT INTO user_account (user_id, email, name, salt, derivation, proof_hash)"
        " VALUES ('u', 'ada@example.com', 'Ada', '', '{}', '')"
    )
    database.execute(
        "INSERT INTO member (member_id, organization_id, user_id, role)"
        " SELECT 'm', organization_id, 'u', 'admin' FROM organization"
    )
    database.execute(
        f"UPDATE api_key SET member_id = 'm' WHERE api_key_id = '{created['apiKeyId']}'"
    )

    limits = {"memberId": "m", "networks": ["10.0.0.0/8"]}
    async with open_from(app, HOME, created["key"]) as home:
        own = await ask(home, "organization.updateMemberNetworks", limits)
    assert (own.status_code, own.json()["data"]["cause"]["code"]) == (409, "would_lock_out")
    assert (await ask(client, "organization.updateMemberNetworks", limits)).json() is True
    async with open_from(app, OFFICE, created["key"]) as office:
        inside = await office.get("/api/registry.all")
    async with open_from(app, HOME, created["key"]) as home:
        outside = await home.get("/api/registry.all")
    [listed] = (await client.get("/api/user.all")).json()

    assert (inside.status_code, outside.status_code) == (200, 403)
    assert listed["networks"] == ["10.0.0.0/8"]
    data = {"address": "192.0.2.7", "networksOf": "member"}
    assert refusals(database) == [("organization.refuseAddress", data, True)]


@pytest.mark.parametrize("of_organization", [False, True])
async def test_a_server_joins_only_from_its_networks_and_its_token_stays_valid(
    app: Starlette, database: Database, *, of_organization: bool
) -> None:
    own = [] if of_organization else ["10.0.0.0/8"]
    async with open_from(app, OFFICE) as office, open_from(app, HOME) as home:
        body = {"name": "web-1", "networks": own}
        created = (await ask(office, "server.create", body)).json()
        if of_organization:
            await ask(office, "organization.updateSettings", {"serverNetworks": ["10.0.0.0/8"]})
        enrol = {**PROOF, "joinToken": created["joinToken"]}
        outside = await ask(home, "server.enroll", enrol)
        inside = await ask(office, "server.enroll", enrol)
        [joined] = (await office.get("/api/server.all")).json()

    assert created["networks"] == own
    assert (outside.status_code, outside.json()["data"]["cause"]["code"]) == (
        403,
        "address_refused",
    )
    assert inside.json()["serverId"] == created["serverId"]
    assert joined["ipAddress"] == OFFICE[0]
    assert refusals(database) == [("server.refuseAddress", {"address": "192.0.2.7"}, False)]
