"""One message on its way: to an address that was checked, signed with a secret for that host."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from shared.ids import make_id
from shared.networks import parse_webhook_networks
from shared.vault import KeyRing, PrivateKey, SealContext
from shared.webhooks import host_of
from tests.fakes.certificates import Authority
from tests.fakes.names import Names, SilentNames
from tests.fakes.sockets import Behaviour, open_socket, reset, say
from tests.worker.control.endpoints import ANYWHERE, SECRET, open_endpoint
from worker.control.webhooks.posting import Delivery, Posted, post
from worker.local.processes import free_port
from worker.oci.transport.settings import ConnectionSettings

VAULT = PrivateKey.generate()
KEYS = KeyRing([VAULT])
LOCAL = ConnectionSettings(ANYWHERE, resolver=Names({"hooks.example": ("127.0.0.1",)}))


def make_delivery(url: str, bound_to: str | None = None) -> Delivery:
    webhook_id = make_id()
    context = SealContext("webhook", "organization", webhook_id, bound_to or host_of(url), "")
    return Delivery(
        delivery_id=make_id(),
        organization_id="organization",
        webhook_id=webhook_id,
        url=url,
        secret=VAULT.public.seal(SECRET, context),
        payload={"data": {"title": "\N{SHIP}"}, "type": "job.ended", "timestamp": "now"},
        attempts=1,
    )


async def test_a_name_is_looked_up_once_and_its_address_kept() -> None:
    names = Names({"hooks.example": ("127.0.0.1",)})
    async with open_endpoint() as endpoint:
        host = endpoint.host.replace("127.0.0.1", "hooks.example")
        settings = ConnectionSettings(ANYWHERE, resolver=names)
        posted = await post(make_delivery(f"http://{host}/a"), KEYS, settings)

    [message] = endpoint.messages
    assert posted == Posted(status=200)
    assert names.queries == ["hooks.example"]
    assert message.headers["host"] == host
    assert message.headers["webhook-signature"] == message.signature()
    assert message.body.decode() == (
        '{"type":"job.ended","timestamp":"now","data":{"title":"\N{SHIP}"}}'
    )


@pytest.mark.parametrize(
    ("url", "networks", "code"),
    [
        ("http://127.0.0.1:{port}/", "public,private", "network_refused"),
        ("http://localhost.example:{port}/", "public,private", "network_refused"),
        ("https://metadata.example/latest", "public,private,loopback", "network_refused"),
        ("https://both.example/", "public", "network_refused"),
        ("https://169.254.169.254/", "public,private,loopback", "network_refused"),
        ("http://127.0.0.1:{port}/", "public,private,loopback", "conn_refused"),
        ("https://127.0.0.1:{port}/", "public,private,loopback", "conn_refused"),
        ("https://127.0.0.77:443/", "public,private,loopback", "conn_refused"),
        ("http://127.0.0.77:80/", "public,private,loopback", "conn_refused"),
        ("http://93.184.216.34/", "public,private", "tls_not_offered"),
        ("http://public.example/", "public,private", "tls_not_offered"),
        ("http://unknown.example/", "public,private", "dns_not_found"),
        ("https://2130706433/", "public,private", "ref_invalid"),
    ],
)
async def test_the_error_says_why_there_is_no_answer(url: str, networks: str, code: str) -> None:
    names = {
        "localhost.example": ("127.0.0.1",),
        "metadata.example": ("169.254.169.254",),
        "both.example": ("93.184.216.34", "10.0.0.1"),
        "public.example": ("93.184.216.34",),
    }
    settings = ConnectionSettings(parse_webhook_networks(networks), resolver=Names(names))

    posted = await post(make_delivery(url.format(port=free_port())), KEYS, settings)

    assert posted == Posted(code=code)


async def test_over_tls_the_certificate_is_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with open_endpoint(tls=authority.context("hooks.example")) as endpoint:
        host = endpoint.host.replace("127.0.0.1", "hooks.example")
        delivery = make_delivery(f"https://{host}/")
        unknown = await post(delivery, KEYS, LOCAL)
        trusting = ConnectionSettings(
            ANYWHERE,
            certificates=authority.trust(tmp_path / "certificates", host),
            resolver=LOCAL.resolver,
        )
        trusted = await post(delivery, KEYS, trusting)

    assert (unknown, trusted) == (Posted(code="tls_unknown_ca"), Posted(status=200))
    assert len(endpoint.messages) == 1


async def test_an_international_name_is_looked_up_as_it_is_asked_for() -> None:
    name = "xn--bcher-kva.example"
    settings = ConnectionSettings(ANYWHERE, resolver=Names({name: ("127.0.0.1",)}))
    async with open_endpoint() as endpoint:
        host = endpoint.host.replace("127.0.0.1", name)
        posted = await post(make_delivery(f"http://{host}/"), KEYS, settings)

    [message] = endpoint.messages
    assert (posted, message.headers["host"]) == (Posted(status=200), host)


async def test_a_redirect_is_not_followed() -> None:
    async with open_endpoint() as elsewhere, open_endpoint() as endpoint:
        endpoint.says(307, Location=elsewhere.url)
        posted = await post(make_delivery(endpoint.url), KEYS, LOCAL)

    assert (posted.status, posted.is_delivered) == (307, False)
    assert elsewhere.messages == []


async def test_a_secret_signs_nothing_for_another_host() -> None:
    async with open_endpoint() as endpoint:
        posted = await post(make_delivery(endpoint.url, "hooks.example"), KEYS, LOCAL)

    assert posted == Posted(code="credential_unreadable")
    assert endpoint.messages == []


@pytest.mark.parametrize("hangs_at", ["look-up", "answer"])
async def test_an_attempt_has_an_end(hangs_at: str) -> None:
    async with open_endpoint() as endpoint:

        async def hang() -> None:
            await asyncio.Event().wait()

        endpoint.begins = hang
        settings = LOCAL
        url = endpoint.url
        if hangs_at == "look-up":
            settings = ConnectionSettings(ANYWHERE, resolver=SilentNames())
            url = "http://hooks.example/"
        delivery = make_delivery(url)
        posted = await post(delivery, KEYS, settings, within=timedelta(seconds=0.2))

    assert posted == Posted(code="conn_timeout")


@pytest.mark.parametrize(
    ("behaviour", "code"), [(say(b"SSH-2.0-OpenSSH_9.2\r\n"), "not_http"), (reset, "conn_reset")]
)
async def test_a_server_that_speaks_no_http_is_reported_so(behaviour: Behaviour, code: str) -> None:
    async with open_socket(behaviour) as host:
        posted = await post(make_delivery(f"http://{host}/"), KEYS, LOCAL)

    assert posted == Posted(code=code)
