"""The demo's deployments: a version on every server, a broken one that is refused, a good one."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from shared.tls import tls_context
from worker.engine import containers
from worker.engine.containers import APPLICATION
from worker.engine.transport.connection import Engine
from worker.local.fleet import Fleet
from worker.local.stack import LocalServer, Stack

TARGET_PORT = 8080
DOCKERFILE = b"""\
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
ARG VERSION=1
ARG HEALTHY=yes
RUN busybox mkdir /www; echo version $VERSION > /www/index.html; echo $HEALTHY > /healthy
CMD trap 'exit 0' TERM; busybox httpd -p 8080 -h /www; busybox sleep 999999 & wait
"""
HEALTH_CHECK = {"command": ["/bin/busybox", "grep", "yes", "/healthy"], "intervalSeconds": 1}

Until = Callable[[Callable[[], dict[str, Any]], Callable[[dict[str, Any]], bool]], dict[str, Any]]
"""Asks until what is found is enough."""


@dataclass(frozen=True)
class Answers:
    """The answers of all servers, and the time of the last one, by `time.monotonic`."""

    at: float
    answers: list[str]


@dataclass
class DemoDeployment:
    """An application on all servers, published at one port of each."""

    stack: Stack
    fleet: Fleet
    servers: list[LocalServer]
    application_id: str
    port: int
    until: Until

    def prepare(self) -> None:
        """Say where it runs, at which port, and when it is healthy."""
        settings = {
            "serverIds": [server.server_id for server in self.servers],
            "ports": [{"publishedPort": self.port, "targetPort": TARGET_PORT}],
            "healthCheck": HEALTH_CHECK,
        }
        self.stack.call("application.update", self._chosen | settings)

    def deploy(self, build_id: str) -> dict[str, Any]:
        """The deployment of a build, once it has ended."""
        return self._ended("application.deploy", self._chosen | {"buildId": build_id})

    def build_and_deploy(self, version: int, healthy: str) -> dict[str, Any]:
        """The deployment of a new version, once it has ended."""
        variables = f"VERSION={version}\nHEALTHY={healthy}"
        self.stack.call("application.saveEnvironment", self._chosen | {"buildArgs": variables})
        return self._ended("application.deploy", self._chosen)

    def roll_back(self, digest: str) -> dict[str, Any]:
        """The deployment that goes back to this image, once it has ended; where it is offered."""
        found = self.until(
            lambda: {"points": self._offered(digest)}, lambda answer: bool(answer["points"])
        )
        [point] = found["points"]
        return self._ended("rollback.rollback", {"rollbackId": point["rollbackId"]})

    def _offered(self, digest: str) -> list[dict[str, Any]]:
        points = self.stack.call("rollback.all", self._chosen)
        return [point for point in points if point["offered"] and point["digest"] == digest]

    def _ended(self, procedure: str, body: dict[str, Any]) -> dict[str, Any]:
        deployment_id = self.stack.call(procedure, body)["deploymentId"]
        return self.until(
            lambda: self.stack.call("deployment.one", {"deploymentId": deployment_id}),
            lambda deployment: bool(deployment["finishedAt"]),
        )

    def answers(self) -> list[str]:
        """Return the answer of each server at the published port, or the error."""
        return [_answer(f"http://{host.address}:{self.port}/") for host in self.fleet.hosts]

    @contextmanager
    def polling(self) -> Iterator[list[Answers]]:
        """All that the servers say while the block runs."""
        heard: list[Answers] = []
        over = threading.Event()

        def poll() -> None:
            while not over.wait(0.05):
                answers = self.answers()
                heard.append(Answers(time.monotonic(), answers))

        listener = threading.Thread(target=poll, name="listener")
        listener.start()
        try:
            yield heard
        finally:
            over.set()
            listener.join()

    def clear(self) -> None:
        """Take it off all servers: an Engine that is not ours goes on after us."""
        for host in self.fleet.hosts:
            asyncio.run(self._remove(host.docker_host))

    async def _remove(self, docker_host: str) -> None:
        async with Engine.open(docker_host) as engine:
            for container in await containers.find(engine, APPLICATION, self.application_id):
                await containers.remove(engine, container.container_id)

    @property
    def _chosen(self) -> dict[str, Any]:
        return {"applicationId": self.application_id}


def _answer(url: str) -> str:
    try:
        return httpx2.get(url, timeout=2, verify=tls_context()).text.strip()
    except httpx2.HTTPError as error:
        return type(error).__name__
