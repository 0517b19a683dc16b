"""Copies from registry to registry, against skopeo and against an Engine's pull, tag and push."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.measure import Figure, median
from tests.bench.peers.carry import carry
from tests.bench.scene import PASSWORD, USER, Scene, seconds_until
from worker.local.fleet import REGISTRY_NETWORK
from worker.local.images import make_image
from worker.local.registry import LocalRegistry

LAYERS = (50_000_000,) * 4 + (20_000_000,) * 2
HUGE_LAYERS = (250_000_000,) * 4
ROUNDS, MOUNTS = 3, 6
IMAGE, HUGE = "bench/copied:1", "bench/huge:1"
MIB = 1024 * 1024


def measure(scene: Scene) -> Iterator[Figure]:
    bench = _Bench(scene, *scene.registry())
    source = bench.store(IMAGE, LAYERS)
    rounds = [
        (
            bench.carry(source)["seconds"],
            bench.job(source, scene.registry()[1], "copied"),
            bench.skopeo(source),
            bench.docker(source),
        )
        for _ in range(ROUNDS)
    ]
    ours, job, skopeo, docker = (median(times) for times in zip(*rounds, strict=True))
    yield Figure("copy 240 MB", "s", ours, skopeo, "skopeo copy", "≤ 0.9")
    yield Figure("copy 240 MB, as a job", "s", job, skopeo, "skopeo copy", "≤ 1.1")
    yield Figure("copy 240 MB", "s", ours, docker, "docker pull, tag, push", "≤ 0.2")
    mounts = [bench.mount(source, number) for number in range(MOUNTS)][1:]
    yield Figure("copy within one registry", "ms", median(mounts) * 1000, goal="< 100")
    names = [f"as-job-{number}" for number in range(MOUNTS)]
    within = [bench.job(source, bench.source_id, name) for name in names][1:]
    yield Figure("copy within one registry, as a job", "ms", median(within) * 1000, goal="< 100")
    carried = bench.carry(bench.store(HUGE, HUGE_LAYERS))
    yield Figure("memory of a 1 GB copy, above rest", "MiB", carried["bytes"] / MIB, goal="< 100")
    yield Figure("copy 1 GB", "s", carried["seconds"])


@dataclass(frozen=True)
class _Bench:
    scene: Scene
    source: LocalRegistry
    source_id: str

    def store(self, image: str, layer_bytes: tuple[int, ...]) -> str:
        """Make an image and bring it into the source registry; gives its reference there."""
        make_image(self.scene.fleet.hosts[0].docker_host, image, layer_bytes=layer_bytes, seed=12)
        reference = f"{self.source.host}/{image}"
        self._login(0, self.source)
        self.scene.docker(0, "tag", image, reference)
        self.scene.docker(0, "push", reference)
        self.scene.docker(0, "image", "rm", image, reference)
        return reference

    def carry(self, source: str) -> dict[str, float]:
        """Ours, in a process whose start is not counted: a worker runs already."""
        words = (sys.executable, "-m", "tests.bench.peers.carry", source)
        target = f"{self.scene.registry()[0].host}/bench/ours:1"
        message = _run(*words, target, REGISTRY_NETWORK, text=f"{USER} {PASSWORD}")
        answer: dict[str, float] = json.loads(message)
        return answer

    def job(self, source: str, registry_id: str, name: str) -> float:
        """Ours as a job of a server: from the call to the end that it tells."""
        body = {
            "image": source,
            "sourceRegistryId": self.source_id,
            "registryId": registry_id,
            "name": name,
            "serverId": self.scene.servers[0].server_id,
        }
        begun = time.time()
        job_id = self.scene.call("image.copy", body)["jobId"]
        job = self.scene.ended("job.one", {"jobId": job_id})
        assert job["state"] == "succeeded", job
        return seconds_until(job["finishedAt"], begun)

    def mount(self, source: str, number: int) -> float:
        """Ours in this process, which like a worker has done it before; the first is left out."""
        target = f"{self.source.host}/bench/mounted-{number}:1"
        return asyncio.run(carry(source, target, REGISTRY_NETWORK, USER, PASSWORD))

    def skopeo(self, source: str) -> float:
        registry, _ = self.scene.registry()
        words = ("skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false")
        login = f"{USER}:{PASSWORD}"
        begun = time.perf_counter()
        _run(
            *(*words, "--src-creds", login, "--dest-creds", login),
            *(f"docker://{source}", f"docker://{registry.host}/bench/skopeo:1"),
        )
        return time.perf_counter() - begun

    def docker(self, source: str) -> float:
        registry, _ = self.scene.registry()
        target = f"{registry.host}/bench/docker:1"
        for each in (self.source, registry):
            self._login(1, each)
        steps = (("pull", source), ("tag", source, target), ("push", target))
        seconds = sum(self.scene.docker(1, *step) for step in steps)
        self.scene.docker(1, "image", "rm", source, target)
        return seconds

    def _login(self, host: int, registry: LocalRegistry) -> None:
        words = ("login", registry.host, "--username", USER, "--password-stdin")
        self.scene.docker(host, *words, text=PASSWORD)


def _run(*words: str, text: str = "") -> str:
    done = subprocess.run(words, input=text, text=True, check=True, capture_output=True)
    return done.stdout
