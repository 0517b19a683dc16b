"""Attacks with an invitation, a session, a key or the API's role in the database fail."""

import re

import httpx2
import pyotp
import pytest
from psycopg.errors import InsufficientPrivilege
from starlette.applications import Starlette

from tests.api.console.browsing import PASSWORD, Browser, invite, join, open_browser
from tests.api.console.conftest import OWNER
from tests.databases import Database

OF_THE_ROLE = (
    "UPDATE user_session SET last_used_at = 'infinity'",
    "UPDATE user_session SET organization_id = organization_id",
    "DELETE FROM user_session",
    "UPDATE user_account SET name = 'mine'",
    "UPDATE user_account SET proof_hash = 'x'",
    "UPDATE user_account SET second_factor = NULL",
    "SELECT proof_hash FROM user_account",
    "UPDATE member SET role = 'owner'",
    "DELETE FROM member",
    "INSERT INTO member SELECT 'mine', organization_id, user_id, 'owner' FROM member",
    "INSERT INTO user_session SELECT 'mine', user_id, organization_id, 'x', '', '' FROM member",
    "DELETE FROM invitation",
    "UPDATE invitation SET role = 'owner'",
    "INSERT INTO invitation SELECT 'mine', organization_id, NULL, 'owner', 'x' FROM member",
    "UPDATE api_key SET member_id = NULL",
)


@pytest.mark.parametrize("statement", OF_THE_ROLE)
async def test_the_role_of_the_api_changes_no_person_without_a_proof(
    owner: Browser, database: Database, statement: str
) -> None:
    invite(database, "viewer")
    async with database.session("wharf_api") as connection:
        with pytest.raises(InsufficientPrivilege):
            await connection.execute(statement.encode())


async def test_the_role_of_the_api_revives_no_session(owner: Browser, database: Database) -> None:
    database.execute("UPDATE user_session SET last_used_at = now() - interval '13 hours'")
    async with database.session("wharf_api") as connection:
        with pytest.raises(InsufficientPrivilege):
            await connection.execute(b"UPDATE user_session SET last_used_at = now()")


async def test_an_invitation_asks_for_the_second_factor_too(
    app: Starlette, owner: Browser, database: Database
) -> None:
    found = re.search(r'name="secret" value="([A-Z2-7]+)"', (await owner.get("/account")).text)
    assert found
    fields = {"secret": found[1], "code": pyotp.TOTP(found[1]).now(), "password": PASSWORD}
    assert (await owner.post("/account/second-factor", **fields)).status_code == 303

    async with open_browser(app) as thief:
        asked = await join(thief, invite(database, "viewer"), OWNER)
        wrong = await join(thief, invite(database, "viewer"), OWNER, code="000000")

        assert (asked.status_code, wrong.status_code) == (401, 401)
        assert "Code of your authenticator app" in asked.text
        assert thief.cookie is None


async def test_an_invitation_lowers_no_role(
    app: Starlette, owner: Browser, database: Database
) -> None:
    async with open_browser(app) as browser:
        assert (await join(browser, invite(database, "viewer"), OWNER)).status_code == 303

    assert database.execute("SELECT role FROM member") == [("owner",)]


async def test_an_invitation_of_a_removed_administrator_is_void(
    app: Starlette, owner: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    async with open_browser(app) as admin:
        await join(admin, invite(database, "admin"), "admin@example.com")
        await admin.get("/people")
        made = await admin.post("/people/invite", role="admin")
        token = re.search(r"/console/join/(\w[\w-]*)", made.text)
        assert token
        members = {m["role"]: m for m in (await client.get("/api/user.all")).json()}
        await client.post("/api/user.remove", json={"userId": members["admin"]["userId"]})

        assert (await join(admin, token[1], "admin@example.com")).status_code == 400


async def test_links_for_the_first_owner_are_void_once_there_is_one(
    app: Starlette, client: httpx2.AsyncClient
) -> None:
    body = {"role": "owner"}
    first, second = [
        (await client.post("/api/organization.inviteMember", json=body)).json()["path"]
        for _ in range(2)
    ]
    async with open_browser(app) as owner, open_browser(app) as late:
        joined = await join(owner, first.rpartition("/")[2], OWNER)
        refused = await join(late, second.rpartition("/")[2], "late@example.com")

    assert (joined.status_code, refused.status_code) == (303, 400)


async def test_a_personal_key_does_not_count_as_the_last_administrator_s(
    viewer: Browser, client: httpx2.AsyncClient
) -> None:
    await viewer.post("/account/keys", name="mine", password=PASSWORD)
    [own] = [key for key in (await client.get("/api/apiKey.all")).json() if not key["memberId"]]

    answer = await client.post("/api/apiKey.remove", json={"apiKeyId": own["apiKeyId"]})

    assert answer.json()["data"]["cause"]["code"] == "last_admin_key", answer.text


async def test_a_form_works_only_in_the_organization_that_it_was_shown_for(
    owner: Browser,
) -> None:
    await owner.get("/keys")
    shown = owner.csrf
    await owner.post("/organizations", name="second")
    await owner.get("")
    owner.csrf = shown

    assert (await owner.post("/keys", name="pipeline", role="member")).status_code == 403


async def test_a_stream_ends_when_its_session_changes_the_organization(
    app: Starlette, viewer: Browser, database: Database
) -> None:
    resources = app.state.resources
    [(session_id, organization_id)] = database.execute(
        "SELECT session_id, s.organization_id FROM user_session s JOIN user_account u"
        " USING (user_id) WHERE u.email = 'viewer@example.com'"
    )
    with resources.readers.enter(organization_id, session_id) as reader:
        await resources.readers.check(resources.pool)
        assert not reader.is_ended
        await viewer.post("/organizations", name="second")
        await resources.readers.check(resources.pool)

        assert reader.is_ended


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/sign-in", {"email": "a\0@example.com", "password": PASSWORD}),
        ("/join/x", {"name": "a\0", "email": "a@example.com", "password": PASSWORD}),
        ("/sign-in", {str(number): "" for number in range(5001)}),
        ("/sign-in", {"email": "a" * 20_000, "password": PASSWORD}),
    ],
    ids=["a NUL", "a NUL in a name", "too many fields", "too large"],
)
async def test_a_public_form_that_is_none_is_refused(
    browser: Browser, path: str, fields: dict[str, str]
) -> None:
    answer = await browser.post(path, **fields)

    assert answer.status_code in {400, 413}
    assert "content-security-policy" in answer.headers


async def test_a_secret_that_is_none_is_refused(owner: Browser) -> None:
    fields = {"secret": "!!!", "code": "1", "password": PASSWORD}

    assert (await owner.post("/account/second-factor", **fields)).status_code == 400


async def test_days_of_a_key_that_are_no_number_are_refused(owner: Browser) -> None:
    answer = await owner.post("/keys", name="x", role="viewer", days="9" * 5000)

    assert answer.status_code == 400
