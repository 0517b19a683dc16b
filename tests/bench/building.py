"""Build, push and retain as one build of ours, against the commands that Dokploy runs for it."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.measure import Figure, median
from tests.bench.scene import PASSWORD, USER, Scene, seconds_until
from worker.local.images import make_image
from worker.local.registry import LocalRegistry
from worker.local.repository import LocalRepository

ROUNDS = 3
PEER = "git clone, docker build, tag, push, tag, push"

LAYERS = 4
LAYER_BYTES = 40_000_000
NOISE = "FROM scratch\n" + "".join(f"COPY layer-{n} /layer-{n}\n" for n in range(LAYERS))

BASE = "bench-base:1"
BASE_BYTES = 150_000_000
APPLICATION_BYTES = 12_000_000
APPLICATION = f"FROM {BASE}\nCOPY . /app\n"
PROGRAMS = Path("/usr/lib")


def measure(scene: Scene) -> Iterator[Figure]:
    """Build what users have, an application on a base; then the worst, random bytes.

    All of it is new to both registries.
    """
    base, application = _programs()
    make_image(scene.fleet.hosts[0].docker_host, BASE, files=base)
    rounds = [_round(scene, n, _application(n, application)) for n in range(ROUNDS)]
    yield _figure("build, push, retain 12 MB on a base of 150 MB", rounds, "≤ 0.7")
    rounds = [_round(scene, n, _noise(n)) for n in range(ROUNDS, 2 * ROUNDS)]
    yield _figure("build, push, retain 160 MB of noise", rounds, "")


def _figure(name: str, rounds: Sequence[tuple[float, float]], goal: str) -> Figure:
    ours, theirs = (median([pair[side] for pair in rounds]) for side in (0, 1))
    return Figure(name, "s", ours, theirs, PEER, goal)


def _round(scene: Scene, number: int, files: dict[str, bytes]) -> tuple[float, float]:
    directory = scene.directory / f"sources-{number}"
    directory.mkdir()
    address = scene.fleet.address
    repository = LocalRepository.start(directory, address=address, files=files)
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


def _programs() -> tuple[dict[str, Path], list[Path]]:
    """Programs and libraries of this machine: those of the base, and those of the application."""
    base: dict[str, Path] = {}
    application: list[Path] = []
    room = BASE_BYTES
    for path in sorted(PROGRAMS.rglob("*.so*")):
        if path.is_symlink() or not path.is_file():
            continue
        if room > 0:
            base[str(path)] = path
            room -= path.stat().st_size
        elif room > -APPLICATION_BYTES:
            application.append(path)
            room -= path.stat().st_size
    return base, application


def _application(number: int, programs: Sequence[Path]) -> dict[str, bytes]:
    """Another one each round, so that nothing of it is cached anywhere."""
    files = {path.name: path.read_bytes() for path in programs}
    return {"Dockerfile": APPLICATION.encode(), "version": str(number).encode(), **files}


def _noise(number: int) -> dict[str, bytes]:
    chance = random.Random(number)  # noqa: S311 - to be repeated, not secret
    layers = {f"layer-{n}": chance.randbytes(LAYER_BYTES) for n in range(LAYERS)}
    return {"Dockerfile": NOISE.encode(), **layers}
