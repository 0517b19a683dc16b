"""What is recorded of attempts to sign in, codes that count once, cookies that are none of ours."""

import hashlib
import json
import re
import secrets

import httpx2
import pyotp
import pytest
from starlette.applications import Starlette

from api.accounts import second_factor
from api.accounts.sessions import find_session
from api.main import create_app
from shared.settings import ApiSettings
from tests.api.console.browsing import PASSWORD, Browser, open_browser
from tests.api.console.conftest import OWNER
from tests.databases import Database


async def test_attempts_are_counted_logged_and_refused_ones_are_in_the_audit_log(
    app: Starlette,
    owner: Browser,
    browser: Browser,
    client: httpx2.AsyncClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    await browser.sign_in("nobody@example.com", "a wrong password")
    await browser.sign_in(OWNER, "a wrong password")
    await browser.sign_in(OWNER, "a wrong password")
    await browser.sign_in(OWNER)

    counts = app.state.resources.sign_in_counts
    assert counts["password", "refused"] == 3
    assert counts["password", "succeeded"] == 1
    metrics = (await client.get("/metrics")).text
    assert 'wharf_sign_ins_total{method="password",outcome="refused"} 3.0' in metrics
    logged = [line for line in capsys.readouterr().out.splitlines() if "sign_in" in line]
    assert len(logged) == 4
    hashed = hashlib.sha256(OWNER.encode()).hexdigest()[:12]
    assert sum(hashed in line for line in logged) == 3
    assert not [line for line in logged if OWNER in line or "a wrong password" in line]
    found = (await client.get("/api/auditLog.all", params={"action": "user"})).json()["entries"]
    refused = [each for each in found if each["action"] == "user.signInRefused"]
    assert len(refused) == 1, "once a minute"
    assert refused[0]["data"] == {"address": "127.0.0.1", "method": "password"}
    assert "nobody@example.com" not in json.dumps(found)


async def test_a_code_counts_once_in_all_api_processes(
    settings: ApiSettings, browser: Browser, owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000
    monkeypatch.setattr(second_factor, "_now", lambda: now)
    secret = re.search(r'name="secret" value="([A-Z2-7]+)"', (await owner.get("/account")).text)
    assert secret
    totp = pyotp.TOTP(secret[1])
    fields = {"secret": secret[1], "code": totp.at(now - 30), "password": PASSWORD}
    assert (await owner.post("/account/second-factor", **fields)).status_code == 303
    code = totp.at(now)
    assert (await browser.sign_in(OWNER, code=code)).status_code == 303

    other = create_app(settings)
    async with other.router.lifespan_context(other), open_browser(other) as thief:
        assert (await thief.sign_in(OWNER, code=code)).status_code == 401
        assert (await thief.sign_in(OWNER, code=totp.at(now - 30))).status_code == 401
        assert (await thief.sign_in(OWNER, code=totp.at(now + 30))).status_code == 303


@pytest.mark.parametrize("password", ["", "not the password"])
async def test_a_personal_key_is_made_only_with_the_password(
    owner: Browser, database: Database, password: str
) -> None:
    await owner.get("/account")

    answer = await owner.post("/account/keys", name="mine", password=password)

    assert answer.status_code == 400
    assert "the present password is wrong" in answer.text
    assert database.execute("SELECT count(*) FROM api_key WHERE member_id IS NOT NULL") == [(0,)]


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "whs_",
        "x" * 5000,
        f"whs_{'a' * 42}",
        f"whs_{'a' * 44}",
        f"whs_{'a' * 42}\n",
        "whs_é" * 9,
    ],
)
async def test_a_cookie_that_is_none_of_ours_costs_no_query(app: Starlette, cookie: str) -> None:
    pool = app.state.resources.pool
    before = pool.get_stats().get("requests_num", 0)

    assert await find_session(pool, cookie) is None
    assert pool.get_stats().get("requests_num", 0) == before

    assert await find_session(pool, f"whs_{secrets.token_urlsafe(32)}") is None
    assert pool.get_stats().get("requests_num", 0) == before + 1
