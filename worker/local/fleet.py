"""Servers on one machine: namespaces with an Engine each, or the one Engine we were given."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from shared.errors import SetupError
from worker.local.engines import LocalEngine, engines_possible
from worker.local.namespaces import Namespace

REGISTRY_NETWORK = "10.77.0.0/16"


@dataclass(frozen=True)
class Host:
    """One machine of the fleet; ``wrapper`` starts a program on it."""

    name: str
    docker_host: str
    wrapper: tuple[str, ...] = ()
    namespace: Namespace | None = None
    engine: LocalEngine | None = None

    @property
    def address(self) -> str:
        """The address of the ports of its containers."""
        return self.engine.address if self.engine else "127.0.0.1"


@dataclass(frozen=True)
class Fleet:
    """``address`` is where all hosts reach what runs on this machine."""

    address: str
    hosts: tuple[Host, ...]
    remark: str = ""


def start_fleet(stack: ExitStack, directory: Path, names: tuple[str, ...]) -> Fleet:
    """A host for each name, as far as this machine lets us; ``stack`` ends what was started.

    Raises:
        SetupError: neither an Engine of our own nor one in ``DOCKER_HOST``.
    """
    why_not = engines_possible()
    if why_not is None:
        hosts = tuple(_start_host(stack, directory, name) for name in names)
        first = hosts[0].namespace
        return Fleet(first.our_address if first else "127.0.0.1", hosts)
    docker_host = os.environ.get("DOCKER_HOST")
    if docker_host is None:
        raise SetupError(why_not, remedy="Run as root, or set DOCKER_HOST to an Engine to use.")
    remark = f"{why_not} So there is one server, with the Engine at {docker_host}."
    return Fleet("127.0.0.1", (Host(names[0], docker_host),), remark)


def _start_host(stack: ExitStack, directory: Path, name: str) -> Host:
    namespace = Namespace.create(name)
    stack.callback(namespace.remove)
    engine = LocalEngine.start(
        directory / name, namespace=namespace, insecure_registries=(REGISTRY_NETWORK,)
    )
    stack.callback(engine.stop)
    return Host(name, engine.docker_host, namespace.wrapper, namespace, engine)
