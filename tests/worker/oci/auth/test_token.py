"""Tokens are kept for the scopes that they cover, until shortly before they expire."""

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from tests.fakes.token_server import TokenServer
from tests.worker.oci.parts import make_login
from worker.login import Login
from worker.oci.auth.realm import Realm
from worker.oci.auth.scope import Scope, parse_granted
from worker.oci.auth.token import RENEWAL_PAUSES, Token, TokenSource
from worker.oci.transport.http import Transport
from worker.oci.transport.settings import ConnectionSettings

PULL = Scope("team/app", frozenset({"pull"}))
PUSH = Scope("team/app", frozenset({"pull", "push"}))
OTHER = Scope("team/other", frozenset({"pull"}))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_source(
    transport: Transport, server: TokenServer, login: Login | None, clock: Clock
) -> TokenSource:
    realm = Realm(URL(server.realm), "registry", is_foreign=False)
    return TokenSource(transport, realm, login, registry="registry.test", clock=clock)


def make_token(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.sig"


async def test_a_token_is_kept_until_shortly_before_it_expires(
    token_server: TokenServer, settings: ConnectionSettings
) -> None:
    clock, login = Clock(), make_login("registry.test")
    token_server.life_seconds = 100
    async with Transport(settings) as transport:
        source = make_source(transport, token_server, login, clock)

        first = await source.find(PULL)
        clock.now += 89
        stored = await source.find(PULL)
        clock.now += 2
        second = await source.find(PULL)

    assert stored is first and second is not first
    assert len(token_server.scopes) == 2


async def test_a_token_server_that_is_down_in_the_midst_of_a_transfer_is_waited_for(
    token_server: TokenServer, settings: ConnectionSettings
) -> None:
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            token_server.failure = None

    async with Transport(settings) as transport:
        realm = Realm(URL(token_server.realm), "registry", is_foreign=False)
        login = make_login("registry.test")
        source = TokenSource(transport, realm, login, registry="registry.test", pause=pause)
        await source.find(PULL)
        token_server.failure = 503
        assert isinstance(await source.find(PULL, is_fresh=True), Token)

        token_server.failure = 503
        with pytest.raises(RegistryError) as of_new_scope:
            await source.find(OTHER)
        with pytest.raises(RegistryError) as of_known_scope:
            await source.find(PULL, is_fresh=True)

    assert waited == [1, 2, 4, *RENEWAL_PAUSES]
    for caught in (of_new_scope, of_known_scope):
        assert caught.value.code == FaultCode.AUTH_SERVER_UNREACHABLE


async def test_a_renewed_login_is_sent_for_the_next_token(
    token_server: TokenServer, settings: ConnectionSettings
) -> None:
    login = make_login("registry.test")
    async with Transport(settings) as transport:
        source = make_source(transport, token_server, login, Clock())
        first = await source.find(PULL)
        login.renew(Login.model_validate({**login.model_dump(), "secret": "wrong"}))
        assert await source.find(PULL) is first

        with pytest.raises(RegistryError) as caught:
            await source.find(OTHER)

    assert caught.value.code == FaultCode.AUTH_BAD_CREDENTIALS


def test_a_login_is_not_renewed_by_one_for_another_host() -> None:
    login = make_login("registry.test")

    login.renew(make_login("other.test"))

    assert login.newest is login


async def test_a_token_covers_fewer_rights_but_no_other_repository(
    token_server: TokenServer, settings: ConnectionSettings
) -> None:
    async with Transport(settings) as transport:
        source = make_source(transport, token_server, make_login("registry.test"), Clock())

        await source.find(PUSH)
        await source.find(PULL)
        await source.find(OTHER)

    assert token_server.scopes == [
        "repository:team/app:pull,push",
        "repository:team/other:pull",
    ]


async def test_concurrent_requests_share_one_token(
    token_server: TokenServer, settings: ConnectionSettings
) -> None:
    async with Transport(settings) as transport:
        source = make_source(transport, token_server, make_login("registry.test"), Clock())

        found = await asyncio.gather(*(source.find(PULL) for _ in range(10)))

    assert len({token.value for token in found}) == 1 and len(token_server.scopes) == 1


async def test_an_anonymous_request_has_no_account_and_may_lack_a_login(
    token_server: TokenServer, settings: ConnectionSettings
) -> None:
    async with Transport(settings) as transport:
        source = make_source(transport, token_server, None, Clock())

        denial = source.find_denial(PULL, await source.find(PULL))

    assert denial and denial.code == FaultCode.AUTH_MISSING
    request = token_server.fake.requests[0]
    assert "account" not in request.query and request.query["client_id"] == "wharfinger"
    assert token_server.fake.authorizations == []


@pytest.mark.parametrize(
    ("claims", "granted"),
    [
        ({"access": [{"type": "repository", "name": "team/app", "actions": ["pull"]}]}, {"pull"}),
        ({"access": [{"type": "repository", "name": "other", "actions": ["pull"]}]}, set()),
        ({"access": []}, set()),
        ({"access": None}, set()),
        ({"sub": "alice"}, None),
        ({"access": "all"}, None),
        ([1], None),
    ],
)
def test_the_granted_actions_are_read_from_a_token(
    claims: object, granted: set[str] | None
) -> None:
    assert parse_granted(make_token(claims), PULL) == granted


def test_a_wildcard_token_covers_every_action_and_hides_its_value() -> None:
    token = Token("secret-value", PUSH, frozenset("*"), 0.0)

    assert token.serves(PULL) and token.serves(PUSH) and not token.serves(OTHER)
    assert "secret-value" not in repr(token)


@given(st.text())
def test_any_text_can_be_read_as_a_token(text: str) -> None:
    assert parse_granted(text, PULL) is None or isinstance(parse_granted(text, PULL), frozenset)
