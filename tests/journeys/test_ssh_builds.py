"""An application of a git repository behind SSH, with a deploy key that is found nowhere."""

from pathlib import Path

from shared.ssh.keys import DeployKey
from tests.fakes.git_ssh import open_ssh_git_server
from tests.journeys.canary import broker_keys, files, leaks, record_traffic, tables
from tests.journeys.conftest import Port
from tests.journeys.test_builds import DOCKERFILE, wharf_build


async def test_a_build_over_ssh_needs_the_host_s_key_and_leaves_the_deploy_key_nowhere(
    port: Port, tmp_path: Path
) -> None:
    stack, key = port.stack, DeployKey.generate()
    assert stack.valkey is not None and stack.postgres is not None
    async with open_ssh_git_server(tmp_path, port.fleet.address) as server:
        server.authorize(key)
        commit = server.create("app").commit({"Dockerfile": DOCKERFILE, "page": b"ahoy"})
        settings = {"buildRegistryId": port.registry_id, "customGitUrl": server.url("app")}
        made = stack.call("application.create", {"name": "behind", "appName": "behind", **settings})
        chosen = {"applicationId": made["applicationId"]}
        stack.call("application.update", {**chosen, "customGitSSHKey": key.to_text()})

        with record_traffic(stack.valkey) as heard:
            unpinned = wharf_build(port, "behind")
            stack.call("application.update", {**chosen, "customGitHostKey": server.known_hosts})
            built = wharf_build(port, "behind")

    assert unpinned.returncode == 1
    assert "host_key_not_pinned" in unpinned.stderr
    assert server.fingerprint in unpinned.stderr
    assert built.returncode == 0, built.stderr
    [build, _] = stack.call("build.all", chosen)
    assert build["revision"] == commit
    canaries = {line.encode() for line in key.to_text().splitlines()[2:-1]}
    places = {
        "broker, overheard": bytes(heard.broker),
        "command lines": b"\n".join(heard.command_lines),
        "output": f"{unpinned.stderr}{built.stderr}{built.stdout}".encode(),
        **broker_keys(stack.valkey),
        **tables(stack.postgres),
    }
    assert leaks(places.items(), canaries) == []
    assert leaks(files(stack.directory.path, port.directory), canaries) == []
    assert b"StrictHostKeyChecking=yes" in places["command lines"]
