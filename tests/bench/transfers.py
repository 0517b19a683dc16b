"""Push and pull of a 240 MB image as jobs, against Docker's command line on the same Engines."""

import time
from collections.abc import Iterator
from typing import Any

from tests.bench.measure import Figure, median
from tests.bench.scene import PASSWORD, USER, Scene, seconds_until
from worker.local.images import make_image

LAYERS = (50_000_000,) * 4 + (20_000_000,) * 2
ROUNDS = 3
IMAGE = "bench/large:1"


def measure(scene: Scene) -> Iterator[Figure]:
    make_image(scene.fleet.hosts[0].docker_host, IMAGE, layer_bytes=LAYERS, seed=11)
    pushes: list[tuple[float, float]] = []
    pulls: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        push, pull = _ours(scene)
        cli_push, cli_pull = _cli(scene)
        pushes.append((push, cli_push))
        pulls.append((pull, cli_pull))
    for name, times in (("push 240 MB", pushes), ("pull 240 MB", pulls)):
        ours, cli = median([one for one, _ in times]), median([one for _, one in times])
        yield Figure(name, "s", ours, cli, "docker CLI", "≤ 1.05")


def _ours(scene: Scene) -> tuple[float, float]:
    registry, registry_id = scene.registry()
    source, target = (server.server_id for server in scene.servers)
    ours = {"registryId": registry_id}
    pushed, push = _job(scene, "image.push", ours | {"serverId": source, "image": IMAGE})
    reference = pushed["result"]["reference"]
    _, pull = _job(scene, "image.pull", ours | {"serverId": target, "image": reference})
    scene.docker(1, "image", "prune", "--all", "--force")
    scene.docker(0, "image", "rm", f"{registry.host}/{IMAGE}")
    return push, pull


def _cli(scene: Scene) -> tuple[float, float]:
    registry, _ = scene.registry()
    target = f"{registry.host}/{IMAGE}"
    for host in (0, 1):
        words = ("login", registry.host, "--username", USER, "--password-stdin")
        scene.docker(host, *words, text=PASSWORD)
    push = scene.docker(0, "tag", IMAGE, target) + scene.docker(0, "push", target)
    pull = scene.docker(1, "pull", target)
    scene.docker(1, "image", "prune", "--all", "--force")
    scene.docker(0, "image", "rm", target)
    return push, pull


def _job(scene: Scene, procedure: str, body: dict[str, str]) -> tuple[dict[str, Any], float]:
    """A job once it has ended, and the seconds from asking for it until then."""
    begun = time.time()
    job = scene.ended("job.one", {"jobId": scene.call(procedure, body)["jobId"]})
    assert job["state"] == "succeeded", job["error"]
    return job, seconds_until(job["finishedAt"], begun)
