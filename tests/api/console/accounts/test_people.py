"""Invitations, roles, keys, the account and organizations, each by its form."""

import re
from html import unescape

import httpx2
import pyotp
import pytest
from starlette.applications import Starlette

from api.accounts import second_factor
from tests.api.asking import create_application, open_client
from tests.api.console.browsing import PASSWORD, Browser, invite, join, open_browser
from tests.api.console.conftest import OWNER
from tests.databases import Database

NEW = "another correct horse"
LINK = re.compile(r"http://console\.example(/console/join/\w[\w-]*)")


def link_in(answer: httpx2.Response) -> str:
    found = LINK.search(answer.text)
    assert found, answer.text
    return found[1].removeprefix("/console/join/")


async def members(browser: Browser) -> dict[str, tuple[str, str]]:
    """Return name and role of all members by their e-mail address, with the id of each."""
    page = (await browser.get("/people")).text
    found = re.findall(r"<tr><td>(\w+)<br><small>([^<]+)</small>.*?</tr>", page, re.DOTALL)
    return {email: (name, page) for name, email in found}


async def test_an_owner_invites_a_person_who_then_belongs_to_it(
    app: Starlette, owner: Browser
) -> None:
    await owner.get("/people")
    made = await owner.post("/people/invite", email="New@Example.com", role="viewer")
    token = link_in(made)
    assert "new@example.com" in made.text

    async with open_browser(app) as browser:
        assert (await join(browser, token, "new@example.com", "Nora")).status_code == 303
        page = (await browser.get("/people")).text

    assert "Nora" in page
    assert "Invite a person" not in page
    assert token not in (await owner.get("/people")).text


@pytest.mark.parametrize("role", ["viewer", "member"])
async def test_who_is_no_administrator_invites_nobody(
    app: Starlette, owner: Browser, database: Database, role: str
) -> None:
    async with open_browser(app) as browser:
        await join(browser, invite(database, role), "plain@example.com")
        answer = await browser.post("/people/invite", role="viewer")

    assert answer.status_code == 403
    assert "this needs the role owner or admin" in answer.text


