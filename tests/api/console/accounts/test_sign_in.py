"""People join by an invitation, sign in, and sign out."""

import asyncio
import time

import pytest
from starlette.applications import Starlette

from tests.api.console.browsing import PASSWORD, Browser, invite, join, open_browser
from tests.api.console.conftest import OWNER
from tests.databases import Database


async def test_a_page_asks_to_sign_in_and_comes_back(browser: Browser, owner: Browser) -> None:
    asked = await browser.get("/registries", q="harbor")
    assert asked.status_code == 303
    assert asked.headers["location"] == "/console/sign-in?next=%2Fconsole%2Fregistries%3Fq%3Dharbor"

    answer = await browser.sign_in(OWNER, next="/console/registries?q=harbor")

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/registries?q=harbor")
    assert (await browser.get("/registries")).status_code == 200


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example", "/console/\\evil", "/console//evil", ""],
)
async def test_a_sign_in_leads_only_to_the_console(
    browser: Browser, owner: Browser, elsewhere: str
) -> None:
    answer = await browser.sign_in(OWNER, next=elsewhere)

    assert answer.headers["location"] == "/console"


@pytest.mark.parametrize(
    ("email", "password"), [(OWNER, "another password"), ("nobody@example.com", PASSWORD)]
)
async def test_a_wrong_password_and_an_unknown_address_are_refused_alike(
    browser: Browser, owner: Browser, email: str, password: str
) -> None:
    answer = await browser.sign_in(email, password)

    assert answer.status_code == 401
    assert "the e-mail address, the password or the code is wrong" in answer.text
    assert password not in answer.text
    assert browser.cookie is None


async def test_an_invitation_is_accepted_once(
    app: Starlette, owner: Browser, database: Database
) -> None:
    token = invite(database, "member", "second@example.com")
    async with open_browser(app) as browser, open_browser(app) as late:
        wrong = await join(browser, token, "other@example.com")
        assert wrong.status_code == 400
        assert (await join(browser, token, "Second@Example.com")).status_code == 303
        assert (await join(late, token, "second@example.com")).status_code == 400
        assert late.cookie is None


async def test_a_person_with_an_account_joins_with_its_password(
    app: Starlette, owner: Browser, database: Database
) -> None:
    database.execute("INSERT INTO organization VALUES ('org-2', 'second')")
    token = invite(database, "admin", OWNER)
    database.execute(
        "INSERT INTO api_key (api_key_id, organization_id, name, role, start, key_hash)"
        " VALUES ('key-2', 'org-2', 'second', 'admin', '', '')"
    )
    database.execute(
        "UPDATE invitation SET organization_id = 'org-2', invited_by = 'key-2'"
        " WHERE accepted_at IS NULL"
    )
    async with open_browser(app) as browser:
        refused = await browser.post(
            f"/join/{token}", name="Ada", email=OWNER, password="not the password"
        )
        assert refused.status_code == 400

        assert (await join(browser, token, OWNER)).status_code == 303

    rows = database.execute("SELECT role FROM member ORDER BY created_at")
    assert rows == [("owner",), ("admin",)]


async def test_a_session_ends_with_the_sign_out_also_for_a_stolen_cookie(
    app: Starlette, owner: Browser
) -> None:
    async with open_browser(app) as thief:
        thief.cookie = owner.cookie or ""
        assert (await thief.get("/registries")).status_code == 200

        await owner.post("/sign-out")

        assert (await thief.get("/registries")).status_code == 303
    assert (await owner.get("/registries")).status_code == 303


async def test_all_sessions_of_a_user_end_together(browser: Browser, owner: Browser) -> None:
    await browser.sign_in(OWNER)

    assert (await browser.get("/registries")).status_code == 200

    await owner.post("/sign-out", everywhere="true")

    assert (await browser.get("/registries")).status_code == 303


async def test_a_session_ends_after_twelve_hours_without_use(
    owner: Browser, database: Database
) -> None:
    database.execute("UPDATE user_session SET last_used_at = now() - interval '11 h 59 min'")
    assert (await owner.get("/registries")).status_code == 200
    database.execute("UPDATE user_session SET last_used_at = now() - interval '12 h 1 min'")

    assert (await owner.get("/registries")).status_code == 303


async def test_a_sign_in_gives_another_session_than_the_cookie_before_it(
    browser: Browser, owner: Browser
) -> None:
    browser.cookie = "whs_chosen-by-an-attacker"

    await browser.sign_in(OWNER)

    assert browser.cookie not in {None, "whs_chosen-by-an-attacker", owner.cookie}


def stop_the_clock(app: Starlette) -> None:
    """Let no time pass for the limits of wrong passwords."""
    now = time.monotonic()
    app.state.resources.sign_ins.clock = lambda: now


async def test_ten_wrong_passwords_stop_the_account_for_a_while(
    app: Starlette, owner: Browser, browser: Browser
) -> None:
    stop_the_clock(app)
    for _ in range(10):
        assert (await browser.sign_in(OWNER, "wrong password")).status_code == 401

    answer = await browser.sign_in(OWNER)

    assert answer.status_code == 429
    assert "Try again in" in answer.text


async def test_wrong_passwords_that_come_at_once_are_limited_too(
    app: Starlette, owner: Browser, browser: Browser
) -> None:
    stop_the_clock(app)
    tries = [browser.sign_in(OWNER, f"wrong password {number}") for number in range(30)]
    answers = [answer.status_code for answer in await asyncio.gather(*tries)]

    assert sorted(answers) == [401] * 10 + [429] * 20


async def test_others_do_not_hold_up_an_address_that_signed_in(
    app: Starlette, owner: Browser, browser: Browser
) -> None:
    stop_the_clock(app)
    assert (await owner.sign_in(OWNER)).status_code == 303
    limits = app.state.resources.sign_ins
    for _ in range(10):
        limits.take(f"account {OWNER}", b"another address")

    assert (await browser.sign_in(OWNER)).status_code == 303
    assert (await browser.sign_in(OWNER, "wrong password")).status_code == 401
    assert (await browser.sign_in(OWNER)).status_code == 429


async def test_a_join_without_an_invitation_counts_as_a_wrong_password(
    app: Starlette, owner: Browser, browser: Browser
) -> None:
    stop_the_clock(app)
    for name in ["Ada"] * 10:
        assert (await join(browser, "whi_invented", OWNER, name)).status_code == 400

    assert (await join(browser, "whi_invented", OWNER)).status_code == 429
    assert (await browser.sign_in(OWNER)).status_code == 429


async def test_a_form_of_another_site_changes_nothing(owner: Browser) -> None:
    for headers, csrf in (
        ({"origin": "https://evil.example"}, owner.csrf),
        ({"sec-fetch-site": "cross-site"}, owner.csrf),
        ({}, "another"),
        ({}, ""),
    ):
        answer = await owner.client.post("/console/sign-out", data={"csrf": csrf}, headers=headers)
        assert answer.status_code == 403
    assert (await owner.get("/registries")).status_code == 200


async def test_pages_forbid_scripts_of_others_and_frames(owner: Browser) -> None:
    answer = await owner.get("/registries")

    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "style=" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    cookie = (await owner.sign_in(OWNER)).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


async def test_a_removed_member_is_signed_out(
    owner: Browser, viewer: Browser, database: Database
) -> None:
    database.execute("DELETE FROM member WHERE role = 'viewer'")

    assert (await viewer.get("/registries")).status_code == 303
