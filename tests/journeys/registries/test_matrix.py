"""The matrix of registries and servers tells which server lacks the CA of one of them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.certificates import Authority
from tests.journeys.conftest import PASSWORD, Port, login
from worker.local.registry import LocalRegistry
from worker.local.stack import LocalServer

ADDRESS = "192.0.2.11"
"""Outside of what the servers' Engines list as insecure; they reach it by their default route."""

ROOM = 'mount --bind "$1" /etc/docker && shift && exec "$@"'


@pytest.fixture
def servers(port: Port) -> Iterator[list[LocalServer]]:
    """A server for each host, whose worker sees the certificates that its Engine sees."""
    added = []
    for host in port.fleet.hosts:
        assert host.engine is not None
        own = ("unshare", "--mount", "--", "sh", "-c", ROOM, "room", f"{host.engine.directory}/etc")
        added.append(
            port.stack.add_server(
                f"{host.name}-tls", host.docker_host, wrapper=(*host.wrapper, *own)
            )
        )
    yield added
    for server in added:
        port.stack.remove_server(server)


@pytest.fixture
def registry(port: Port, tmp_path: Path) -> Iterator[LocalRegistry]:
    """A registry with TLS, whose authority the first host's Engine trusts and the second's not."""
    trusting = port.fleet.hosts[0]
    assert trusting.namespace is not None
    assert trusting.engine is not None
    device = f"wharf{trusting.namespace.number}"
    address = ("address", "add", f"{ADDRESS}/32", "dev", device)
    subprocess.run(("ip", *address), check=True)
    authority = Authority(tmp_path)
    registry = LocalRegistry.start(
        tmp_path / "registry",
        address=ADDRESS,
        users={"porter": PASSWORD},
        certificate=authority.files("registry", ADDRESS),
    )
    trusting.engine.trust(registry.host, authority.file.read_bytes())
    yield registry
    registry.stop()


def test_the_matrix_shows_which_server_lacks_the_ca(
    port: Port, servers: list[LocalServer], registry: LocalRegistry
) -> None:
    body = login(registry, PASSWORD) | {"registryName": "with TLS"}
    stored = port.stack.call("registry.create", body)
    chosen = {
        "registryIds": [stored["registryId"], port.registry_id],
        "serverIds": [server.server_id for server in servers],
    }

    tested = port.stack.call("registry.testOnServers", chosen)["cells"]
    matrix = port.stack.call("registry.matrix", {"registryId": stored["registryId"]})
    kept = matrix["cells"]

    found = {
        (cell["registryName"], cell["serverName"]): (cell["state"], cell["code"], cell["stage"])
        for cell in tested
    }
    assert found == {
        ("ours", "dock-1-tls"): ("succeeded", None, None),
        ("ours", "dock-2-tls"): ("succeeded", None, None),
        ("with TLS", "dock-1-tls"): ("succeeded", None, None),
        ("with TLS", "dock-2-tls"): ("failed", "tls_unknown_ca", "tls"),
    }
    assert matrix["differences"] == [
        "with TLS works from dock-1-tls, not from dock-2-tls: dock-2-tls does not trust the CA."
    ]
    lacking = next(cell for cell in kept if cell["state"] == "failed")
    assert "certs.d" in lacking["remedy"]
    assert lacking["milliseconds"] > 0
    port.stack.call("registry.remove", {"registryId": stored["registryId"]})
