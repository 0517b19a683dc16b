"""Deployments as their caller sees them: going back, on more servers, and what a visitor misses."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from tests.bench.application import PORT, Application, Version, open_application
from tests.bench.measure import Figure, median
from tests.bench.peers.by_hand import Service, open_service, open_swarm
from tests.bench.scene import Scene
from worker.local.demo.deployment import TARGET_PORT, Answers
from worker.local.fleet import Fleet, start_fleet

RUNTIMES = ("container", "service")
PUBLISH_MODES: Mapping[str, Sequence[str | None]] = {
    "container": (None,),
    "service": ("host",),  # its other one, ingress, needs IPVS
}
"""In which ways a runtime can publish a port; a container has only one."""

Ports = Sequence[Mapping[str, object]]

OURS, PEER = 0, 1
"""Their hosts."""

ROUNDS, OTHER_ROUNDS, SERVER_ROUNDS, GAP_ROUNDS = 6, 4, 5, 5
NAMES = ("image", "ls", "--digests", "--format", "{{.Repository}}@{{.Digest}}")
SERVER_COUNTS = (1, 2, 4)
BY_HAND = "docker service update --image"


def measure(scene: Scene) -> Iterator[Figure]:
    for runtime in RUNTIMES:
        with _swarms(scene, runtime, (OURS,)):
            yield from _roll_back(scene, runtime, "no port", [])
            for mode in PUBLISH_MODES[runtime]:
                port = {"publishedPort": PORT, "targetPort": TARGET_PORT}
                ports = [port | ({"publishMode": mode} if mode else {})]
                how = f"a port published{f' by {mode}' if mode else ''}"
                yield from _roll_back(scene, runtime, how, ports)
                yield from _gap(scene, runtime, how, ports)
        yield from _spread(scene, runtime)


@dataclass(frozen=True)
class _Sides:
    """Two versions of one image, run by us and as a service; both have the older one's bytes."""

    scene: Scene
    ours: Application
    theirs: Service
    versions: tuple[Version, Version]

    def rounds(self, number: int, *options: str) -> Iterator[tuple[float, float]]:
        """To the older one and to the newer one, and so on; the image is on both hosts."""
        for version in self._alternating(number):
            # As after its deployment, where it was pulled from the build registry.
            self._forget(version)
            yield self.ours.roll_back(version).seconds, self.theirs.update(version.pushed, *options)

    def pulled_rounds(self, number: int) -> Iterator[tuple[float, float]]:
        """Likewise, but it is on neither, and pulled from the rollback registry."""
        for version in self._alternating(number):
            for host in (OURS, PEER):
                _prune(self.scene, host)
            yield self.ours.roll_back(version).seconds, self.theirs.update(version.retained)

    def _alternating(self, number: int) -> list[Version]:
        return [self.versions[each % 2] for each in range(number)]

    def _forget(self, version: Version) -> None:
        if version.retained in self.scene.docker_says(OURS, *NAMES):
            self.scene.docker(OURS, "image", "rm", version.retained)


def _roll_back(scene: Scene, runtime: str, how: str, ports: Ports) -> Iterator[Figure]:
    name = f"bench-back-{runtime}-{len(ports)}"
    with open_application(scene, name, runtime, ports) as ours:
        ours.move([scene.servers[OURS]])
        versions = ours.build(), ours.build()
        for version in versions:
            ours.deploy(version)
        ours.wait_for_points(versions)
        published = [
            f"--publish=mode=host,published={port['publishedPort']},target={port['targetPort']}"
            for port in ports
        ]
        with open_service(scene, PEER, name, versions[0].pushed, *published) as theirs:
            theirs.update(versions[1].pushed)
            sides = _Sides(scene, ours, theirs, versions)
            what = f"roll back a {runtime}, {how}"
            yield _figure(what, list(sides.rounds(ROUNDS)), BY_HAND, "≤ 1.2")
            quick = list(sides.rounds(OTHER_ROUNDS, "--update-monitor", "1s"))
            yield _figure(what, quick, f"{BY_HAND} --update-monitor 1s")
            theirs.update(versions[1].pushed, "--update-monitor", "5s")
            # At the end: then nothing is left of where the image was pulled from before.
            pulled = list(sides.pulled_rounds(OTHER_ROUNDS))
            yield _figure(f"{what}, image pulled", pulled, BY_HAND)


