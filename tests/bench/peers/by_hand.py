"""The peer of a deployment: a service of a Swarm of one, changed by Docker's command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench.scene import PASSWORD, USER, Scene


@dataclass(frozen=True)
class Service:
    """One replica of an image, on one host."""

    scene: Scene
    host: int
    name: str

    def update(self, image: str, *options: str) -> float:
        """Seconds until Docker's command line says that it has converged."""
        words = ("service", "update", "--detach=false", "--with-registry-auth", *options)
        return self.scene.docker(self.host, *words, "--image", image, self.name)


@contextmanager
def open_service(
    scene: Scene, host: int, name: str, image: str, *options: str
) -> Iterator[Service]:
    """Run an image on a host, which is a Swarm for that while."""
    with open_swarm(scene, host):
        for registry in scene.registries:
            login = ("login", registry.host, "--username", USER, "--password-stdin")
            scene.docker(host, *login, text=PASSWORD)
        words = ("service", "create", "--detach=false", "--with-registry-auth", "--name", name)
        scene.docker(host, *words, *options, image)
        yield Service(scene, host, name)


@contextmanager
def open_swarm(scene: Scene, host: int) -> Iterator[None]:
    """Make a host a Swarm, of which it is the only node."""
    scene.docker(host, "swarm", "init", "--advertise-addr", scene.fleet.hosts[host].address)
    try:
        yield
    finally:
        scene.docker(host, "swarm", "leave", "--force")
