"""Sign in by an OpenID Connect provider, which is a real one on a socket."""

import base64
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import psycopg
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from api.main import create_app
from shared.errors import SetupError
from shared.migrations.schema import set_provider
from shared.settings import ApiSettings, MigrationSettings, load
from tests.api.console.browsing import ORIGIN, Browser, invite, open_browser
from tests.api.console.conftest import OWNER
from tests.databases import Database
from worker.local.postgres import OWNER as DATABASE_OWNER

SECRET = "client-secret-canary"
NEW = "new@example.com"


@dataclass(frozen=True)
class TestProvider:
    """The provider, and what can be changed of it."""

    __test__ = False
    issuer: str

    def change(self, **change: Any) -> None:
        httpx2.put(f"{self.issuer}/change", json=change).raise_for_status()

    def add(self, email: str, **claims: Any) -> None:
        """Let the provider know a person."""
        known = {"email": email, "email_verified": True, "name": "Nora", **claims}
        httpx2.put(f"{self.issuer}/users/{email}", json=known).raise_for_status()

    def agree(self, address: str, email: str) -> str:
        """Sign in there; return the address to which the browser is sent back."""
        answer = httpx2.post(address, data={"sub": email})
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    @property
    def asked(self) -> dict[str, str]:
        asked: dict[str, str] = httpx2.get(f"{self.issuer}/asked").json()
        return asked


@pytest.fixture(scope="module")
def running() -> Iterator[TestProvider]:
    command = (sys.executable, "-m", "tests.api.console.accounts.provider")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        yield TestProvider(f"http://127.0.0.1:{process.stdout.readline().strip()}")
        process.kill()


@pytest.fixture
def provider(running: TestProvider) -> TestProvider:
    running.change()
    running.add(OWNER)
    running.add(NEW)
    return running


@pytest.fixture
def settings(settings: ApiSettings, provider: TestProvider, database: Database) -> ApiSettings:
    given = settings.model_copy(
        update={
            "oidc_issuer": provider.issuer,
            "oidc_client_id": "wharf",
            "oidc_client_secret": SecretStr(SECRET),
            "oidc_name": "Example",
            "public_url": ORIGIN,
        }
    )
    set_provider(database.url(DATABASE_OWNER), given.oidc_issuer, given.provider_proof)
    return given


async def begin(browser: Browser, **asked: str) -> str:
    """Return the address of the provider."""
    answer = await browser.client.get("/console/sign-in/provider", params=asked)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def sign_in(
    browser: Browser, provider: TestProvider, email: str = OWNER, **asked: str
) -> httpx2.Response:
    back = provider.agree(await begin(browser, **asked), email)
    return await browser.client.get(back)


def snapshot(database: Database) -> list[Any]:
    tables = ("user_account", "member", "user_session", "invitation")
    return [database.execute(f"SELECT count(*) FROM {table}") for table in tables]