def _figure(name: str, rounds: Sequence[tuple[float, float]], peer: str, goal: str = "") -> Figure:
    ours, theirs = (median([pair[side] for pair in rounds]) for side in (0, 1))
    return Figure(name, "s", ours, theirs, peer, goal)


def _gap(scene: Scene, runtime: str, how: str, ports: Ports) -> Iterator[Figure]:
    """Measure what a client sees while a good version replaces the old one.

    One who asks at the wrong moment waits until the network asks again for it, a second later.
    """
    gaps, measured, failed = [], [], []
    with open_application(scene, f"bench-gap-{runtime}", runtime, ports) as ours:
        ours.move([scene.servers[OURS]])
        ours.deploy(ours.build())
        for _ in range(GAP_ROUNDS):
            version = ours.build()
            with ours.seen().polling() as heard:
                measured.append(ours.deploy(version).gap_seconds)
            gaps.append(_longest(heard))
            failed.append(sum(not _is_good(each) for each in heard))
    what = f"deploy a {runtime}, {how}"
    yield Figure(
        f"{what}: seen without an answer", "s", median(gaps), median(measured), "as reported"
    )
    yield Figure(f"{what}: requests that failed", "", median(failed))


def _is_good(heard: Answers) -> bool:
    return all(answer.startswith("version ") for answer in heard.answers)


def _longest(heard: Sequence[Answers]) -> float:
    """Seconds between two good answers that follow one another."""
    good = [each.at for each in heard if _is_good(each)]
    return max(after - before for before, after in itertools.pairwise(good))


def _spread(scene: Scene, runtime: str) -> Iterator[Figure]:
    """A version that no Engine has, on so many servers at once; of each size in turn."""
    times: dict[int, list[float]] = {count: [] for count in SERVER_COUNTS}
    most = max(SERVER_COUNTS)
    with (
        _more_servers(scene, most, runtime) as wide,
        _swarms(wide, runtime, range(most)),
        open_application(wide, f"bench-wide-{runtime}", runtime) as ours,
    ):
        for _ in range(SERVER_ROUNDS * len(SERVER_COUNTS) + 1):
            ours.build()
        for host in range(most):
            _prune(wide, host)
        first, *others = ours.versions
        ours.move(wide.servers)
        ours.deploy(first)
        for number, version in enumerate(others):
            count = SERVER_COUNTS[number % len(SERVER_COUNTS)]
            ours.move(wide.servers[:count])
            times[count].append(ours.deploy(version).seconds)
    for count, seconds in times.items():
        half = median(times[count // 2]) if count > 1 else None
        name = f"deploy a {runtime} to {count} server{'s' if count > 1 else ''}"
        peer, goal = (f"to {count // 2}", "≤ 1.5") if half else ("", "")
        yield Figure(name, "s", median(seconds), half, peer, goal)


@contextmanager
def _more_servers(scene: Scene, count: int, runtime: str) -> Iterator[Scene]:
    """The scene with as many servers as that, for a while; a name that was removed is used up."""
    names = tuple(f"{runtime}-{number + 1}" for number in range(len(scene.servers), count))
    with ExitStack() as closing:
        more = start_fleet(closing, scene.directory, names)
        fleet = Fleet(scene.fleet.address, scene.fleet.hosts + more.hosts)
        servers = list(scene.servers)
        for host in more.hosts:
            server = scene.stack.add_server(host.name, host.docker_host, wrapper=host.wrapper)
            closing.callback(scene.stack.remove_server, server)
            servers.append(server)
        yield replace(scene, fleet=fleet, servers=servers)


@contextmanager
def _swarms(scene: Scene, runtime: str, hosts: Sequence[int]) -> Iterator[None]:
    """A service runs on a Swarm: each host is one of its own."""
    with ExitStack() as closing:
        for host in hosts if runtime == "service" else ():
            closing.enter_context(open_swarm(scene, host))
        yield


def _prune(scene: Scene, host: int) -> None:
    """Leave only the images that run: no stopped container and no cache keeps another."""
    for what in (("container",), ("builder", "--all"), ("image", "--all")):
        scene.docker(host, what[0], "prune", "--force", *what[1:])
