"""Rollouts over two servers while servers vanish, Engines die, and as services of a Swarm."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.journeys.conftest import PASSWORD, Port
from tests.worker.engine.contexts import BUSYBOX
from tests.worker.local.conditions import wait_until
from worker.engine.containers import APPLICATION
from worker.local.images import make_image

WELL = "trap 'exit 0' TERM; /bin/busybox sleep 99999 & wait"
SLOW_TO_END = "trap 'sleep 3; exit 0' TERM; /bin/busybox sleep 99999 & wait"
SERVING = (
    "trap 'exit 0' TERM; /bin/busybox mkdir /www; echo $0 > /www/index.html;"
    " /bin/busybox httpd -p 8080 -h /www; /bin/busybox sleep 99999 & wait"
)
ANSWERS = {
    "command": ["/bin/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"],
    "intervalSeconds": 1,
}
HEALTHY = {"command": ["/bin/busybox", "true"], "intervalSeconds": 1}
STARTING = {
    "command": ["/bin/busybox", "false"],
    "intervalSeconds": 1,
    "timeoutSeconds": 1,
    "retries": 90,
}
ENDED_WITHIN = 90


@dataclass
class App:
    """One application on both servers, built from images that are in the registry already."""

    port: Port
    name: str
    application_id: str

    @property
    def chosen(self) -> dict[str, Any]:
        return {"applicationId": self.application_id}

    def update(self, **settings: Any) -> None:
        self.port.stack.call("application.update", self.chosen | settings)

    def ask(self, version: str, command: str = WELL) -> str:
        """Ask for a deployment of a version that is pushed first; its id."""
        image = push(self.port, self.name, version, command)
        self.port.stack.call("application.saveDockerProvider", self.chosen | {"dockerImage": image})
        return str(self.port.stack.call("application.deploy", self.chosen)["deploymentId"])

    def deploy(self, version: str, command: str = WELL) -> dict[str, Any]:
        return self.ended(self.ask(version, command))

    def one(self, deployment_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.port.stack.call(
            "deployment.one", {"deploymentId": deployment_id}
        )
        return shown

    def all(self) -> list[dict[str, Any]]:
        """The newest first."""
        shown: list[dict[str, Any]] = self.port.stack.call("deployment.all", self.chosen)
        return shown

    def states(self, deployment_id: str) -> list[str]:
        return [place["state"] for place in self.one(deployment_id)["servers"]]

    def ended(self, deployment_id: str) -> dict[str, Any]:
        wait_until(lambda: self.one(deployment_id)["finishedAt"] is not None, seconds=ENDED_WITHIN)
        return self.one(deployment_id)

    def containers(self, host: int) -> dict[str, str]:
        """The version of each that runs on a host, by name, but for those just gone."""
        label = f"label={APPLICATION}={self.application_id}"
        shape = "{{.Names}} {{.ID}}"
        listed = docker(self.port, host, "ps", "--filter", label, "--format", shape)
        found: dict[str, str] = {}
        for name, container in (line.split() for line in listed.splitlines()):
            with suppress(subprocess.CalledProcessError):
                found[name] = self._version(host, container)
        return found

    def versions(self, host: int) -> list[str]:
        return list(self.containers(host).values())

    def _version(self, host: int, container: str) -> str:
        shape = "{{index .Config.Cmd 3}}"
        return docker(self.port, host, "inspect", "--format", shape, container)


def docker(port: Port, host: int, *words: str) -> str:
    done = subprocess.run(
        ["docker", *words],
        env={**os.environ, "DOCKER_HOST": port.fleet.hosts[host].docker_host},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def push(port: Port, name: str, version: str, command: str) -> str:
    """An image whose containers say in their command which version they are."""
    image = f"team/{name}:{version}"
    make(port, 0, image, command, version)
    pushed = port.jobs.ended(port.jobs.push(port.servers[0].server_id, port.registry_id, image))
    assert pushed["state"] == "succeeded", pushed
    return str(pushed["result"]["reference"])


def make(port: Port, host: int, image: str, command: str, version: str) -> None:
    make_image(
        port.fleet.hosts[host].docker_host,
        image,
        files={"bin/sh": BUSYBOX, "bin/busybox": BUSYBOX, "bin/sleep": BUSYBOX},
        command=["/bin/sh", "-c", command, version],
    )


@pytest.fixture
def app(port: Port, request: pytest.FixtureRequest) -> Iterator[App]:
    name = f"rollout-{abs(hash(request.node.name)) % 10**8}"
    made = port.stack.call(
        "application.create",
        {
            "name": name,
            "appName": name,
            "registryId": port.registry_id,
            "buildRegistryId": port.registry_id,
            "buildServerId": port.servers[0].server_id,
            "serverIds": [server.server_id for server in port.servers],
            "healthCheck": HEALTHY,
        },
    )
    running = App(port, name, str(made["applicationId"]))
    yield running
    for host in range(len(port.fleet.hosts)):
        for container in running.containers(host):
            docker(port, host, "rm", "--force", container)


@contextmanager
def asking(app: App, host: int) -> Iterator[list[str]]:
    """Record its answers on a host during the block, as a router in front of all its containers
    would hear it; nothing where none answers.
    """
    heard: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            heard.append(
                next(filter(None, (get(app, host, each) for each in addresses(app, host))), "")
            )

    router = threading.Thread(target=ask, name="router")
    router.start()
    try:
        wait_until(lambda: len(heard) > 1)
        yield heard
    finally:
        over.set()
        router.join()


def addresses(app: App, host: int) -> list[str]:
    """Of all that run; one may have ended since it was listed."""
    label = f"label={APPLICATION}={app.application_id}"
    shape = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    found: list[str] = []
    for container in docker(app.port, host, "ps", "--quiet", "--filter", label).split():
        with suppress(subprocess.CalledProcessError):
            found += docker(app.port, host, "inspect", "--format", shape, container).split()
    return found


def get(app: App, host: int, address: str) -> str:
    wrapper = app.port.fleet.hosts[host].wrapper
    requested = subprocess.run(
        [*wrapper, "timeout", "2", "busybox", "wget", "-q", "-O", "-", f"http://{address}:8080/"],
        capture_output=True,
        text=True,
        check=False,
    )
    return requested.stdout.strip()


@contextmanager
def swarms(port: Port) -> Iterator[None]:
    """Each server manages one of its own."""
    for host, there in enumerate(port.fleet.hosts):
        docker(port, host, "swarm", "init", "--advertise-addr", there.address)
    try:
        yield
    finally:
        for host in range(len(port.fleet.hosts)):
            docker(port, host, "swarm", "leave", "--force")


@contextmanager
def cut_off(port: Port, host: int) -> Iterator[None]:
    """Its cable is pulled until the block is left."""
    far = port.fleet.hosts[host].namespace
    assert far is not None
    far.cut()
    try:
        yield
    finally:
        far.mend()


def test_a_server_that_vanishes_in_a_rolling_deploy_gets_its_turn_when_it_is_back(
    port: Port, app: App
) -> None:
    app.update(rolloutBatch=1)
    assert app.deploy("one")["state"] == "succeeded"

    with cut_off(port, 1):
        requested = app.ask("two")
        wait_until(lambda: app.states(requested)[0] == "succeeded", seconds=ENDED_WITHIN)
        meanwhile = app.one(requested)
    ended = app.ended(requested)

    assert meanwhile["finishedAt"] is None
    assert ended["state"] == "succeeded", ended
    assert [app.versions(host) for host in (0, 1)] == [["two"], ["two"]]


def test_a_rolling_deploy_that_waits_for_a_server_which_is_gone_can_be_cancelled(
    port: Port, app: App
) -> None:
    app.update(rolloutBatch=1)
    assert app.deploy("one")["state"] == "succeeded"

    with cut_off(port, 1):
        requested = app.ask("two")
        wait_until(lambda: app.states(requested)[0] == "succeeded", seconds=ENDED_WITHIN)
        port.stack.call("deployment.cancel", {"deploymentId": requested})
        ended = app.ended(requested)

    assert (ended["state"], ended["error"]["code"]) == ("cancelled", "cancelled")
    assert [place["state"] for place in ended["servers"]] == ["succeeded", "cancelled"]
    assert [app.versions(host) for host in (0, 1)] == [["two"], ["one"]]
    again = app.deploy("three")
    assert again["state"] == "succeeded", again


def test_an_engine_that_dies_in_the_switch_runs_the_new_version_when_it_is_back(
    port: Port, app: App
) -> None:
    app.update(ports=[{"publishedPort": 8421, "targetPort": 8080}])
    assert app.deploy("one", SLOW_TO_END)["state"] == "succeeded"
    engine = port.fleet.hosts[1].engine
    assert engine is not None

    requested = app.ask("two")
    wait_until(partial(is_ending, port, app), seconds=ENDED_WITHIN)
    engine.kill()
    engine.start_again()
    ended = app.ended(requested)

    assert ended["state"] == "succeeded", ended
    for host in (0, 1):
        assert app.containers(host) == {app.name: "two"}


def is_ending(port: Port, app: App) -> bool:
    """Return whether the old container was asked to stop: the new one waits for its ports."""
    with suppress(subprocess.CalledProcessError):
        shape = "{{.State.Status}} {{len .HostConfig.PortBindings}}"
        return docker(port, 1, "inspect", "--format", shape, f"{app.name}.new") == "created 1"
    return False


@pytest.mark.parametrize("runtime", ["container", "service"])
def test_a_rollout_cancelled_while_its_worker_is_dead_is_restored_by_the_next_one(
    port: Port, app: App, runtime: str
) -> None:
    with swarms(port):
        app.update(runtime=runtime)
        assert app.deploy("one")["state"] == "succeeded"
        app.update(healthCheck=STARTING)
        requested = app.ask("two")
        wait_until(lambda: "two" in app.versions(1), seconds=ENDED_WITHIN)
        port.servers[1].worker.kill()
        port.stack.call("deployment.cancel", {"deploymentId": requested})
        cancelled = app.ended(requested)
        meanwhile = app.versions(1)
        port.stack.revive()
        wait_until(
            lambda: [app.versions(host) for host in (0, 1)] == [["one"]] * 2, seconds=ENDED_WITHIN
        )
        remove_service(port, app, runtime)

    assert [place["state"] for place in cancelled["servers"]] == ["cancelled"] * 2
    assert "two" in meanwhile


def remove_service(port: Port, app: App, runtime: str) -> None:
    for host in (0, 1) if runtime == "service" else ():
        docker(port, host, "service", "rm", app.name)


def test_changes_of_a_failed_rollout_are_restored_where_that_is_requested(
    port: Port, app: App
) -> None:
    port_before, port_after = 8422, 8423
    ports = [{"publishedPort": port_before, "targetPort": 8080}]
    app.update(rolloutBatch=1, rolloutOnFailure="rollback", ports=ports)
    assert app.deploy("one")["state"] == "succeeded"
    make(port, 1, "stranger", WELL, "stranger")
    taking = ("--publish", f"{port_after}:80", "--name", "stranger")
    docker(port, 1, "run", "--detach", *taking, "stranger")

    app.update(ports=[{"publishedPort": port_after, "targetPort": 8080}])
    try:
        failed = app.deploy("two")
        wait_until(lambda: app.versions(0) == ["one"], seconds=ENDED_WITHIN)
        wait_until(lambda: all(each["finishedAt"] for each in app.all()), seconds=ENDED_WITHIN)
    finally:
        docker(port, 1, "rm", "--force", "stranger")

    assert (failed["state"], failed["error"]["code"]) == ("failed", "port_taken"), failed
    assert [place["state"] for place in failed["servers"]] == ["succeeded", "failed"]
    undone = app.all()[0]
    assert (undone["state"], undone["rollsBack"]) == ("succeeded", failed["deploymentId"]), undone
    for host in (0, 1):
        assert app.containers(host) == {app.name: "one"}
        assert docker(port, host, "port", app.name).startswith(f"8080/tcp -> 0.0.0.0:{port_before}")


def test_a_service_is_deployed_refused_and_changed_on_the_swarm_of_each_server(
    port: Port, app: App
) -> None:
    with swarms(port):
        app.update(runtime="service", replicas=2)
        first = app.deploy("one")
        broken = app.deploy("bad", "exit 3")
        wait_until(lambda: [app.versions(host) for host in (0, 1)] == [["one"] * 2] * 2)
        second = app.deploy("two")
        wait_until(lambda: [app.versions(host) for host in (0, 1)] == [["two"] * 2] * 2)

    assert first["state"] == "succeeded", first
    assert (broken["state"], broken["error"]["code"]) == ("failed", "container_exited"), broken
    assert second["state"] == "succeeded", second
    assert PASSWORD not in str((first, broken, second))


@pytest.mark.parametrize("runtime", ["container", "service"])
def test_each_request_is_answered_where_two_versions_can_listen_at_once(
    port: Port, app: App, runtime: str
) -> None:
    with swarms(port):
        app.update(runtime=runtime, healthCheck=ANSWERS)
        assert app.deploy("one", SERVING)["state"] == "succeeded"
        with asking(app, 0) as while_refused:
            refused = app.deploy("bad", "exit 3")
        with asking(app, 0) as while_replaced:
            good = app.deploy("two", SERVING)
        remove_service(port, app, runtime)

    assert (refused["state"], good["state"]) == ("failed", "succeeded")
    assert set(while_refused) == {"one"}
    assert set(while_replaced) == {"one", "two"}
