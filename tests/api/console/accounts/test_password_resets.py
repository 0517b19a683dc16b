"""Links for a new password: who makes one for whom, once, and what ends when it is used."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import psycopg
import pytest
from starlette.applications import Starlette

from api.accounts.passwords import Derivation
from api.procedure.auth import proof_of
from tests.api.accounts.test_key_limits import create
from tests.api.asking import open_client
from tests.api.console.accounts.test_sign_in import stop_the_clock
from tests.api.console.browsing import PASSWORD, Browser, invite, join, open_browser
from tests.api.console.conftest import OWNER
from tests.databases import Database

NEW = "another correct horse"
MEMBER, ADMIN = "member@example.com", "admin@example.com"
LINK = re.compile(r"http://console\.example/console(/reset/whr_[\w-]+)")


@pytest.fixture
async def member(app: Starlette, owner: Browser, database: Database) -> AsyncIterator[Browser]:
    async with open_browser(app) as browser:
        assert (await join(browser, invite(database, "member"), MEMBER)).status_code == 303
        yield browser


@pytest.fixture
async def admin(app: Starlette, owner: Browser, database: Database) -> AsyncIterator[Browser]:
    async with open_browser(app) as browser:
        assert (await join(browser, invite(database, "admin"), ADMIN)).status_code == 303
        yield browser


def user_id(database: Database, email: str) -> str:
    [(found,)] = database.execute("SELECT user_id FROM user_account WHERE email = %s", email)
    return str(found)


async def make_link(maker: Browser, database: Database, email: str) -> str:
    """Return the path of a link for a new password."""
    await maker.get("/people")
    made = await maker.post("/people/reset", user_id=user_id(database, email))
    found = LINK.search(made.text)
    assert found, made.text
    assert found[1] not in (await maker.get("/people")).text
    return found[1]


async def use(browser: Browser, path: str, password: str = NEW) -> httpx2.Response:
    return await browser.post(path, password=password, again=password)


async def test_a_link_changes_the_password_once_and_ends_all_sessions(
    app: Starlette, admin: Browser, member: Browser, browser: Browser, database: Database
) -> None:
    path = await make_link(admin, database, MEMBER)
    assert (await browser.get(path)).status_code == 200
    different = await browser.post(path, password=NEW, again="something else here")
    short = await use(browser, path, "short")
    assert (different.status_code, short.status_code) == (400, 400)
    assert NEW not in different.text

    changed = await use(browser, path)

    assert (changed.status_code, changed.headers["location"]) == (303, "/console/sign-in")
    assert browser.cookie is None
    assert (await member.get("/registries")).status_code == 303
    assert (await browser.sign_in(MEMBER, PASSWORD)).status_code == 401
    assert (await browser.sign_in(MEMBER, NEW)).status_code == 303
    assert (await use(browser, path)).status_code == 400
    stored = database.execute("SELECT action FROM audit_event ORDER BY audit_event_id")
    assert ("user.createPasswordReset",) in stored
    assert ("user.usePasswordReset",) in stored


async def test_of_two_that_use_a_link_at_once_one_succeeds(
    admin: Browser, member: Browser, database: Database
) -> None:
    path = await make_link(admin, database, MEMBER)
    statement = "SELECT password_reset_use(%s, '', '{}', %s, '')"
    token = proof_of(path.removeprefix("/reset/"))

    with (
        psycopg.connect(database.url("wharf_api")) as first,
        psycopg.connect(database.url("wharf_api")) as second,
    ):
        [won] = first.execute(statement, (token, b"one")).fetchone() or (None,)
        first.commit()
        [lost] = second.execute(statement, (token, b"two")).fetchone() or (None,)

    assert won == user_id(database, MEMBER)
    assert lost is None


async def test_a_link_ends_after_an_hour_and_with_the_next_one(
    admin: Browser, member: Browser, browser: Browser, database: Database
) -> None:
    first = await make_link(admin, database, MEMBER)
    second = await make_link(admin, database, MEMBER)
    assert (await use(browser, first)).status_code == 400
    database.execute("UPDATE password_reset SET expires_at = now() - interval '1 second'")

    assert (await use(browser, second)).status_code == 400
    [(left,)] = database.execute(
        "SELECT expires_at - created_at <= interval '1 hour' FROM password_reset"
    )
    assert left


async def test_the_token_is_stored_nowhere(
    admin: Browser, member: Browser, database: Database
) -> None:
    token = (await make_link(admin, database, MEMBER)).removeprefix("/reset/")

    for table in ("password_reset", "audit_event"):
        found = database.execute(
            f"SELECT count(*) FROM {table} t WHERE position(%s IN t::text) > 0", token
        )
        assert found == [(0,)], table


async def test_an_administrator_makes_none_for_an_owner_and_nobody_for_oneself(
    app: Starlette, admin: Browser, owner: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    of_owner = {"user_id": user_id(database, OWNER)}
    await admin.get("/people")
    assert "for Ada" not in (await admin.get("/people")).text.split(OWNER)[1].split("</tr>")[0]

    by_admin = await admin.post("/people/reset", **of_owner)
    by_key = await client.post(
        "/api/user.createPasswordReset", json={"userId": of_owner["user_id"]}
    )
    by_owner = await owner.post("/people/reset", **of_owner)

    assert (by_admin.status_code, by_key.status_code, by_owner.status_code) == (403, 403, 403)
    assert "the own password" in by_owner.text
    assert database.execute("SELECT count(*) FROM password_reset") == [(0,)]


async def test_an_owner_makes_one_for_another_owner(
    app: Starlette, owner: Browser, browser: Browser, database: Database
) -> None:
    await owner.get("/people")
    made = await owner.post("/people/invite", role="owner")
    token = re.search(r"/console/join/(\w[\w-]*)", made.text)
    assert token
    async with open_browser(app) as second:
        assert (await join(second, token[1], "second@example.com")).status_code == 303

    path = await make_link(owner, database, "second@example.com")

    assert (await use(browser, path)).status_code == 303


@pytest.mark.parametrize("role", ["viewer", "member"])
async def test_who_is_no_administrator_makes_none(
    app: Starlette, owner: Browser, member: Browser, database: Database, role: str
) -> None:
    async with open_browser(app) as plain:
        await join(plain, invite(database, role), "plain@example.com")
        answer = await plain.post("/people/reset", user_id=user_id(database, MEMBER))

    assert answer.status_code == 403


async def test_a_personal_key_makes_none_for_its_own_person(
    app: Starlette, admin: Browser, database: Database
) -> None:
    await admin.get("/account")
    made = await admin.post("/account/keys", name="mine", password=PASSWORD)
    key = re.search(r'data-copy="(wharf_[^"]+)"', made.text)
    assert key
    async with open_client(app, key[1]) as personal:
        answer = await personal.post(
            "/api/user.createPasswordReset", json={"userId": user_id(database, ADMIN)}
        )

    assert answer.status_code == 403


async def test_nobody_takes_over_a_person_of_another_organization_by_inviting_it(
    app: Starlette, stranger: httpx2.AsyncClient, owner: Browser, database: Database
) -> None:
    invited = await stranger.post("/api/organization.inviteMember", json={"role": "viewer"})
    token = invited.json()["path"].rpartition("/")[2]
    async with open_browser(app) as browser:
        assert (await join(browser, token, OWNER)).status_code == 303

    answer = await stranger.post(
        "/api/user.createPasswordReset", json={"userId": user_id(database, OWNER)}
    )

    assert answer.status_code == 403
    assert "wharf user recover" in answer.text


async def test_a_link_is_void_once_its_maker_may_make_it_no_more(
    app: Starlette, admin: Browser, member: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    path = await make_link(admin, database, MEMBER)
    await client.post("/api/user.remove", json={"userId": user_id(database, ADMIN)})
    assert (await use(admin, path)).status_code == 400

    key = await create(client, role="admin")
    async with open_client(app, key["key"]) as other:
        body = {"userId": user_id(database, MEMBER)}
        made: dict[str, Any] = (await other.post("/api/user.createPasswordReset", json=body)).json()
    database.execute("UPDATE member SET role = 'owner' WHERE user_id = %s", body["userId"])
    assert (await use(admin, made["path"].removeprefix("/console"))).status_code == 400


async def test_a_second_factor_is_removed_with_the_password_that_encrypted_it(
    admin: Browser, member: Browser, browser: Browser, database: Database
) -> None:
    database.execute("UPDATE user_account SET second_factor = 'x' WHERE email = %s", MEMBER)
    path = await make_link(admin, database, MEMBER)

    await use(browser, path)

    assert (await browser.sign_in(MEMBER, NEW)).status_code == 303


async def test_the_api_s_database_role_makes_no_link_without_a_proof(
    admin: Browser, member: Browser, database: Database
) -> None:
    chosen = user_id(database, MEMBER)
    with psycopg.connect(database.url("wharf_api")) as connection:
        made = connection.execute("SELECT password_reset_make('x', %s, 'y')", (chosen,)).fetchone()
        used = connection.execute(
            "SELECT password_reset_use('x', '', %s, 'y', '')",
            (psycopg.types.json.Jsonb(Derivation().model_dump()),),
        ).fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "INSERT INTO password_reset (reset_id, user_id, token_hash) VALUES ('x', %s, 'y')",
                (chosen,),
            )

    assert (made, used) == ((False,), (None,))


async def test_wrong_links_are_limited(app: Starlette, browser: Browser) -> None:
    stop_the_clock(app)
    for _ in range(10):
        assert (await use(browser, "/reset/whr_wrong")).status_code == 400

    assert (await use(browser, "/reset/whr_wrong")).status_code == 429
