"""The state machine: an application whose servers must run what is recorded, whatever happens."""

import secrets
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.sequences.scene import BROKEN, GOOD, HEALTHY, USER, Scene

HOSTS = (0, 1)


class Deployments(RuleBasedStateMachine):
    """``current`` is the image id that both servers must run; before the first, none."""

    scene: ClassVar[Scene]

    def __init__(self) -> None:
        super().__init__()
        self.current: str | None = None
        self.by_digest: dict[str, str] = {}
        if not self.scene.builds.is_up:
            self.scene.builds.again(self.scene.builds.password)
        self.registries = {name: self._store(name) for name in ("sources", "builds", "keep")}
        self.name = f"app-{secrets.token_hex(4)}"
        made = self.scene.stack.call(
            "application.create",
            {
                "name": self.name,
                "appName": self.name,
                "registryId": self.registries["sources"],
                "buildRegistryId": self.registries["builds"],
                "rollbackRegistryId": self.registries["keep"],
                "rollbackActive": True,
                "rollbacksToKeep": 2,
                "buildServerId": self.scene.servers[0].server_id,
                "serverIds": [server.server_id for server in self.scene.servers],
                "healthCheck": HEALTHY,
            },
        )
        self.application_id = str(made["applicationId"])

    def _store(self, name: str) -> str:
        registry = getattr(self.scene, name)
        row = self.scene.stack.call(
            "registry.create",
            {
                "registryName": f"{name} {secrets.token_hex(4)}",
                "registryUrl": registry.host,
                "username": USER,
                "password": registry.password,
                "registryType": "selfHosted",
                "imagePrefix": "team",
            },
        )
        return str(row["registryId"])

    @rule(number=st.integers(0, GOOD - 1))
    def deploy(self, number: int) -> None:
        deployment = self._deploy(number)
        if self.scene.builds.is_up:
            assert deployment["state"] == "succeeded", deployment
            self.current = self.scene.images[number]
            self.by_digest[deployment["digest"]] = self.current
        else:
            assert deployment["state"] == "failed", deployment

    @rule(number=st.integers(GOOD, GOOD + BROKEN - 1))
    def deploy_broken(self, number: int) -> None:
        deployment = self._deploy(number)
        assert deployment["state"] == "failed", deployment
        if self.scene.builds.is_up:
            assert deployment["error"]["code"] == "container_exited", deployment

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        chosen = {"applicationId": self.application_id}
        points = self.scene.stack.call("rollback.all", chosen)
        assert all(point["offered"] for point in points), points
        if points:
            point = points[data.draw(st.integers(0, len(points) - 1))]
            asked = {"rollbackId": point["rollbackId"]}
            deployment = self._ended("rollback.rollback", asked)
            assert deployment["state"] == "succeeded", deployment
            assert deployment["digest"] == point["digest"]
            self.current = self.by_digest[point["digest"]]

    @rule(host=st.sampled_from(HOSTS))
    def prune(self, host: int) -> None:
        self.scene.docker(host, "image", "prune", "--all", "--force")

    @rule()
    def rotate(self) -> None:
        password = secrets.token_hex(8)
        self.scene.keep.again(password)
        change = {"registryId": self.registries["keep"], "password": password}
        self.scene.stack.call("registry.update", change)

    @precondition(lambda self: self.scene.builds.is_up)
    @rule()
    def build_registry_down(self) -> None:
        self.scene.builds.stop()

    @precondition(lambda self: not self.scene.builds.is_up)
    @rule()
    def build_registry_up(self) -> None:
        self.scene.builds.again(self.scene.builds.password)

    @rule(host=st.sampled_from(HOSTS))
    def restart_engine(self, host: int) -> None:
        self.scene.restart_engine(host)

    @invariant()
    def what_is_recorded_is_what_runs(self) -> None:
        wanted = [] if self.current is None else [(self.name, self.current)]
        for host in HOSTS:
            assert self.scene.running(host, self.application_id) == wanted, host
        shown = self.scene.stack.call("deployment.all", {"applicationId": self.application_id})
        recorded = [each["digest"] for each in shown if each["state"] == "succeeded"]
        assert [self.by_digest[digest] for digest in recorded[:1]] == [image for _, image in wanted]

    def teardown(self) -> None:
        for host in HOSTS:
            for name, _ in self.scene.running(host, self.application_id):
                self.scene.docker(host, "rm", "--force", name)
        self.scene.stack.call("application.remove", {"applicationId": self.application_id})
        for registry_id in self.registries.values():
            self.scene.stack.call("registry.remove", {"registryId": registry_id})

    def _deploy(self, number: int) -> dict[str, Any]:
        chosen = {"applicationId": self.application_id}
        image = f"{self.scene.sources.host}/sources/app:{number}"
        self.scene.stack.call("application.saveDockerProvider", chosen | {"dockerImage": image})
        return self._ended("application.deploy", chosen)

    def _ended(self, procedure: str, asked: dict[str, Any]) -> dict[str, Any]:
        return self.scene.ended(self.scene.stack.call(procedure, asked)["deploymentId"])
