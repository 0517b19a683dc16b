"""A registry test as a caller waits for it, against ``docker login`` with the same password."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.bench.measure import Figure, median
from tests.bench.scene import PASSWORD, USER, Scene

ONE_BY_ONE = 30
AT_ONCE = 20


def measure(scene: Scene) -> Iterator[Figure]:
    registry, registry_id = scene.registry()

    def ours(_: int) -> float:
        begun = time.perf_counter()
        body = {"registryId": registry_id, "serverId": scene.servers[0].server_id}
        assert scene.call("registry.testRegistryById", body) is True
        return time.perf_counter() - begun

    def cli(number: int) -> float:
        words = ("login", registry.host, "--username", USER, "--password-stdin")
        return scene.docker(0, *words, config=f"login-{number}", text=PASSWORD)

    singles = [(ours(number), cli(number)) for number in range(ONE_BY_ONE)]
    ours_one, cli_one = (median([pair[side] for pair in singles]) for side in (0, 1))
    yield Figure("registry test, one", "s", ours_one, cli_one, "docker login", "≤ 2")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        walls = []
        for ask in (ours, cli):
            list(pool.map(ask, range(AT_ONCE)))
            begun = time.perf_counter()
            list(pool.map(ask, range(AT_ONCE)))
            walls.append(time.perf_counter() - begun)
    yield Figure("registry test, 20 at once", "s", walls[0], walls[1], "docker login", "≤ 0.6")
