"""The API serves TLS by itself, with certificates that are exchanged while it runs."""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
import trustme

from api.__main__ import load_certificate
from api.cli.commands.operation.certificate import RENEW, describe_certificate
from shared.errors import SetupError
from shared.settings import ApiSettings
from shared.tls import make_server_context
from tests.api.test_main import environment
from tests.waiting import wait_until
from worker.local.processes import Child, free_port


def write_certificate(authority: trustme.CA, directory: Path) -> tuple[Path, Path]:
    leaf = authority.issue_cert("127.0.0.1", not_after=datetime(2040, 5, 6, 7, 8, tzinfo=UTC))
    certificate, key = directory / "api.pem", directory / "api.key"
    for path, blob in ((certificate, leaf.cert_chain_pems[0]), (key, leaf.private_key_pem)):
        draft = path.with_suffix(".draft")
        draft.write_bytes(blob.bytes())
        draft.replace(path)
    return certificate, key


def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def port(settings: ApiSettings, authority: trustme.CA, tmp_path: Path) -> Iterator[int]:
    port = free_port()
    certificate, key = write_certificate(authority, tmp_path)
    variables = {"WHARF_TLS_CERTIFICATE": str(certificate), "WHARF_TLS_KEY": str(key)}
    child = Child.start(
        "api",
        [sys.executable, "-m", "api", "--port", str(port)],
        log=tmp_path / "api.log",
        env={**environment(settings), **variables},
    )

    def is_alive() -> bool:
        try:
            return httpx2.get(
                f"https://127.0.0.1:{port}/healthz", verify=trust(authority)
            ).is_success
        except httpx2.TransportError:
            return False

    try:
        child.wait_until(is_alive, deadline=timedelta(seconds=30))
        yield port
    finally:
        child.stop()


async def test_https_is_served_with_hsts_and_plain_http_is_not(
    port: int, authority: trustme.CA
) -> None:
    async with httpx2.AsyncClient(verify=trust(authority)) as client:
        answer = await client.get(f"https://127.0.0.1:{port}/healthz")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        with pytest.raises(httpx2.TransportError):
            await client.get(f"http://127.0.0.1:{port}/healthz")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(
    port: int, authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    context = trust(authority)
    context.minimum_version = context.maximum_version = version

    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.close()


def test_older_versions_of_tls_are_not_spoken(authority: trustme.CA, tmp_path: Path) -> None:
    context = make_server_context(*write_certificate(authority, tmp_path))

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_doctor_shows_until_when_the_certificate_is_valid(port: int, authority: trustme.CA) -> None:
    end = datetime(2040, 5, 6, 7, 8, tzinfo=UTC)

    url = f"https://127.0.0.1:{port}"
    with httpx2.Client(base_url=url, verify=trust(authority)) as client:
        early = describe_certificate(client, end - timedelta(days=15))
        late = describe_certificate(client, end - timedelta(days=13))

    assert early == ("valid until 2040-05-06 07:08 UTC", "")
    assert late == (early[0], RENEW)


async def test_clients_that_begin_no_handshake_do_not_delay_others(
    port: int, authority: trustme.CA
) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    async with httpx2.AsyncClient(verify=trust(authority), timeout=5) as client:
        assert (await client.get(f"https://127.0.0.1:{port}/healthz")).is_success
    for each in silent:
        each.close()


async def test_a_changed_certificate_is_used_and_no_request_is_lost(
    port: int, authority: trustme.CA, tmp_path: Path
) -> None:
    """An open connection keeps its certificate; a version that does not load changes nothing."""
    later = trustme.CA()
    url = f"https://127.0.0.1:{port}/healthz"
    async with httpx2.AsyncClient(verify=trust(authority)) as kept:
        (tmp_path / "api.pem").write_text("no certificate")
        os.utime(tmp_path / "api.pem")
        await wait_until(lambda: "certificate_not_loaded" in (tmp_path / "api.log").read_text())
        assert (await kept.get(url)).is_success

        write_certificate(later, tmp_path)
        lost = 0

        async def has_changed() -> bool:
            nonlocal lost
            async with httpx2.AsyncClient(verify=trust(later)) as fresh:
                lost += not (await kept.get(url)).is_success
                try:
                    return (await fresh.get(url)).is_success
                except httpx2.ConnectError:
                    return False

        await wait_until(has_changed)
        assert lost == 0


def test_other_machines_get_no_plain_http_unless_it_is_allowed(settings: ApiSettings) -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        assert load_certificate(settings, host) is None
    for host in ("0.0.0.0", "::", "192.0.2.7", "api.example.com"):
        with pytest.raises(SetupError, match="without TLS the API does not listen on"):
            load_certificate(settings, host)
    allowed = settings.model_copy(update={"allow_plain_http": True})
    assert load_certificate(allowed, "192.0.2.7") is None


def test_a_certificate_without_its_key_is_refused(settings: ApiSettings, tmp_path: Path) -> None:
    lonely = settings.model_copy(update={"tls_certificate": tmp_path / "api.pem"})

    with pytest.raises(SetupError, match="WHARF_TLS_KEY is missing"):
        load_certificate(lonely, "127.0.0.1")


def test_a_certificate_of_another_key_is_refused(settings: ApiSettings, tmp_path: Path) -> None:
    certificate, _ = write_certificate(trustme.CA(), tmp_path)
    (tmp_path / "other").mkdir()
    _, key = write_certificate(trustme.CA(), tmp_path / "other")
    wrong = settings.model_copy(update={"tls_certificate": certificate, "tls_key": key})

    with pytest.raises(SetupError, match="TLS cannot use"):
        load_certificate(wrong, "127.0.0.1")
