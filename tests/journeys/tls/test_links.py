"""Three servers behind cables that others listen to: only TLS passes, renewed every few seconds.

One fleet and one control plane serve all tests of this file.
"""

import os
import secrets
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
import redis

from tests.journeys.conftest import PASSWORD, login
from tests.journeys.tls.capture import SSL_REQUEST, Capture, capturing, is_tls
from worker.local.engines import engines_possible
from worker.local.fleet import Fleet, start_fleet
from worker.local.registry import LocalRegistry
from worker.local.stack import LocalServer, Stack
from worker.local.tls.published import Published

LIFE = timedelta(seconds=15)
RENEWALS = 3
PATIENCE_SECONDS = 120
NAMES = ("dock-1", "dock-2", "dock-3")
CANARY = f"canary-{secrets.token_hex(12)}"

pytestmark = pytest.mark.timeout(600)


@dataclass
class Links:
    """The fleet, its control plane with TLS, a registry without, and a capture of each cable."""

    fleet: Fleet
    plane: Stack
    servers: list[LocalServer]
    registry: LocalRegistry
    registry_id: str
    captures: list[Capture]

    @property
    def published(self) -> Published:
        assert self.plane.published is not None
        return self.plane.published

    @property
    def ports(self) -> set[int]:
        return {self.plane.port, *self.published.ports}

    def run_job(self, server: LocalServer) -> dict[str, Any]:
        """Test the registry on a server; return the job, which has ended."""
        chosen = {"registryId": self.registry_id, "serverId": server.server_id}
        assert self.plane.call("registry.testRegistryById", chosen) is True
        found = self.plane.call("job.all", {"serverId": server.server_id, "limit": 1})
        return dict(found["jobs"][0])

    def shown_serials(self) -> dict[int, str]:
        """Return the number of the certificate that each published port shows, by port."""
        return {port: self._serial_at(port) for port in self.ports}

    def _serial_at(self, port: int) -> str:
        trust = ssl.create_default_context(cafile=self.published.ca_file)
        with socket.create_connection((self.plane.address, port), timeout=10) as plain:
            if port == self.published.ports[0]:
                plain.sendall(SSL_REQUEST)
                assert plain.recv(1) == b"S"
            with trust.wrap_socket(plain, server_hostname=self.plane.address) as encrypted:
                return str((encrypted.getpeercert() or {})["serialNumber"])


@pytest.fixture(scope="module")
def links() -> Iterator[Links]:
    if why_not := engines_possible():
        if os.environ.get("CI"):
            pytest.fail(why_not)
        pytest.skip(f"journeys need Engines of their own: {why_not}")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="wharf-tls-")))
        fleet = start_fleet(stack, directory, NAMES)
        registry = LocalRegistry.start(
            directory / "registry", address=fleet.address, users={"porter": PASSWORD}
        )
        stack.callback(registry.stop)
        plane = Stack.start(
            directory / "wharf", address=fleet.address, durable=False, tls_life=LIFE
        )
        stack.callback(plane.stop)
        cables = [f"wharf{host.namespace.number}" for host in fleet.hosts if host.namespace]
        captures = [stack.enter_context(capturing(cable)) for cable in cables]
        servers = [
            plane.add_server(host.name, host.docker_host, wrapper=host.wrapper)
            for host in fleet.hosts
        ]
        named = {"registryName": "ours", "imagePrefix": CANARY}
        row = plane.call("registry.create", login(registry, PASSWORD) | named)
        yield Links(fleet, plane, servers, registry, row["registryId"], captures)


def test_certificates_of_seconds_renew_and_no_job_is_lost(links: Links) -> None:
    """Workers join, work, and come back after the certificates by which they joined have ended."""
    seen: dict[int, set[str]] = {port: set() for port in links.ports}
    jobs = []
    until = time.monotonic() + PATIENCE_SECONDS
    restarted = False
    while min(map(len, seen.values())) < RENEWALS and time.monotonic() < until:
        jobs += [links.run_job(server) for server in links.servers]
        for port, serial in links.shown_serials().items():
            seen[port].add(serial)
        if not restarted and min(map(len, seen.values())) == RENEWALS - 1:
            links.servers[0].worker.kill()
            restarted = links.plane.revive() == [links.servers[0].name]
    jobs += [links.run_job(server) for server in links.servers]

    assert {port: len(serials) >= RENEWALS for port, serials in seen.items()} == dict.fromkeys(
        links.ports, True
    )
    assert restarted
    assert {(job["state"], job["attempt"]) for job in jobs} == {("succeeded", 1)}


def test_only_tls_passes_on_every_link_and_no_canary(links: Links) -> None:
    jobs = [links.run_job(server) for server in links.servers]

    secret = (CANARY.encode(), b"wharf_join_", *(job["jobId"].encode() for job in jobs))
    for capture in links.captures:
        streams = capture.streams(links.plane.address)
        # The registry has no TLS: the canary is seen there, so the capture is able to see it.
        registry_port = int(links.registry.host.rpartition(":")[2])
        assert any(CANARY.encode() in stream for stream in streams.pop(registry_port))
        assert set(streams) >= links.ports
        for port in links.ports:
            assert streams[port]
            assert all(map(is_tls, streams[port])), port
            assert not [word for word in secret if any(word in each for each in streams[port])]


def test_no_port_without_tls_is_published(links: Links) -> None:
    """From a server's place: the databases' own ports and Flower's are not reached."""
    assert links.plane.postgres is not None and links.plane.valkey is not None
    for own in (links.plane.postgres, links.plane.valkey):
        assert own.address == "127.0.0.1"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((links.plane.address, own.port), timeout=5)
    host, port = links.plane.address, links.published.ports[0]
    with pytest.raises(psycopg.OperationalError, match="accepts TLS only"):
        psycopg.connect(f"postgresql://u:p@{host}:{port}/wharf?sslmode=disable")
    clear = redis.Redis(host=host, port=links.published.ports[1], socket_timeout=5)
    with clear, pytest.raises(redis.ConnectionError):
        clear.ping()


def test_a_wrong_fingerprint_does_not_join(links: Links) -> None:
    created = links.plane.call("server.create", {"name": "stranger"})
    wrong = "0" * 64
    worker = links.plane.run(
        "stranger",
        ("-m", "worker.server"),
        {
            "WHARF_STATE_DIR": str(links.plane.directory.path / "servers" / "stranger"),
            "WHARF_URL": links.plane.url,
            "WHARF_CA_SHA256": wrong,
            "WHARF_JOIN_TOKEN": created["joinToken"],
        },
        wrapper=links.fleet.hosts[0].wrapper,
    )
    code = worker.process.wait(60)
    del links.plane.specs["stranger"], links.plane.children["stranger"]

    words = worker.last_words()
    shown = links.plane.call("server.one", {"serverId": created["serverId"]})
    assert created["caSha256"] == links.published.pin
    assert code == 1
    assert "ca_mismatch" in words and wrong in words and links.published.pin in words
    assert shown["seenAt"] is None
