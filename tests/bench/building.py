"""Build, push and retain as one build of ours, against the commands that Dokploy runs for it."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from tests.bench.measure import Figure, median
from tests.bench.scene import PASSWORD, USER, Scene, seconds_until
from worker.local.registry import LocalRegistry
from worker.local.repository import LocalRepository

ROUNDS = 3
LAYERS = 4
LAYER_BYTES = 40_000_000
DOCKERFILE = "FROM scratch\n" + "".join(f"COPY layer-{n} /layer-{n}\n" for n in range(LAYERS))


def measure(scene: Scene) -> Iterator[Figure]:
    times = [_round(scene, number) for number in range(ROUNDS)]
    ours, theirs = (median([pair[side] for pair in times]) for side in (0, 1))
    peer = "git clone, docker build, tag, push, tag, push"
    yield Figure("build, push, retain 160 MB", "s", ours, theirs, peer, "≤ 0.7")


def _round(scene: Scene, number: int) -> tuple[float, float]:
    directory = scene.directory / f"sources-{number}"
    directory.mkdir()
    address = scene.fleet.address
    repository = LocalRepository.start(directory, address=address, files=_files(number))
    try:
        return _ours(scene, number, repository), _commands(scene, number, repository)
    finally:
        repository.stop()
        shutil.rmtree(directory)


def _ours(scene: Scene, number: int, repository: LocalRepository) -> float:
    application = scene.stack.call("application.create", _settings(scene, number))
    chosen = {"applicationId": application["applicationId"]}
    source = {"customGitUrl": repository.url, "customGitBranch": "main"}
    scene.stack.call("application.saveGitProvider", chosen | source)
    begun = time.time()
    build_id = scene.call("application.build", chosen)["buildId"]
    build = scene.ended("build.one", {"buildId": build_id})
    assert build["state"] == "succeeded", build
    _clean(scene, build["reference"])
    return seconds_until(build["finishedAt"], begun)


def _settings(scene: Scene, number: int) -> dict[str, Any]:
    build, keep = (scene.registry()[1] for _ in range(2))
    return {
        "name": f"bench {number}",
        "appName": f"bench-{number}",
        "buildRegistryId": build,
        "rollbackRegistryId": keep,
        "rollbackActive": True,
        "buildServerId": scene.servers[0].server_id,
    }


def _commands(scene: Scene, number: int, repository: LocalRepository) -> float:
    directory = scene.directory / f"context-{number}"
    targets = [f"{_login(scene).host}/bench/bench-{number}:v1" for _ in range(2)]
    image = f"bench-{number}:latest"
    begun = time.perf_counter()
    words = ("git", "clone", "--quiet", "--depth=1", repository.url, str(directory))
    subprocess.run(words, check=True)
    scene.docker(0, "build", "--quiet", "--no-cache", "--tag", image, str(directory))
    for target in targets:
        scene.docker(0, "tag", image, target)
        scene.docker(0, "push", target)
    took = time.perf_counter() - begun
    _clean(scene, image, *targets)
    shutil.rmtree(directory)
    return took


def _login(scene: Scene) -> LocalRegistry:
    registry, _ = scene.registry()
    words = ("login", registry.host, "--username", USER, "--password-stdin")
    scene.docker(0, *words, text=PASSWORD)
    return registry


def _clean(scene: Scene, *images: str) -> None:
    for image in images:
        scene.docker(0, "image", "rm", image)


def _files(number: int) -> dict[str, bytes]:
    """Other bytes each round, so that nothing is cached anywhere."""
    chance = random.Random(number)  # noqa: S311 - to be repeated, not secret
    layers = {f"layer-{n}": chance.randbytes(LAYER_BYTES) for n in range(LAYERS)}
    return {"Dockerfile": DOCKERFILE.encode(), **layers}
