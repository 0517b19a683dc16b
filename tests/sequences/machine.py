"""The state machine: an application whose servers must run what is recorded, whatever happens."""

import secrets
import time
from collections import Counter
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shared.errors import SetupError
from tests.sequences.scene import BROKEN, GOOD, HEALTHY, USER, Scene
from tests.worker.local.conditions import wait_until

HOSTS = (0, 1)
MORTAL = ("worker", "Engine")
RUNTIMES = ("container", "service")
AGAIN = 90
MOMENTS = (0.0, 0.5, 1.0, 1.5, 2.0, 4.0)
"""Seconds until a cancel or a death: while it is pulled, begins, gets healthy, has ended."""


class Deployments(RuleBasedStateMachine):
    """``current`` is the image id that each server must run; before its first, none.

    ``counts`` holds what was done in all sequences, and how it ended.
    """

    scene: ClassVar[Scene]
    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.current: dict[int, str | None] = dict.fromkeys(HOSTS)
        self.by_digest: dict[str, str] = {}
        if not self.scene.builds.is_up:
            self.scene.builds.again(self.scene.builds.password)
        self.registries = {name: self._store(name) for name in ("sources", "builds", "keep")}
        self.name = f"app-{secrets.token_hex(4)}"

    @initialize(runtime=st.sampled_from(RUNTIMES), number=st.integers(0, GOOD - 1))
    def begin(self, runtime: str, number: int) -> None:
        self.runtime = runtime
        self.counts[f"sequence of a {runtime}"] += 1
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
                "runtime": runtime,
            },
        )
        self.application_id = str(made["applicationId"])
        self.deploy(number)

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
                "plainHttp": True,
            },
        )
        return str(row["registryId"])

    @rule(number=st.integers(0, GOOD - 1))
    def deploy(self, number: int) -> None:
        deployment = self._ended(self._ask(number))
        expected = "succeeded" if self.scene.builds.is_up else "failed"
        assert deployment["state"] == expected, deployment
        self._note(deployment, number)

    @precondition(lambda self: self.scene.builds.is_up)
    @rule(number=st.integers(0, GOOD - 1), other=st.integers(0, GOOD - 1))
    def deploy_twice_at_once(self, number: int, other: int) -> None:
        requested = self._ask(number), self._ask(other)
        first, second = (self._ended(each) for each in requested)
        assert first["state"] != "failed", first
        assert second["state"] == "succeeded", second
        self._note(first, number)
        self._note(second, other)

    @rule(number=st.integers(0, GOOD - 1), seconds=st.sampled_from(MOMENTS))
    def cancel(self, number: int, seconds: float) -> None:
        requested = self._ask(number)
        time.sleep(seconds)
        deployment = self._cancelled(requested)
        assert deployment["state"] != "failed" or not self.scene.builds.is_up, deployment
        self._note(deployment, number)

    @rule(
        number=st.integers(0, GOOD - 1),
        seconds=st.sampled_from(MOMENTS),
        host=st.sampled_from(HOSTS),
        dies=st.sampled_from(MORTAL),
    )
    def cancel_what_dies(self, number: int, seconds: float, host: int, dies: str) -> None:
        self.counts[f"cancel with a dead {dies}"] += 1
        requested = self._ask(number)
        time.sleep(seconds)
        with self._without(dies, host):
            deployment = self._cancelled(requested)
        self._note(deployment, number)

    @rule(
        number=st.integers(0, GOOD - 1),
        seconds=st.sampled_from(MOMENTS),
        host=st.sampled_from(HOSTS),
        dies=st.sampled_from(MORTAL),
    )
    def deploy_while_one_dies(self, number: int, seconds: float, host: int, dies: str) -> None:
        self.counts[f"deploy with a dead {dies}"] += 1
        requested = self._ask(number)
        time.sleep(seconds)
        with self._without(dies, host):
            pass
        deployment = self._ended(requested)
        assert deployment["state"] == "succeeded" or not self.scene.builds.is_up, deployment
        self._note(deployment, number)

    @rule(number=st.integers(GOOD, GOOD + BROKEN - 1))
    def deploy_broken(self, number: int) -> None:
        deployment = self._ended(self._ask(number))
        assert deployment["state"] == "failed", deployment
        if self.scene.builds.is_up:
            assert deployment["error"]["code"] == "container_exited", deployment

    @rule(place=st.integers(0, 5))
    def roll_back(self, place: int) -> None:
        """How many points there are depends on the moment, so that is nothing to draw from."""
        chosen = {"applicationId": self.application_id}
        points = self.scene.stack.call("rollback.all", chosen)
        assert all(point["offered"] for point in points), points
        if points:
            point = points[place % len(points)]
            requested = {"rollbackId": point["rollbackId"]}
            deployment = self._ended(self.scene.stack.call("rollback.rollback", requested))
            assert deployment["state"] == "succeeded", deployment
            assert deployment["digest"] == point["digest"]
            self._note(deployment)

    @rule(host=st.sampled_from(HOSTS))
    def prune(self, host: int) -> None:
        self.counts["prune"] += 1
        self.scene.docker(host, "image", "prune", "--all", "--force")

    @rule()
    def rotate(self) -> None:
        self.counts["rotate"] += 1
        password = secrets.token_hex(8)
        self.scene.keep.again(password)
        change = {"registryId": self.registries["keep"], "password": password}
        self.scene.stack.call("registry.update", change)

    @precondition(lambda self: self.scene.builds.is_up)
    @rule()
    def build_registry_down(self) -> None:
        self.counts["build registry down"] += 1
        self.scene.builds.stop()

    @precondition(lambda self: not self.scene.builds.is_up)
    @rule()
    def build_registry_up(self) -> None:
        self.scene.builds.again(self.scene.builds.password)

    @rule(host=st.sampled_from(HOSTS))
    def restart_engine(self, host: int) -> None:
        self.counts["restart Engine"] += 1
        self.scene.restart_engine(host)

    @invariant()
    def what_is_recorded_is_what_runs(self) -> None:
        chosen = {"applicationId": self.application_id, "limit": 50}
        shown = self.scene.stack.call("deployment.all", chosen)
        for host in HOSTS:
            current = self.current[host]
            self._require_running(host, [] if current is None else [(self.name, current)])
            recorded = [each["digest"] for each in shown if self._succeeded(each, host)]
            assert [self.by_digest[digest] for digest in recorded[:1]] == [current][: len(recorded)]

    def teardown(self) -> None:
        for host in HOSTS:
            for name in self.scene.services(host):
                self.scene.docker(host, "service", "rm", name)
            for name, _ in self.scene.running(host, self.application_id):
                if self.runtime == "container":
                    self.scene.docker(host, "rm", "--force", name)
        self.scene.stack.call("application.remove", {"applicationId": self.application_id})
        for registry_id in self.registries.values():
            self.scene.stack.call("registry.remove", {"registryId": registry_id})

    def _without(self, dies: str, host: int) -> AbstractContextManager[None]:
        if dies == "worker":
            return self.scene.without_worker(host)
        return self.scene.without_engine(host)

    def _require_running(self, host: int, wanted: list[tuple[str, str]]) -> None:
        """After a restart: a Swarm takes some time, and what was left is put right in some, too."""
        services = [name for name, _ in wanted if self.runtime == "service"]
        wait_until(
            lambda: (
                self.scene.services(host) == services
                and self.scene.running(host, self.application_id) == wanted
            ),
            seconds=AGAIN,
        )

    def _succeeded(self, deployment: dict[str, Any], host: int) -> bool:
        server_id = self.scene.servers[host].server_id
        return any(
            place["serverId"] == server_id and place["state"] == "succeeded"
            for place in deployment["servers"]
        )

    def _note(self, deployment: dict[str, Any], number: int | None = None) -> None:
        """The change of a step; ``number`` is the version that it has to deploy."""
        digest = deployment["digest"]
        if digest is not None and number is not None:
            self.by_digest[digest] = self.scene.images[number]
        for host in HOSTS:
            if self._succeeded(deployment, host):
                self.current[host] = self.by_digest[digest]

    def _ask(self, number: int) -> dict[str, Any]:
        chosen = {"applicationId": self.application_id}
        image = f"{self.scene.sources.host}/sources/app:{number}"
        self.scene.stack.call("application.saveDockerProvider", chosen | {"dockerImage": image})
        requested: dict[str, Any] = self.scene.stack.call("application.deploy", chosen)
        return requested

    def _cancelled(self, requested: dict[str, Any]) -> dict[str, Any]:
        try:
            chosen = {"deploymentId": requested["deploymentId"]}
            self.scene.stack.call("deployment.cancel", chosen)
        except SetupError as error:
            assert "already_ended" in str(error), error  # noqa: PT017 - it may be, or not
        return self._ended(requested)

    def _ended(self, requested: dict[str, Any]) -> dict[str, Any]:
        deployment = self.scene.ended(requested["deploymentId"])
        what = "rollback" if deployment["deploysRollbackId"] else "deployment"
        self.counts[f"{what} of a {self.runtime}: {deployment['state']}"] += 1
        return deployment
