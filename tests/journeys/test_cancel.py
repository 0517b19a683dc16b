"""A job that is cancelled, in every phase: it ends within 5 s, and then no byte flows any more."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from shared.reference import parse_reference
from tests.chaos.front import Front, HeldRequest, open_front
from tests.journeys.conftest import PASSWORD, Port, login
from tests.journeys.jobs import Job
from tests.proxies import Proxy, open_proxy
from tests.serving import open_loop, serving
from worker.local.images import make_image
from worker.oci.registry.manifest import ACCEPT
from worker.server.runtime import LoopThread

ENDS_WITHIN_SECONDS = 5.0
SLOW = 4_000_000
LAYER_BYTES = 20_000_000


@dataclass(frozen=True)
class LinkScenario:
    """The registry of the port behind a link of its own; ``registry_id`` is the way over it."""

    port: Port
    link: Proxy
    front: Front
    loop: LoopThread
    registry_id: str

    def make_image(self, name: str, *, seed: int, layer_bytes: int = LAYER_BYTES) -> None:
        host = self.port.fleet.hosts[0]
        make_image(host.docker_host, name, layer_bytes=(layer_bytes,), seed=seed)

    def push(self, image: str) -> str:
        return self.port.jobs.push(self.port.servers[0].server_id, self.registry_id, image)

    def cancel(self, job_id: str) -> float:
        """Request its cancellation; return the moment."""
        begun = time.monotonic()
        self.port.stack.call("job.cancel", {"jobId": job_id})
        return begun

    def cancel_held(
        self, name: str, hold: HeldRequest, *, release_after: float | None = None
    ) -> tuple[Job, str | None]:
        """How a push ends whose cancelling finds it held up there; and what the registry holds.

        It is held until it has ended, or so many seconds.
        """
        image = f"team/{name}:1"
        self.make_image(image, seed=35, layer_bytes=3000)
        self.front.hold = hold
        job_id = self.push(image)
        self.loop.run(asyncio.wait_for(hold.reached.wait(), 20))
        begun = self.cancel(job_id)
        if release_after is not None:
            self.loop.loop.call_soon_threadsafe(
                self.loop.loop.call_later, release_after, hold.go_on.set
            )
        job = self.port.jobs.ended(job_id)
        assert time.monotonic() - begun < ENDS_WITHIN_SECONDS
        self.loop.call(hold.go_on.set)
        self.loop.run(self.link.wait_until_quiet(seconds=ENDS_WITHIN_SECONDS))
        return job, self.digest(f"{self.link.host}/{image}")

    def require_end(self, job_id: str, begun: float) -> Job:
        """The job, cancelled in time, and the link silent from then on."""
        job = self.port.jobs.ended(job_id)
        assert job["state"] == "cancelled"
        assert time.monotonic() - begun < ENDS_WITHIN_SECONDS
        self.loop.run(self.link.wait_until_quiet(seconds=ENDS_WITHIN_SECONDS))
        passed = self.link.total_bytes
        with pytest.raises(TimeoutError):
            self.loop.run(self.link.wait_for(passed + 1, seconds=2))
        return job

    def digest(self, name: str) -> str | None:
        """Return the digest of ``host/repository:tag`` in the registry, if it is there."""
        reference = parse_reference(name)
        answer = httpx2.head(
            f"http://{self.port.registry.host}/v2/{reference.repository}/manifests/{reference.tag}",
            headers=ACCEPT,
            auth=("porter", PASSWORD),
        )
        return answer.headers.get("Docker-Content-Digest") if answer.is_success else None


@pytest.fixture
def scenario(port: Port) -> Iterator[LinkScenario]:
    address = port.fleet.address
    with (
        open_loop() as loop,
        serving(loop, open_front(port.registry.host, listen=address)) as (front, place),
        serving(loop, open_proxy((address, place), listen=address)) as link,
    ):
        body = login(port.registry, PASSWORD) | {
            "registryUrl": link.host,
            "registryName": f"behind {link.host}",
        }
        row = port.stack.call("registry.create", body)
        yield LinkScenario(port, link, front, loop, row["registryId"])


def _moved(job: Job, line: str) -> int:
    layers = (job["progress"] or {}).get("layers", [])
    return sum(layer["currentBytes"] for layer in layers if layer["id"] == line)


def ask(port: Port, procedure: str, body: dict[str, str]) -> str:
    """The id of a job that is not waited for."""
    headers = {"x-api-key": port.stack.admin_key, "prefer": "respond-async"}
    answer = httpx2.post(f"{port.stack.url}/api/{procedure}", json=body, headers=headers)
    return str(answer.json()["jobId"])


def test_a_queued_job_ends_at_once_and_is_never_begun(scenario: LinkScenario) -> None:
    scenario.make_image("team/queued:1", seed=31)
    scenario.link.bytes_per_second = SLOW
    first = scenario.push("team/queued:1")
    scenario.port.jobs.moving(first)
    second = scenario.push("team/queued:1")

    waiting = scenario.port.jobs.one(second)["state"]
    begun = scenario.cancel(second)
    ended = scenario.port.jobs.ended(second)
    scenario.require_end(first, scenario.cancel(first))

    assert (waiting, ended["state"], ended["attempts"]) == ("queued", "cancelled", [])
    assert time.monotonic() - begun < 2 * ENDS_WITHIN_SECONDS + 3


def test_a_dispatched_job_ends_at_once_and_is_never_begun(scenario: LinkScenario) -> None:
    scenario.make_image("team/dispatched:1", seed=32, layer_bytes=1000)
    worker = scenario.port.servers[0].worker
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        job_id = scenario.push("team/dispatched:1")
        scenario.port.jobs.until(job_id, lambda job: job["state"] == "dispatched", 5)
        begun = scenario.cancel(job_id)
        ended = scenario.port.jobs.ended(job_id)
        assert time.monotonic() - begun < ENDS_WITHIN_SECONDS
    finally:
        os.killpg(worker.pid, signal.SIGCONT)
    scenario.require_end(job_id, time.monotonic())

    assert [attempt["startedAt"] for attempt in ended["attempts"]] == [None]
    assert scenario.link.total_bytes == 0


def test_a_running_push_stops(scenario: LinkScenario) -> None:
    scenario.make_image("team/stopped:1", seed=33)
    scenario.link.bytes_per_second = SLOW
    job_id = scenario.push("team/stopped:1")
    scenario.port.jobs.moving(job_id)

    scenario.require_end(job_id, scenario.cancel(job_id))

    assert scenario.digest(f"{scenario.link.host}/team/stopped:1") is None


def test_a_running_pull_stops(scenario: LinkScenario) -> None:
    scenario.make_image("team/fetched:1", seed=34)
    scenario.port.jobs.verified(scenario.push("team/fetched:1"))
    scenario.link.bytes_per_second = SLOW
    server = scenario.port.servers[1]
    image = f"{scenario.link.host}/team/fetched:1"
    job_id = scenario.port.jobs.pull(server.server_id, scenario.registry_id, image)
    scenario.port.jobs.moving(job_id)

    scenario.require_end(job_id, scenario.cancel(job_id))


def test_a_running_pull_of_a_compose_file_stops_and_pins_nothing(scenario: LinkScenario) -> None:
    for name, seed in (("small", 36), ("large", 37)):
        scenario.make_image(
            f"team/{name}:1", seed=seed, layer_bytes=LAYER_BYTES if seed > 36 else 1000
        )
        scenario.port.jobs.verified(scenario.push(f"team/{name}:1"))
    images = {name: {"image": f"{scenario.link.host}/team/{name}:1"} for name in ("small", "large")}
    scenario.link.bytes_per_second = SLOW
    body = {
        "composeFile": json.dumps({"services": images}),
        "serverId": scenario.port.servers[1].server_id,
        "registryIds": [scenario.registry_id],
    }
    job_id = str(scenario.port.stack.call("compose.pull", body)["jobId"])
    scenario.port.jobs.until(job_id, lambda job: _moved(job, "large") > 0)

    job = scenario.require_end(job_id, scenario.cancel(job_id))

    assert job["result"] is None


def test_a_running_test_stops(scenario: LinkScenario) -> None:
    scenario.link.stall_after_bytes = 0
    body = {"registryId": scenario.registry_id, "serverId": scenario.port.servers[0].server_id}
    job_id = ask(scenario.port, "registry.testRegistryById", body)
    scenario.port.jobs.until(job_id, lambda job: job["state"] == "running", 10)

    scenario.require_end(job_id, scenario.cancel(job_id))


def test_a_tag_is_too_short_to_be_stopped(port: Port) -> None:
    host, server = port.fleet.hosts[0], port.servers[0]
    make_image(host.docker_host, "team/short:1")
    assert host.engine is not None
    host.engine.freeze()
    try:
        body = {"source": "team/short:1", "target": "team/short:2", "serverId": server.server_id}
        job_id = ask(port, "image.tag", body)
        port.jobs.until(job_id, lambda job: job["state"] == "running", 10)
        port.stack.call("job.cancel", {"jobId": job_id})
    finally:
        host.engine.thaw()
    tagged = port.jobs.ended(job_id)
    again = ask(port, "image.tag", body | {"source": "team/short:2", "target": "team/short:3"})

    assert tagged["state"] == port.jobs.ended(again)["state"] == "succeeded"


def test_a_cancel_while_the_tag_is_being_written_is_too_late(scenario: LinkScenario) -> None:
    hold = HeldRequest("PUT", "/manifests/", is_done=False)

    job, digest = scenario.cancel_held("written", hold, release_after=0.5)

    assert job["state"] == "succeeded"
    assert job["result"]["digest"] == digest


@pytest.mark.parametrize(
    "hold",
    [
        HeldRequest("PUT", "/manifests/", is_done=True),
        HeldRequest("HEAD", "/manifests/", is_done=False, is_written=True),
    ],
    ids=["the engine does not know yet", "only the registry's word is missing"],
)
def test_a_cancel_after_the_tag_is_written_is_too_late(
    scenario: LinkScenario, hold: HeldRequest
) -> None:
    job, digest = scenario.cancel_held(f"late-{hold.method.lower()}", hold)

    assert job["state"] == "succeeded"
    assert job["result"]["digest"] == digest
