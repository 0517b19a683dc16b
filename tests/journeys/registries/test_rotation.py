"""A password is rotated on real Engines while they pull, and a wrong one is hardly ever sent."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from shared.errors import SetupError
from tests.journeys.conftest import Port, login
from tests.worker.local.conditions import wait_until
from worker.local.images import make_image
from worker.local.registry import LocalRegistry

OLD, NEW = {"before": "the old password"}, {"after": "the new password"}
REFUSED = re.compile(r"error authenticating user")
PULLS_PER_SECOND, SECONDS = 6.0, 5.0
"""By hand, on a machine that does nothing else, 20 a second for a minute."""


@dataclass
class Pulls:
    """Pulls on all servers in turn, at a steady rate, each of an image that none is pulling."""

    port: Port
    registry_id: str
    images: list[str]
    per_second: float
    jobs: list[Future[str]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = Event()
        with ThreadPoolExecutor(8) as pool:
            thread = Thread(target=self._submit, args=(pool, stop))
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()

    def _submit(self, pool: ThreadPoolExecutor, stop: Event) -> None:
        begun = time.monotonic()
        while not stop.wait(max(begun + len(self.jobs) / self.per_second - time.monotonic(), 0)):
            number = len(self.jobs)
            server = self.port.servers[number % len(self.port.servers)]
            image = self.images[number // len(self.port.servers) % len(self.images)]
            self.jobs.append(
                pool.submit(self.port.jobs.pull, server.server_id, self.registry_id, image)
            )

    def outcomes(self) -> list[dict[str, Any]]:
        return [self.port.jobs.ended(each.result(), 120) for each in self.jobs]


@pytest.fixture
def registry(port: Port, tmp_path: Path) -> Iterator[LocalRegistry]:
    started = LocalRegistry.start(tmp_path / "registry", address=port.fleet.address, users=OLD)
    yield started
    started.stop()


@pytest.fixture
def registry_id(port: Port, registry: LocalRegistry) -> Iterator[str]:
    body = login(registry, OLD["before"]) | {"registryName": "rotated", "username": "before"}
    servers = [server.server_id for server in port.servers]
    row = port.stack.call("registry.create", body | {"allowedServers": servers})
    yield row["registryId"]
    port.stack.call("registry.remove", {"registryId": row["registryId"]})


def rotation_of(port: Port, registry_id: str) -> dict[str, Any]:
    found: dict[str, Any] = port.stack.call("registry.one", {"registryId": registry_id})["rotation"]
    return found


def refused_logins(registry: LocalRegistry) -> int:
    return len(REFUSED.findall(registry.child.log.read_text()))


def push_images(port: Port, registry: LocalRegistry, registry_id: str, number: int) -> list[str]:
    """Push as many images from the first server; return their names at the registry."""
    names = [f"team/rotated:{each}" for each in range(number)]
    for seed, name in enumerate(names):
        make_image(port.fleet.hosts[0].docker_host, name, layer_bytes=(10_000,), seed=seed)
    server_id = port.servers[0].server_id
    jobs = [port.jobs.push(server_id, registry_id, name) for name in names]
    assert {port.jobs.ended(job)["state"] for job in jobs} == {"succeeded"}
    return [f"{registry.host}/{name}" for name in names]


def rotate_under_pulls(
    port: Port, registry: LocalRegistry, registry_id: str, per_second: float, seconds: float
) -> list[dict[str, Any]]:
    """Rotate amid pulls: the registry lets both users in, and only the new one afterwards."""
    images = push_images(port, registry, registry_id, 8)
    pulls = Pulls(port, registry_id, images, per_second)
    with pulls.running():
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() > begun + seconds / 3, seconds=seconds)
        registry.replace_users(OLD | NEW)
        body = {"registryId": registry_id, "username": "after", "password": NEW["after"]}
        assert port.stack.call("registry.rotate", body)["state"] == "switched"
        wait_until(lambda: rotation_of(port, registry_id)["jobsWithOldLogin"] == 0, seconds=60)
        registry.replace_users(NEW)
        left = begun + seconds
        wait_until(lambda: time.monotonic() > left, seconds=seconds)
    return pulls.outcomes()


def test_no_pull_fails_while_a_password_is_rotated(
    port: Port, registry: LocalRegistry, registry_id: str
) -> None:
    jobs = rotate_under_pulls(port, registry, registry_id, PULLS_PER_SECOND, SECONDS)

    assert len(jobs) > PULLS_PER_SECOND * SECONDS / 2
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert {len(job["attempts"]) for job in jobs} == {1}
    assert refused_logins(registry) == 0


def test_a_wrong_password_is_sent_at_most_three_times_by_the_whole_fleet(
    port: Port, registry: LocalRegistry, registry_id: str
) -> None:
    body = {"registryId": registry_id, "password": "wrong"}

    with pytest.raises(SetupError, match="the new login fails from the server"):
        port.stack.call("registry.rotate", body)

    assert 1 <= refused_logins(registry) <= 3
    rotation = rotation_of(port, registry_id)
    assert (rotation["state"], rotation["error"]["code"]) == ("refused", "auth_bad_credentials")
    pushed = port.jobs.push(port.servers[0].server_id, registry_id, push_one(port))
    assert port.jobs.ended(pushed)["state"] == "succeeded"


def push_one(port: Port) -> str:
    make_image(port.fleet.hosts[0].docker_host, "team/still:1")
    return "team/still:1"
