"""Control is backed up under load, lost, and restored: applications run and roll back as before."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import PASSWORD, Port, login
from tests.journeys.deployments.test_rollouts import HEALTHY, App, docker
from tests.worker.local.conditions import wait_until
from worker.local.fleet import start_fleet
from worker.local.registry import LocalRegistry
from worker.local.stack import Stack

NAME = "kept-app"
PASSPHRASE = "a passphrase of some length"


def wharf(*words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WHARF_")}
    done = subprocess.run(
        (sys.executable, "-m", "api.cli.main", *words),
        env=environment,
        input=PASSPHRASE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def load(stack: Stack, registry_id: str) -> Iterator[list[str]]:
    """Submit jobs one after the other during the block; yield their ids."""
    over, submitted = threading.Event(), list[str]()

    def submit() -> None:
        while not over.is_set():
            tested = stack.call("registry.testRegistryById", {"registryId": registry_id})
            submitted.append(str(tested))

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        wait_until(lambda: len(submitted) > 1, seconds=30)
        yield submitted
    finally:
        over.set()
        thread.join()


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Port]:
    """One server with its Engine, a registry, and a stack that a test may lose."""
    with ExitStack() as stack:
        fleet = start_fleet(stack, tmp_path / "fleet", ("dock-1",))
        registry = LocalRegistry.start(
            tmp_path / "registry", address=fleet.address, users={"porter": PASSWORD}
        )
        stack.callback(registry.stop)
        plane = Stack.start(tmp_path / "lost", address=fleet.address, durable=False)
        stack.callback(plane.stop)
        [host] = fleet.hosts
        server = plane.add_server(host.name, host.docker_host, wrapper=host.wrapper)
        row = plane.call("registry.create", login(registry, PASSWORD) | {"registryName": "ours"})
        yield Port(fleet, plane, [server], registry, row["registryId"], tmp_path)


def create(port: Port) -> App:
    [server] = port.servers
    settings = {
        "name": NAME,
        "appName": NAME,
        "registryId": port.registry_id,
        "buildRegistryId": port.registry_id,
        "rollbackRegistryId": port.registry_id,
        "rollbackActive": True,
        "buildServerId": server.server_id,
        "serverIds": [server.server_id],
        "healthCheck": HEALTHY,
    }
    made = port.stack.call("application.create", settings)
    return App(port, NAME, str(made["applicationId"]))


def points(app: App) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = app.port.stack.call("rollback.all", app.chosen)
    return shown


@contextmanager
def start_again(lost: Port, directory: Path) -> Iterator[Port]:
    """Start the stack of a directory at the addresses of the lost one, with its server."""
    [host] = lost.fleet.hosts
    plane = Stack.start(directory, address=lost.fleet.address, port=lost.stack.port, durable=False)
    try:
        server = plane.add_server(host.name, host.docker_host, wrapper=host.wrapper)
        yield replace(lost, stack=plane, servers=[server])
    finally:
        plane.stop()


@pytest.mark.timeout(400)
def test_what_was_backed_up_under_load_works_on_another_machine(lost: Port, tmp_path: Path) -> None:
    file, new = tmp_path / "one.wharf", tmp_path / "new"
    app, [server] = create(lost), lost.servers
    first = app.deploy("one")
    wait_until(lambda: len(points(app)) == 1, seconds=60)
    [point] = points(app)
    second = app.deploy("two")
    lost.stack.call("server.pause", {"serverId": server.server_id, "jobClass": "transfer"})
    before, after = (
        lost.jobs.pull(server.server_id, lost.registry_id, one["reference"])
        for one in (first, second)
    )
    lost.stack.call("job.cancel", {"jobId": before})
    of_lost = ("--data-dir", str(lost.stack.directory.path))
    with load(lost.stack, lost.registry_id):
        # Control and API go on: the API seals to the new key.
        rotated = wharf("vault", "rotate", *of_lost)
        key = lost.stack.call("apiKey.create", {"name": "pipeline"})["apiKeyId"]
        removed = wharf("vault", "remove-old", *of_lost)
        wharf("backup", str(file), *of_lost, "--passphrase-file", "-")
    admin_key = lost.stack.admin_key
    # The copy does not know of it.
    lost.stack.call("job.cancel", {"jobId": after})
    lost.stack.stop()
    shutil.rmtree(lost.stack.directory.path)
    docker(lost, 0, "image", "rm", "--force", first["reference"])

    said = wharf("restore", str(file), "--data-dir", str(new), "--passphrase-file", "-")
    with start_again(lost, new) as again:
        plane = again.stack
        restored = App(again, NAME, app.application_id)
        waiting, held = again.jobs.one(after), plane.call("restore.one")["heldAt"]
        keys = {one["apiKeyId"] for one in plane.call("apiKey.all")}
        again.stack.call("job.cancel", {"jobId": after})
        plane.call("restore.resume")
        plane.call("server.resume", {"serverId": server.server_id})
        tested = plane.call("registry.testRegistryById", {"registryId": lost.registry_id})
        versions = restored.versions(0)
        asked = plane.call("rollback.rollback", {"rollbackId": point["rollbackId"]})
        rolled_back = restored.ended(asked["deploymentId"])
        running = restored.versions(0)
        deployed = restored.deploy("three")
        cancelled = [again.jobs.one(job_id) for job_id in (before, after)]

    assert "secrets are sealed to the new key" in rotated
    assert "is removed" in removed
    assert "wharf resume --list" in said
    assert (held is not None, key in keys, plane.admin_key) == (True, True, admin_key)
    assert again.servers[0].server_id == server.server_id
    assert (waiting["state"], waiting["waiting"]["code"]) == ("queued", "restored"), waiting
    assert tested is True
    assert versions == ["two"]
    assert (rolled_back["state"], running) == ("succeeded", ["one"]), rolled_back
    assert deployed["state"] == "succeeded", deployed
    assert [(job["state"], job["attempts"]) for job in cancelled] == [("cancelled", [])] * 2