async def test_a_member_signs_in(
    browser: Browser, owner: Browser, provider: TestProvider, database: Database
) -> None:
    page = await browser.get("/sign-in", next="/console/people")
    assert "Sign in with Example" in page.text
    assert 'href="/console/sign-in/provider?next=/console/people"' in page.text
    address = await begin(browser, next="/console/people")
    asked = {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}

    answer = await browser.client.get(provider.agree(address, OWNER))

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/people")
    assert (await browser.get("/people")).status_code == 200
    assert "wharf_sign_in" not in browser.client.cookies
    digest = hashlib.sha256(provider.asked["code_verifier"].encode()).digest()
    assert asked["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{ORIGIN}/console/sign-in/provider/callback"
    assert SECRET not in address
    by = "SELECT data->>'by' FROM audit_event WHERE action = 'user.signIn'"
    assert database.execute(by) == [("provider",)]


async def test_the_e_mail_address_is_compared_without_its_case(
    browser: Browser, owner: Browser, provider: TestProvider
) -> None:
    provider.change(claims={"email": OWNER.upper()})

    assert (await sign_in(browser, provider)).status_code == 303


async def test_an_invited_person_gets_an_account_with_the_role_of_the_invitation(
    browser: Browser, owner: Browser, provider: TestProvider, database: Database
) -> None:
    invite(database, "viewer", NEW)

    assert (await sign_in(browser, provider, NEW)).status_code == 303

    assert "Nora" in (await browser.get("/people")).text
    assert (await browser.post("/people/invite", role="viewer")).status_code == 403
    found = database.execute(
        "SELECT role FROM member JOIN user_account USING (user_id) WHERE email = %s", NEW
    )
    assert found == [("viewer",)]
    async with open_browser(browser.client._transport.app) as other:  # type: ignore[attr-defined]
        assert (await other.sign_in(NEW, "any password at all")).status_code == 401


async def test_a_link_without_an_address_is_accepted_by_who_opens_it(
    browser: Browser, owner: Browser, provider: TestProvider, database: Database
) -> None:
    token = invite(database, "member")
    assert (
        f"/console/sign-in/provider?invitation={token}"
        in (await browser.get(f"/join/{token}")).text
    )

    assert (await sign_in(browser, provider, NEW, invitation=token)).status_code == 303

    used = await sign_in(browser, provider, NEW, invitation=token)
    assert used.status_code == 403


async def test_an_invitation_for_another_address_is_not_accepted(
    browser: Browser, owner: Browser, provider: TestProvider, database: Database
) -> None:
    token = invite(database, "admin", "other@example.com")
    before = snapshot(database)

    answer = await sign_in(browser, provider, NEW, invitation=token)

    assert answer.status_code == 403
    assert snapshot(database) == before


async def test_who_is_not_invited_gets_no_account(
    browser: Browser, owner: Browser, provider: TestProvider, database: Database
) -> None:
    before = snapshot(database)

    answer = await sign_in(browser, provider, NEW)

    assert answer.status_code == 403
    assert f"nobody here has the e-mail address {NEW}" in answer.text
    assert snapshot(database) == before
    assert browser.cookie is None


@pytest.mark.parametrize(
    "change",
    [
        {"claims": {"email_verified": False}},
        {"claims": {"email_verified": "false"}},
        {"drop": ["email_verified"]},
        {"claims": {"email": 5}},
    ],
)
async def test_an_address_that_is_not_verified_signs_nobody_in(
    browser: Browser, owner: Browser, provider: TestProvider, change: dict[str, Any]
) -> None:
    provider.change(**change)

    answer = await sign_in(browser, provider)

    assert answer.status_code == 403
    assert "has not verified your e-mail address" in answer.text
    assert browser.cookie is None


@pytest.mark.parametrize(
    "change",
    [
        {"claims": {"nonce": "another"}},
        {"drop": ["nonce"]},
        {"claims": {"aud": "another client"}},
        {"claims": {"aud": ["another client"], "azp": "wharf"}},
        {"claims": {"aud": ["wharf", "another client"]}},
        {"claims": {"aud": ["wharf", "another client"], "azp": "another client"}},
        {"claims": {"iss": "https://another.example"}},
        {"claims": {"exp": 1}},
        {"claims": {"iat": 1 << 40}},
        {"drop": ["exp"]},
        {"drop": ["iss"]},
        {"drop": ["aud"]},
        {"drop": ["sub"]},
        {"alg": "none"},
        {"alg": "HS256"},
        {"key": "other"},
        {"key": "other", "kid": "own"},
    ],
)
async def test_a_token_that_is_not_for_this_sign_in_is_refused(
    browser: Browser, owner: Browser, provider: TestProvider, change: dict[str, Any]
) -> None:
    provider.change(**change)

    answer = await sign_in(browser, provider)

    assert answer.status_code == 400, answer.text
    assert "cannot be trusted" in answer.text
    assert browser.cookie is None


async def test_our_changed_tokens_are_good_otherwise(
    browser: Browser, owner: Browser, provider: TestProvider
) -> None:
    provider.change(claims={"aud": ["wharf"]})

    assert (await sign_in(browser, provider)).status_code == 303


async def test_another_browser_cannot_finish_what_one_began(
    app: Starlette, browser: Browser, owner: Browser, provider: TestProvider
) -> None:
    async with open_browser(app) as attacker:
        back = provider.agree(await begin(attacker), OWNER)
    without = await browser.client.get(back)
    await begin(browser)
    with_own = await browser.client.get(back)

    assert (without.status_code, with_own.status_code) == (400, 400)
    assert "was not begun in this browser" in with_own.text
    assert browser.cookie is None


async def test_a_sign_in_is_finished_once(
    app: Starlette, browser: Browser, owner: Browser, provider: TestProvider
) -> None:
    back = provider.agree(await begin(browser), OWNER)
    kept = browser.client.cookies.get("wharf_sign_in")
    assert kept
    assert (await browser.client.get(back)).status_code == 303

    assert (await browser.client.get(back)).status_code == 400
    async with open_browser(app) as thief:
        thief.client.cookies.set(
            "wharf_sign_in", kept, "console.example", "/console/sign-in/provider"
        )
        assert (await thief.client.get(back)).status_code == 400
        assert thief.cookie is None


@pytest.mark.parametrize("cookie", ["", "00", "zz", "ab" * 200, "é"])
async def test_a_cookie_that_is_none_of_ours_is_refused(
    browser: Browser, provider: TestProvider, cookie: str
) -> None:
    answer = await browser.client.get(
        "/console/sign-in/provider/callback?code=x&state=y",
        headers={b"cookie": f"wharf_sign_in={cookie}".encode()},
    )

    assert answer.status_code == 400


async def test_a_sign_in_ends_after_ten_minutes(
    settings: ApiSettings, browser: Browser, owner: Browser, provider: TestProvider
) -> None:
    back = provider.agree(await begin(browser), OWNER)
    [page] = [
        route.endpoint.__closure__
        for route in browser.client._transport.app.routes  # type: ignore[attr-defined]
        if getattr(route, "path", "") == "/console/sign-in/provider"
    ]
    [held] = [cell.cell_contents for cell in page if hasattr(cell.cell_contents, "clock")]
    held.clock = lambda: time.time() + 601

    answer = await browser.client.get(back)

    assert answer.status_code == 400
    assert "took longer than ten minutes" in answer.text


async def test_a_provider_that_refuses_is_named(
    browser: Browser, owner: Browser, provider: TestProvider
) -> None:
    state = parse_qs(urlsplit(await begin(browser)).query)["state"][0]

    answer = await browser.client.get(
        "/console/sign-in/provider/callback", params={"error": "<b>no</b>", "state": state}
    )

    assert answer.status_code == 400
    assert "did not sign you in" in answer.text
    assert "<b>no" not in answer.text


async def test_a_provider_that_is_down_is_named_and_passwords_still_work(
    app: Starlette, browser: Browser, owner: Browser, provider: TestProvider
) -> None:
    provider.change(status="503 Down")
    async with open_browser(app) as early:
        answer = await early.client.get("/console/sign-in/provider")
        assert answer.status_code == 503
        assert "sign-in provider" in answer.text
        assert (await early.sign_in(OWNER)).status_code == 303
    provider.change()
    back = provider.agree(await begin(browser), OWNER)
    provider.change(status="503 Down")

    answer = await browser.client.get(back)

    assert answer.status_code == 503
    assert browser.cookie is None


async def test_nothing_but_the_console_is_the_aim_of_a_sign_in(
    browser: Browser, owner: Browser, provider: TestProvider
) -> None:
    answer = await sign_in(browser, provider, next="https://evil.example/")

    assert answer.headers["location"] == "/console"


async def test_the_database_begins_no_session_without_the_client_secret(
    owner: Browser, settings: ApiSettings, database: Database
) -> None:
    begin_one = "SELECT session_begin_by_provider(%s, NULL, 's', %s, 'n', 'h', '', '')"
    with psycopg.connect(database.url("wharf_api"), autocommit=True) as connection:
        for proof in (b"", b"wrong", hashlib.sha256(settings.provider_proof or b"").digest()):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(begin_one, (proof, OWNER))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT proof_hash FROM sign_in_provider")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO sign_in_provider VALUES ('x', 'y')")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"oidc_client_secret": SecretStr("another")}, "Run wharf migrate"),
        ({"oidc_client_id": "another"}, "Run wharf migrate"),
        ({"public_url": None}, "WHARF_PUBLIC_URL is missing"),
    ],
)
async def test_the_api_does_not_start_with_settings_that_cannot_work(
    settings: ApiSettings, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SetupError) as error:
        await _start(settings.model_copy(update=change))

    assert message in f"{error.value.message} {error.value.remedy}"
    assert SECRET not in str(error.value)


async def _start(settings: ApiSettings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        pass


@pytest.mark.parametrize(
    "given",
    [
        {"WHARF_OIDC_ISSUER": "https://id.example"},
        {"WHARF_OIDC_CLIENT_SECRET": SECRET},
        {"WHARF_OIDC_ISSUER": "http://id.example", "WHARF_OIDC_CLIENT_ID": "wharf"},
    ],
)
def test_settings_of_a_provider_are_whole_and_have_tls(given: dict[str, str]) -> None:
    url = {"WHARF_DATABASE_URL": "postgresql://database/wharf"}

    with pytest.raises(SetupError) as error:
        load(MigrationSettings, {**url, **given})

    assert "WHARF_OIDC" in error.value.message
    assert SECRET not in error.value.message


async def test_a_migration_without_a_provider_ends_the_sign_in_by_it(
    browser: Browser, owner: Browser, provider: TestProvider, database: Database
) -> None:
    set_provider(database.url(DATABASE_OWNER), None, None)

    answer = await sign_in(browser, provider)

    assert answer.status_code == 500
    assert browser.cookie is None
