"""A worker pins the internal CA: it joins by the pinned one only, and then trusts no other."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import SetupError
from shared.settings import WorkerSettings, load
from tests.fakes.web import open_fake
from worker.local.tls.authority import Authority
from worker.local.tls.certificates import issue_to
from worker.server.__main__ import join
from worker.server.identity import Enrolment, StateDirectory
from worker.server.trust import require_authority, secure, verified_broker_url

HOST = "127.0.0.1"
ANSWER = {
    "serverId": "server",
    "organizationId": "organization",
    "databaseUrl": "postgresql://10.0.0.5:5432/wharf",
    "brokerUrl": "redis://10.0.0.5:6379/0",
}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    opened = StateDirectory.open(tmp_path / "state")
    yield opened
    opened.close()


@asynccontextmanager
async def serving_api(directory: Path, shown: str | None = None) -> AsyncIterator[tuple[str, str]]:
    """Yield the URL and the pin of an API by TLS; ``shown`` is what it answers at /ca.pem."""
    authority = Authority.create(directory)
    issue_to(directory / "api.pem", authority, [HOST], timedelta(hours=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "api.pem")
    text = (directory / "ca.pem").read_text() if shown is None else shown

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/ca.pem":
            return web.Response(text=text, status=200 if text else 404)
        return web.json_response(ANSWER)

    async with open_fake(answer, tls=context) as fake:
        yield f"https://{fake.host}", authority.fingerprint


def settings_of(directory: Path, url: str, pin: str) -> WorkerSettings:
    return WorkerSettings(
        url=url, ca_sha256=pin, join_token=SecretStr("token"), state_dir=directory
    )


async def test_a_server_joins_by_the_pinned_ca_and_verifies_all_links(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "ca") as (url, pin):
        settings = settings_of(tmp_path / "state", url, pin)
        enrolment, broker_file = await asyncio.to_thread(join, settings)
        again, _ = await asyncio.to_thread(join, settings.model_copy(update={"url": None}))

    assert enrolment == again
    assert enrolment.database_url.endswith("?sslmode=verify-full")
    broker = broker_file.read_text()
    assert broker.startswith("rediss://server-server:")
    assert "ssl_cert_reqs=required" in broker and "ca.pem" in broker


async def test_another_ca_is_refused_before_the_token_is_sent(tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other").fingerprint
    async with serving_api(tmp_path / "ca") as (url, pin):
        with pytest.raises(SetupError, match="ca_mismatch") as refused:
            await asyncio.to_thread(join, settings_of(tmp_path / "state", url, other))

    assert pin in refused.value.message and other in refused.value.message
    assert refused.value.remedy
    assert not (tmp_path / "state" / "ca.pem").exists()
    assert not (tmp_path / "state" / "server.json").exists()


async def test_the_pinned_ca_in_the_hands_of_another_server_does_not_help(tmp_path: Path) -> None:
    """Who answers with the true ``/ca.pem`` still needs a certificate of that CA."""
    true = Authority.create(tmp_path / "true")
    shown = (tmp_path / "true" / "ca.pem").read_text()
    async with serving_api(tmp_path / "ca", shown) as (url, _):
        settings = settings_of(tmp_path / "state", url, true.fingerprint)
        with pytest.raises(SetupError, match="cannot reach"):
            await asyncio.to_thread(join, settings)

    assert not (tmp_path / "state" / "server.json").exists()


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_ca_beside_the_pinned_one_is_not_trusted(
    state: StateDirectory, tmp_path: Path, *, is_first: bool
) -> None:
    true, other = (Authority.create(tmp_path / name) for name in ("true", "other"))
    texts = [(tmp_path / name / "ca.pem").read_text() for name in ("true", "other")]
    shown = "".join(texts if is_first else reversed(texts))
    async with serving_api(tmp_path / "ca", shown) as (url, _):
        with pytest.raises(SetupError, match="no certificate of a CA"):
            await asyncio.to_thread(require_authority, state, url, true.fingerprint)

    assert other.fingerprint != true.fingerprint
    assert state.ca_file is None


async def test_only_the_certificate_of_an_answer_is_stored(
    state: StateDirectory, tmp_path: Path
) -> None:
    pin = Authority.create(tmp_path / "true").fingerprint
    text = (tmp_path / "true" / "ca.pem").read_text()
    async with serving_api(tmp_path / "ca", f"a remark\n{text}another one\n") as (url, _):
        stored = await asyncio.to_thread(require_authority, state, url, pin)

    assert stored is not None
    assert stored.read_text().strip() == text.strip()


async def test_a_server_that_has_the_ca_uses_no_address_without_tls(
    state: StateDirectory, tmp_path: Path
) -> None:
    async with serving_api(tmp_path / "ca") as (url, pin):
        await asyncio.to_thread(require_authority, state, url, pin)

    for given in (pin, None):
        with pytest.raises(SetupError, match="has no TLS"):
            require_authority(state, "http://10.0.0.5:4747", given)


@pytest.mark.parametrize("shown", ["", "<html>", "-----BEGIN CERTIFICATE-----\n" + "A" * 100_000])
async def test_an_answer_without_a_certificate_is_refused(
    state: StateDirectory, tmp_path: Path, shown: str
) -> None:
    async with serving_api(tmp_path / "ca", shown) as (url, pin):
        with pytest.raises(SetupError) as refused:
            await asyncio.to_thread(require_authority, state, url, pin)

    assert refused.value.remedy
    assert state.ca_file is None


@pytest.mark.parametrize("url", [None, "http://wharf.example"])
def test_a_pin_needs_an_address_with_tls(state: StateDirectory, url: str | None) -> None:
    with pytest.raises(SetupError, match=r"not known|has no TLS"):
        require_authority(state, url, "0" * 64)


@pytest.mark.parametrize(
    ("database", "broker", "secured"),
    [
        (
            "postgresql://db:1/wharf?sslmode=prefer",
            "redis://broker/0",
            ("postgresql://db:1/wharf?sslmode=verify-full", "rediss://broker/0"),
        ),
        (
            "postgresql://127.0.0.1:1/wharf",
            "redis://localhost/0",
            ("postgresql://127.0.0.1:1/wharf", "redis://localhost/0"),
        ),
        ("postgresql://db/wharf", None, ("postgresql://db/wharf?sslmode=verify-full", None)),
    ],
)
def test_only_links_that_leave_the_machine_need_tls(
    database: str, broker: str | None, secured: tuple[str, str | None]
) -> None:
    enrolment = Enrolment(
        server_id="s", organization_id="o", database_url=database, broker_url=broker
    )

    found = secure(enrolment)

    assert (found.database_url, found.broker_url) == secured


def test_a_server_that_pins_a_ca_reaches_the_broker_by_tls() -> None:
    ca = Path("/ca.pem")

    assert verified_broker_url("redis://broker/0", ca).startswith("rediss://broker/0?ssl_cert_reqs")
    assert "?a=b&ssl_cert_reqs" in verified_broker_url("rediss://broker/0?a=b", ca)
    for near in ("redis://127.0.0.1/0", "unix:///run/valkey.sock"):
        assert verified_broker_url(near, ca) == near
    assert verified_broker_url("redis://broker/0", None) == "redis://broker/0"


@pytest.mark.parametrize(
    ("given", "read"),
    [("AB:" * 31 + "AB", "ab" * 32), ("ab" * 32, "ab" * 32), ("", None), ("ab" * 31, SetupError)],
)
def test_a_pin_is_64_hexadecimal_digits(given: str, read: object) -> None:
    environment = {"WHARF_CA_SHA256": given}
    if read is SetupError:
        with pytest.raises(SetupError, match="WHARF_CA_SHA256 is not a SHA-256"):
            load(WorkerSettings, environment)
    else:
        assert load(WorkerSettings, environment).ca_sha256 == read
