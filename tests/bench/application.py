"""An application in several versions, deployed and rolled back as its caller waits for it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.bench.scene import LOOK_SECONDS, Scene
from tests.worker.engine.contexts import BUSYBOX
from worker.local.demo.deployment import DOCKERFILE, DemoDeployment
from worker.local.fleet import Fleet
from worker.local.repository import LocalRepository
from worker.local.stack import LocalServer

PORT = 8402
NOISE_BYTES = 8_000_000
"""New in each version, beside what all of them begin with."""

PLACES = ("reference", "retained")
SEEN_SECONDS = 0.05
POINTS_WITHIN = 30.0
FILE = (
    DOCKERFILE
    + (
        f"RUN busybox head -c {NOISE_BYTES} /dev/urandom > /noise\n"
        'HEALTHCHECK --interval=1s CMD ["/bin/busybox", "grep", "yes", "/healthy"]\n'
    ).encode()
)


@dataclass(frozen=True)
class Version:
    """An image that was built: ``pushed`` and ``retained`` name it by its digest."""

    number: int
    build_id: str
    digest: str
    pushed: str
    retained: str


@dataclass(frozen=True)
class Deployed:
    """Seconds from the call until its caller saw that it runs everywhere, and the reported gap."""

    seconds: float
    gap_seconds: float


@dataclass
class Application:
    """Its image brings its own health check; it runs on some of the scene's servers."""

    scene: Scene
    name: str
    runtime: str
    application_id: str
    servers: list[LocalServer]
    versions: list[Version] = field(default_factory=list)

    def build(self) -> Version:
        """One version more, which no other has bytes of."""
        number = len(self.versions)
        chosen = self.chosen
        variables = {"buildArgs": f"VERSION={number}\nHEALTHY=yes"}
        self.scene.stack.call("application.saveEnvironment", chosen | variables)
        build_id = self.scene.call("application.build", chosen)["buildId"]
        build = self.scene.ended("build.one", {"buildId": build_id})
        assert build["state"] == "succeeded", build
        places = [f"{_untagged(build[place])}@{build['digest']}" for place in PLACES]
        self.versions.append(Version(number, build_id, build["digest"], *places))
        return self.versions[-1]

    def move(self, servers: list[LocalServer]) -> None:
        """Say where it runs from now on."""
        self.servers = servers
        where = {"serverIds": [server.server_id for server in servers]}
        self.scene.stack.call("application.update", self.chosen | where)

    def deploy(self, version: Version) -> Deployed:
        """Run a version in place of what runs."""
        return self._succeeded(
            version, "application.deploy", self.chosen | {"buildId": version.build_id}
        )

    def roll_back(self, version: Version) -> Deployed:
        """Likewise, by the version's rollback point."""
        requested = {"rollbackId": self._points()[version.digest]}
        return self._succeeded(version, "rollback.rollback", requested)

    def wait_for_points(self, versions: Sequence[Version]) -> None:
        """Return once each has its rollback point."""
        until = time.monotonic() + POINTS_WITHIN
        while not {version.digest for version in versions} <= self._points().keys():
            assert time.monotonic() < until, "there is no rollback point"
            time.sleep(LOOK_SECONDS)

    def clear(self) -> None:
        """Take it off the servers where it runs."""
        if self.runtime != "service":
            self.seen().clear()
            return
        names = {server.name for server in self.servers}
        for number, host in enumerate(self.scene.fleet.hosts):
            if host.name in names:
                self.scene.docker(number, "service", "rm", self.name)

    def seen(self) -> DemoDeployment:
        """A client that polls it from outside, at the published port of its servers."""
        fleet = self.scene.fleet
        names = {server.name for server in self.servers}
        hosts = tuple(host for host in fleet.hosts if host.name in names)
        return DemoDeployment(
            self.scene.stack,
            Fleet(fleet.address, hosts),
            self.servers,
            self.application_id,
            PORT,
            lambda look, _enough: look(),
        )

    @property
    def chosen(self) -> dict[str, Any]:
        return {"applicationId": self.application_id}

    def _points(self) -> dict[str, str]:
        """Return the rollback points that are offered, by digest."""
        points = self.scene.call("rollback.all", self.chosen)
        return {point["digest"]: point["rollbackId"] for point in points if point["offered"]}

    def _succeeded(
        self, version: Version, procedure: str, requested: Mapping[str, object]
    ) -> Deployed:
        begun = time.perf_counter()
        chosen = {"deploymentId": self.scene.call(procedure, requested)["deploymentId"]}
        deployment = self.scene.ended("deployment.one", chosen, SEEN_SECONDS)
        took = time.perf_counter() - begun
        assert deployment["state"] == "succeeded", deployment
        assert deployment["digest"] == version.digest, deployment
        gaps = [server["gapSeconds"] or 0.0 for server in deployment["servers"]]
        return Deployed(took, max(gaps))


@contextmanager
def open_application(
    scene: Scene, name: str, runtime: str, ports: Sequence[Mapping[str, object]] = ()
) -> Iterator[Application]:
    """Build an application on the first server; remove it everywhere at the end of the block."""
    directory = scene.directory / name
    directory.mkdir()
    files = {"Dockerfile": FILE, "busybox": BUSYBOX.read_bytes()}
    repository = LocalRepository.start(directory, address=scene.fleet.address, files=files)
    settings = {**_settings(scene, name), "runtime": runtime, "ports": list(ports)}
    made = scene.stack.call("application.create", settings)
    application = Application(scene, name, runtime, made["applicationId"], [])
    source = {"customGitUrl": repository.url, "customGitBranch": "main"}
    scene.stack.call("application.saveGitProvider", application.chosen | source)
    try:
        yield application
    finally:
        repository.stop()
        application.clear()
        scene.stack.call("application.remove", application.chosen)


def _settings(scene: Scene, name: str) -> dict[str, Any]:
    build, keep = (scene.registry()[1] for _ in range(2))
    return {
        "name": name,
        "appName": name,
        "buildRegistryId": build,
        "rollbackRegistryId": keep,
        "rollbackActive": True,
        "buildServerId": scene.servers[0].server_id,
    }


def _untagged(image: str) -> str:
    return image.rpartition(":")[0]
