"""The verdicts on wrong registries, requested through the API and found by a real server.

The registries have an address outside of those that the server's Engine lists as insecure.
"""

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest

from tests.fakes.certificates import Authority
from tests.fakes.token_server import (
    ISSUER,
    SERVICE,
    SigningKey,
    TokenServer,
    open_token_server,
)
from tests.fakes.web import open_fake, says
from tests.journeys.conftest import PASSWORD, Port, login
from worker.local.processes import free_port
from worker.local.registry import LocalRegistry, TokenRealm
from worker.local.stack import LocalServer

ADDRESS = "192.0.2.10"
USERS = {"porter": "right"}
ROOM = 'mount --bind "$1" /etc/docker && shift && exec "$@"'


@pytest.fixture(scope="module")
def server(port: Port) -> LocalServer:
    """A server on this machine's own network, with this machine's own names."""
    namespace = port.fleet.hosts[1].namespace
    assert namespace is not None
    device = f"wharf{namespace.number}"
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", device], check=True)
    own_certificates = certificates(port)
    own_certificates.mkdir(parents=True)
    wrapper = ("unshare", "--mount", "--", "sh", "-c", ROOM, "room", str(own_certificates.parent))
    return port.stack.add_server("here", port.fleet.hosts[1].docker_host, wrapper=wrapper)


def certificates(port: Port) -> Path:
    """Return the folder that this server alone sees as ``/etc/docker/certs.d``."""
    return port.directory / "docker" / "certs.d"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


Served = TypeVar("Served")


@contextmanager
def serving(context: AbstractAsyncContextManager[Served]) -> Iterator[Served]:
    """An asynchronous fake, served by a thread while a synchronous test asks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def diagnose(port: Port, server: LocalServer, url: str) -> dict[str, Any]:
    body = {"registryUrl": url, "username": "porter", "password": "right", "imagePrefix": "team"}
    place = {"serverId": server.server_id, "plainHttp": True}
    answer = port.stack.call("registry.diagnose", body | place)
    bad: dict[str, Any] = next(s for s in answer["stages"] if s["outcome"] == "failed")
    return bad


def test_an_unknown_host_is_called_so(port: Port, server: LocalServer) -> None:
    bad = diagnose(port, server, "no-such-host.wharf.invalid")

    assert (bad["stage"], bad["code"]) == ("dns", "dns_not_found")


def test_a_refused_port_is_called_so(port: Port, server: LocalServer) -> None:
    bad = diagnose(port, server, f"{ADDRESS}:{free_port(ADDRESS)}")

    assert (bad["stage"], bad["code"]) == ("tcp", "conn_refused")


def test_a_certificate_of_an_unknown_authority_is_called_so(
    port: Port, server: LocalServer, authority: Authority, tmp_path: Path
) -> None:
    files = authority.files("stranger", ADDRESS)
    registry = LocalRegistry.start(tmp_path, address=ADDRESS, users=USERS, certificate=files)
    try:
        bad = diagnose(port, server, registry.host)
    finally:
        registry.stop()

    assert (bad["stage"], bad["code"]) == ("tls", "tls_unknown_ca")
    assert "certs.d" in bad["remedy"]


def test_an_expired_certificate_is_called_so(
    port: Port, server: LocalServer, authority: Authority, tmp_path: Path
) -> None:
    files = authority.files("expired", ADDRESS, ends_in=timedelta(days=-1))
    registry = LocalRegistry.start(tmp_path, address=ADDRESS, users=USERS, certificate=files)
    authority.trust(certificates(port), registry.host)
    try:
        bad = diagnose(port, server, registry.host)
    finally:
        registry.stop()

    assert (bad["stage"], bad["code"]) == ("tls", "tls_expired")


def test_plain_http_is_refused_where_nobody_listed_it(
    port: Port, server: LocalServer, tmp_path: Path
) -> None:
    registry = LocalRegistry.start(tmp_path, address=ADDRESS, users=USERS)
    try:
        bad = diagnose(port, server, registry.host)
    finally:
        registry.stop()

    assert (bad["stage"], bad["code"]) == ("tls", "tls_not_offered")


def test_a_web_page_is_no_registry(port: Port, server: LocalServer) -> None:
    @asynccontextmanager
    async def page() -> AsyncIterator[str]:
        answer = says(200, text="<html>Welcome</html>", kind="text/html")
        async with open_fake(answer, listen=port.fleet.address) as fake:
            yield fake.host

    with serving(page()) as host:
        bad = diagnose(port, server, host)

    assert (bad["stage"], bad["code"]) == ("ping", "not_a_registry")


def test_a_registry_that_asks_nobody_for_a_password_proves_none(
    port: Port, server: LocalServer, tmp_path: Path
) -> None:
    registry = LocalRegistry.start(tmp_path, address=port.fleet.address)
    try:
        bad = diagnose(port, server, registry.host)
    finally:
        registry.stop()

    assert (bad["stage"], bad["code"]) == ("auth", "auth_not_checked")


def test_a_user_who_may_only_pull_is_reported_so(
    port: Port, server: LocalServer, tmp_path: Path
) -> None:
    key = SigningKey()

    @asynccontextmanager
    async def realm() -> AsyncIterator[TokenServer]:
        passwords = {"bob": "reads"}
        async with open_token_server(key, passwords, listen=port.fleet.address) as tokens:
            yield tokens

    with serving(realm()) as tokens:
        bundle = key.write(tmp_path / "tokens.pem")
        registry = LocalRegistry.start(
            tmp_path / "registry",
            address=port.fleet.address,
            token_realm=TokenRealm(tokens.realm, SERVICE, ISSUER, bundle),
        )
        tokens.registry = registry.host
        try:
            body = {"registryUrl": tokens.fake.host, "username": "bob", "password": "reads"}
            answer = port.stack.call(
                "registry.diagnose",
                body | {"imagePrefix": "team", "serverId": server.server_id, "plainHttp": True},
            )
        finally:
            registry.stop()

    outcomes = {stage["stage"]: stage["outcome"] for stage in answer["stages"]}
    bad = next(stage for stage in answer["stages"] if stage["outcome"] == "failed")
    assert outcomes["auth"] == outcomes["pull"] == "ok"
    assert (bad["stage"], bad["code"]) == ("push", "push_denied")


def test_a_wrong_password_is_a_typed_error_of_the_simple_test(
    port: Port, server: LocalServer
) -> None:
    answer = httpx2.post(
        f"{port.stack.url}/api/trpc/registry.testRegistry",
        json=login(port.registry, PASSWORD + "!") | {"serverId": server.server_id},
        headers={"x-api-key": port.stack.admin_key},
        timeout=30,
    )

    cause = answer.json()["data"]["cause"]
    assert answer.status_code == 400
    assert (cause["code"], cause["stage"]) == ("auth_bad_credentials", "auth")
    assert cause["remedy"]
    assert PASSWORD not in answer.text
