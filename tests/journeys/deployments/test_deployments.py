"""A built version runs on two servers; a version that is not healthy never replaces it."""

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.journeys.conftest import Port
from tests.journeys.test_builds import create, serve
from tests.worker.engine.contexts import BASE, make_base
from tests.worker.local.conditions import wait_until

PUBLISHED = 8401
HEALTHY = {"command": ["/bin/busybox", "test", "-e", "/www/well"], "intervalSeconds": 1}


def dockerfile(version: str, well: str) -> bytes:
    serving = (
        "trap 'exit 0' TERM; /bin/busybox httpd -p 8080 -h /www; /bin/busybox sleep 999 & wait"
    )
    return (
        f"FROM {BASE}\nRUN /bin/busybox mkdir /www; echo {version} > /www/index.html;"
        f' echo > /www/{well}\nCMD ["/bin/sh", "-c", "{serving}"]\n'
    ).encode()


def test_a_good_version_runs_on_each_server_and_a_broken_one_on_none(
    port: Port, tmp_path: Path
) -> None:
    first, second = port.servers
    make_base(port.fleet.hosts[0].docker_host)
    repository = serve(port, tmp_path / "git-1", dockerfile("one", "well"))
    application_id = create(
        port,
        "deployed-app",
        repository,
        buildServerId=first.server_id,
        serverIds=[first.server_id, second.server_id],
        ports=[{"publishedPort": PUBLISHED, "targetPort": 8080}],
        healthCheck=HEALTHY,
    )

    good = wharf_deploy(port, "deployed-app")
    repository.stop()
    deployed = port.stack.call("deployment.all", {"applicationId": application_id})[0]
    broken = deploy_version(port, application_id, tmp_path / "git-2", dockerfile("two", "ill"))
    refused = port.stack.call("deployment.all", {"applicationId": application_id})[0]

    assert good.returncode == 0, good.stderr
    assert good.stdout.strip() == deployed["reference"]
    assert [server["state"] for server in deployed["servers"]] == ["succeeded"] * 2
    assert broken.returncode == 1
    assert (refused["state"], refused["error"]["code"]) == ("failed", "container_unhealthy")
    for host in port.fleet.hosts:
        wait_until(partial(is_answering, (host.address, PUBLISHED), "one"))


def deploy_version(
    port: Port, application_id: str, directory: Path, content: bytes
) -> subprocess.CompletedProcess[str]:
    repository = serve(port, directory, content)
    source = {"applicationId": application_id, "customGitUrl": repository.url}
    port.stack.call("application.saveGitProvider", source)
    deployed = wharf_deploy(port, "deployed-app")
    repository.stop()
    return deployed


def wharf_deploy(port: Port, *words: str) -> subprocess.CompletedProcess[str]:
    key = {"WHARF_URL": port.stack.url, "WHARF_API_KEY": port.stack.admin_key}
    return subprocess.run(
        [sys.executable, "-m", "api.cli.main", "deploy", *words, "--wait"],
        env={**os.environ, **key},
        capture_output=True,
        text=True,
        check=False,
    )


def is_answering(place: tuple[str, int], message: str) -> bool:
    with socket.create_connection(place, 2) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        content = b""
        while part := connection.recv(4096):
            content += part
    return content.partition(b"\r\n\r\n")[2].decode().strip() == message