async def test_only_an_owner_names_owners(
    app: Starlette, owner: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    async with open_browser(app) as admin:
        await join(admin, invite(database, "admin"), "admin@example.com")
        assert (await admin.post("/people/invite", role="owner")).status_code == 403
    refused = await client.post("/api/organization.inviteMember", json={"role": "owner"})
    assert refused.status_code == 403
    listed = (await client.get("/api/user.all")).json()
    [admin_member] = [each for each in listed if each["role"] == "admin"]
    [owner_member] = [each for each in listed if each["role"] == "owner"]
    for member_id, role in ((admin_member["id"], "owner"), (owner_member["id"], "viewer")):
        body = {"memberId": member_id, "role": role}
        answer = await client.post("/api/organization.updateMemberRole", json=body)
        assert answer.status_code == 403
    removal = await client.post("/api/user.remove", json={"userId": owner_member["userId"]})
    assert removal.status_code == 403

    changed = await owner.post("/people/role", member_id=admin_member["id"], role="owner")

    assert changed.status_code == 303
    assert database.execute("SELECT count(*) FROM member WHERE role = 'owner'") == [(2,)]


async def test_an_administrator_s_key_invites_the_first_owner(
    app: Starlette, client: httpx2.AsyncClient
) -> None:
    created = (await client.post("/api/organization.inviteMember", json={"role": "owner"})).json()
    async with open_browser(app) as browser:
        token = created["path"].removeprefix("/console/join/")
        assert (await join(browser, token, OWNER)).status_code == 303

    again = await client.post("/api/organization.inviteMember", json={"role": "owner"})
    assert again.status_code == 403


async def test_the_last_owner_stays(owner: Browser, client: httpx2.AsyncClient) -> None:
    [member] = (await client.get("/api/user.all")).json()

    lowered = await owner.post("/people/role", member_id=member["id"], role="viewer")
    left = await owner.post("/organizations/leave")

    assert (lowered.status_code, left.status_code) == (409, 409)
    assert "last owner" in left.text


async def test_a_lowered_role_counts_for_the_next_request(
    owner: Browser, app: Starlette, client: httpx2.AsyncClient, database: Database
) -> None:
    async with open_browser(app) as admin:
        await join(admin, invite(database, "admin"), "admin@example.com")
        assert (await admin.get("/audit")).status_code == 200
        [found] = [m for m in (await client.get("/api/user.all")).json() if m["role"] == "admin"]
        await owner.post("/people/role", member_id=found["id"], role="viewer")

        assert (await admin.get("/audit")).status_code == 403
        assert (await admin.post("/keys", name="mine", role="admin")).status_code == 403


async def test_a_removed_member_is_gone_at_once(
    owner: Browser, viewer: Browser, client: httpx2.AsyncClient
) -> None:
    [found] = [m for m in (await client.get("/api/user.all")).json() if m["role"] == "viewer"]
    asked = await owner.get("/people/remove", user=found["userId"])
    assert "Vera" in asked.text

    await owner.post("/people/remove", user_id=found["userId"])

    assert (await viewer.get("/people")).status_code == 303


async def test_a_removed_invitation_is_not_accepted(app: Starlette, owner: Browser) -> None:
    await owner.get("/people")
    token = link_in(await owner.post("/people/invite", role="member"))
    page = (await owner.get("/people")).text
    invitation = re.search(r'name="invitation_id" value="([^"]+)"', page)
    assert invitation

    await owner.post("/people/invitations/remove", invitation_id=invitation[1])

    async with open_browser(app) as browser:
        assert (await join(browser, token, "late@example.com")).status_code == 400


async def test_a_key_is_created_shown_once_and_removed(app: Starlette, owner: Browser) -> None:
    await owner.get("/keys")
    made = await owner.post("/keys", name="pipeline", role="viewer", days="30")
    key = re.search(r'data-copy="(wharf_[^"]+)"', made.text)
    assert key
    async with open_client(app, key[1]) as client:
        assert (await client.get("/api/registry.all")).status_code == 200
        page = (await owner.get("/keys")).text
        assert key[1] not in page
        listed = {each["role"]: each for each in (await client.get("/api/apiKey.all")).json()}

        await owner.post("/keys/remove", api_key_id=listed["viewer"]["apiKeyId"])

        assert (await client.get("/api/registry.all")).status_code == 401


async def test_a_personal_key_has_the_role_of_its_person_and_goes_with_the_membership(
    app: Starlette, owner: Browser, viewer: Browser, client: httpx2.AsyncClient
) -> None:
    made = await viewer.post("/account/keys", name="mine", password=PASSWORD)
    key = re.search(r'data-copy="(wharf_[^"]+)"', made.text)
    assert key
    async with open_client(app, key[1]) as personal:
        assert (await personal.get("/api/registry.all")).status_code == 200
        body = {"name": "more", "role": "admin"}
        assert (await personal.post("/api/apiKey.create", json=body)).status_code == 403
        [member] = [m for m in (await client.get("/api/user.all")).json() if m["role"] == "viewer"]
        [listed] = [k for k in (await client.get("/api/apiKey.all")).json() if k["memberId"]]
        assert (listed["memberId"], listed["role"]) == (member["id"], "viewer")

        assert (
            await owner.post("/account/keys/remove", api_key_id=listed["apiKeyId"])
        ).status_code == 404
        raised = {"memberId": member["id"], "role": "admin"}
        await client.post("/api/organization.updateMemberRole", json=raised)
        assert (await personal.post("/api/apiKey.create", json=body)).status_code == 200

        await client.post("/api/user.remove", json={"userId": member["userId"]})
        assert (await personal.get("/api/registry.all")).status_code == 401


async def test_a_personal_key_is_removed_by_its_person(app: Starlette, viewer: Browser) -> None:
    made = await viewer.post("/account/keys", name="mine", password=PASSWORD)
    key = re.search(r'data-copy="(wharf_[^"]+)"', made.text)
    chosen = re.search(r'name="api_key_id" value="([^"]+)"', made.text)
    assert key
    assert chosen

    assert (await viewer.post("/account/keys/remove", api_key_id=chosen[1])).status_code == 303

    async with open_client(app, key[1]) as personal:
        assert (await personal.get("/api/registry.all")).status_code == 401


async def test_a_key_is_limited_to_the_applications_that_are_ticked(
    app: Starlette, owner: Browser, client: httpx2.AsyncClient
) -> None:
    chosen = (await create_application(client, name="web"))["applicationId"]
    await create_application(client, name="shop")
    assert f'name="application-{chosen}"' in (await owner.get("/keys")).text

    made = await owner.post(
        "/keys", name="pipeline", role="member", **{f"application-{chosen}": "true"}
    )

    key = re.search(r'data-copy="(wharf_[^"]+)"', made.text)
    assert key
    async with open_client(app, key[1]) as limited:
        listed = (await limited.get("/api/application.all")).json()
    assert [each["name"] for each in listed] == ["web"]


async def test_a_key_that_cannot_be_made_keeps_what_was_typed(owner: Browser) -> None:
    answer = await owner.post("/keys", name="pipeline", role="member", networks="10.0.0.0/99")

    assert answer.status_code == 400
    assert 'value="10.0.0.0/99"' in answer.text


async def test_a_password_is_changed_and_ends_other_sessions(
    browser: Browser, owner: Browser
) -> None:
    await browser.sign_in(OWNER)
    wrong = await owner.post("/account/password", password="not the password", new=NEW)
    assert wrong.status_code == 400
    assert NEW not in wrong.text

    assert (await owner.post("/account/password", password=PASSWORD, new=NEW)).status_code == 303

    assert (await owner.get("/people")).status_code == 200
    assert (await browser.get("/people")).status_code == 303
    assert (await browser.sign_in(OWNER, PASSWORD)).status_code == 401
    assert (await browser.sign_in(OWNER, NEW)).status_code == 303


async def test_a_second_factor_is_asked_for_after_the_password(
    browser: Browser, owner: Browser, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000
    monkeypatch.setattr(second_factor, "_now", lambda: now)
    page = (await owner.get("/account")).text
    found = re.search(r'name="secret" value="([A-Z2-7]+)"', page)
    assert found
    totp = pyotp.TOTP(found[1])
    refused = await owner.post(
        "/account/second-factor", secret=found[1], code="000000", password=PASSWORD
    )
    assert refused.status_code == 400
    fields = {"secret": found[1], "password": PASSWORD}
    code = totp.at(now)
    done = await owner.post("/account/second-factor", code=code, **fields)
    assert done.status_code == 303

    asked = await browser.sign_in(OWNER)
    assert asked.status_code == 401
    assert "Code of your authenticator app" in unescape(asked.text)
    assert (await browser.sign_in(OWNER, code="000000")).status_code == 401
    assert (await browser.sign_in(OWNER, code=code)).status_code == 401, "it was used"
    later = totp.at(now + 30)
    assert (await browser.sign_in(OWNER, code=later)).status_code == 303
    stored = database.execute(
        "SELECT count(*) FROM user_account WHERE position(%s::bytea IN second_factor) > 0",
        found[1].encode(),
    )
    assert stored == [(0,)]

    await owner.post("/account/password", password=PASSWORD, new=NEW)
    assert (await browser.sign_in(OWNER, NEW)).status_code == 401
    without = await owner.post("/account/second-factor/remove", password=NEW)
    assert without.status_code == 400
    used = totp.at(now - 30)
    before = await owner.post("/account/second-factor/remove", password=NEW, code=used)
    assert before.status_code == 400, "a later one was used"
    now += 60
    last = totp.at(now)
    await owner.post("/account/second-factor/remove", password=NEW, code=last)
    assert (await browser.sign_in(OWNER, NEW)).status_code == 303


async def test_an_organization_is_created_switched_and_left(
    app: Starlette, owner: Browser, database: Database
) -> None:
    created = await owner.post("/organizations", name="second")
    assert created.status_code == 303
    page = (await owner.get("/organizations")).text
    assert "owner of second" in page
    assert (await owner.get("/registries")).status_code == 200
    first = re.search(r'name="organization_id" value="([^"]+)"', page)
    assert first

    await owner.post("/organizations/switch", organization_id=first[1])

    assert "owner of default" in (await owner.get("")).text
    foreign = await owner.post("/organizations/switch", organization_id="another")
    assert foreign.status_code == 404


async def test_the_audit_page_names_who_did_what(owner: Browser) -> None:
    await owner.get("/people")
    await owner.post("/people/invite", email="x@example.com", role="member")

    page = (await owner.get("/audit", action="organization")).text

    assert "organization.inviteMember" in page
    assert ">Ada</a>" in page
    assert "user.signIn" not in page
    assert "user.signIn" in (await owner.get("/audit", action="user.signIn")).text


async def test_outside_of_the_networks_a_person_may_only_leave(
    owner: Browser, database: Database
) -> None:
    database.execute("UPDATE member SET networks = '{10.0.0.0/8}'")

    refused = [await owner.get(path) for path in ("/people", "/account")]
    organizations = await owner.get("/organizations")
    left = await owner.post("/sign-out")

    assert [each.status_code for each in refused] == [403, 403]
    assert "may not be used from 127.0.0.1" in refused[0].text
    assert OWNER not in refused[0].text.split("<main")[1]
    assert (organizations.status_code, left.status_code) == (200, 303)


async def test_an_owner_limits_the_own_networks_in_the_console(
    owner: Browser, database: Database
) -> None:
    [(member_id,)] = database.execute("SELECT member_id FROM member")
    await owner.get("/people")

    fields = {"member_id": str(member_id), "networks": "10.0.0.0/8"}
    refused = await owner.post("/people/networks", **fields)
    changed = await owner.post("/people/networks", **fields, force="on")
    after = await owner.get("/people")

    assert (refused.status_code, changed.status_code, after.status_code) == (409, 303, 403)
    assert "do not contain your own address, 127.0.0.1" in refused.text
