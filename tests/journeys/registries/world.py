"""The providers of registries under their real host names, and one server that knows them so.

A server, its Engine and control have a file of hosts and a CA of the test, by which the names of
the providers are fakes in front of a real registry.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from aiohttp import web

from tests.fakes import ecr as aws
from tests.fakes.certificates import Authority
from tests.fakes.providers.acr import Acr
from tests.fakes.providers.cloud import Cloud, Serve, names, open_clouds
from tests.fakes.providers.ecr import EcrRegistry
from tests.fakes.providers.ghcr import Ghcr
from tests.fakes.providers.google import Google
from tests.fakes.providers.hub import Hub
from tests.journeys.jobs import Jobs
from tests.serving import open_loop, serving
from tests.worker.local.conditions import wait_until
from worker.local.engines import LocalEngine
from worker.local.namespaces import Namespace
from worker.local.registry import LocalRegistry
from worker.local.stack import LocalServer, Stack

LIFE = timedelta(seconds=8)
SELF_HOSTED = "registry.example.com"
ROOM = 'mount --bind "$1" /etc/hosts && export SSL_CERT_FILE="$2" && shift 2 && exec "$@"'


@dataclass
class Account(Cloud):
    """An account of AWS, with a registry that delays the next ``slow`` blobs for an Engine."""

    services: aws.Aws = field(default_factory=aws.Aws)
    slow: int = 0

    def hosts(self) -> Mapping[str, Serve]:
        return {aws.API: self.services.api, aws.STS: self.services.sts, aws.HOST: self._serve}

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.services.session = self.session
        is_engine = request.headers.get("User-Agent", "").startswith("docker/")
        if self.slow and is_engine and request.method == "GET" and "/blobs/" in request.path:
            self.slow -= 1
            await asyncio.sleep(LIFE.total_seconds() + 1)
        return await self.services.distribution(request)


@dataclass(frozen=True)
class World:
    """The providers, and one server that knows them by their names."""

    stack: Stack
    server: LocalServer
    engine: LocalEngine
    google: Google
    account: Account
    acr: Acr
    hub: Hub
    room: tuple[str, ...]

    def create(self, body: dict[str, str]) -> dict[str, Any]:
        """Create a registry of the seed; Google's with the key of its service account."""
        if body["username"] == "_json_key":
            body = {**body, "password": self.google.account.text}
        created: dict[str, Any] = self.stack.call("registry.create", body)
        return created

    @property
    def clouds(self) -> tuple[Cloud, ...]:
        return (self.account, self.google, self.acr, self.hub)

    def shorten_tokens(self, life: timedelta) -> None:
        """Let each provider issue tokens with this life from now on."""
        self.account.services.life = life
        for tokens in (
            *(self.google.access, self.google.pulls, self.acr.refreshes, self.acr.access),
            self.hub.access,
        ):
            tokens.life = life

    def fail_tokens(self, failure: Callable[[], web.Response] | None) -> None:
        """Let every server that issues tokens answer this; ``None`` repairs them."""
        self.account.services.failure = failure
        for cloud in self.clouds:
            cloud.failure = failure

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.stack)

    def docker(self, *words: str) -> str:
        done = subprocess.run(
            ["docker", *words],
            env={**os.environ, "DOCKER_HOST": self.engine.docker_host},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()


@contextmanager
def open_world() -> Iterator[World]:
    """Start everything; end it when the block is left."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="wharf-")))
        authority = Authority(directory)
        namespace = Namespace.create("providers")
        stack.callback(namespace.remove)
        listen = namespace.our_address
        behind = LocalRegistry.start(directory / "behind")
        stack.callback(behind.stop)
        own = LocalRegistry.start(
            directory / "own",
            address=listen,
            port=5000,
            users={"admin": "registry-password"},
            certificate=authority.files("own", SELF_HOSTED),
        )
        stack.callback(own.stop)
        google = Google(behind.host)
        account = Account(behind.host, services=aws.Aws(registry=behind.host))
        acr, hub = Acr(behind.host), Hub(behind.host)
        clouds = (google, account, acr, hub, Ghcr(behind.host))
        ecr = EcrRegistry(behind.host)
        loop = stack.enter_context(open_loop())
        served = open_clouds(*clouds, ecr, authority=authority, listen=listen)
        stack.enter_context(serving(loop, served))
        table = {**names(*clouds, ecr), SELF_HOSTED: (listen,)}
        hosts = directory / "hosts"
        lines = [f"{address}\t{host}\n" for host, (address,) in table.items()]
        hosts.write_text(Path("/etc/hosts").read_text() + "".join(lines))
        files_of_room = (str(hosts), str(authority.file))
        room = ("unshare", "--mount", "--", "sh", "-c", ROOM, "room", *files_of_room)
        engine = _start_engine(stack, directory / "engine", namespace, hosts, authority.file)
        plane = Stack.start(directory / "wharf", address=listen, durable=False)
        stack.callback(plane.stop)
        plane.start_control(wrapper=room)
        server = plane.add_server(
            "providers", engine.docker_host, wrapper=(*namespace.wrapper, *room)
        )
        wait_until(lambda: _reads_hosts(engine), seconds=30)
        yield World(plane, server, engine, google, account, acr, hub, room)


def _reads_hosts(engine: LocalEngine) -> bool:
    """Return whether the Engine reads the new file of hosts: it keeps the former for seconds."""
    pulled = subprocess.run(
        ["docker", "pull", f"{SELF_HOSTED}:5000/none"],
        env={**os.environ, "DOCKER_HOST": engine.docker_host},
        capture_output=True,
        text=True,
        check=False,
    )
    return "lookup" not in pulled.stderr


def _start_engine(
    stack: ExitStack, directory: Path, namespace: Namespace, hosts: Path, authority: Path
) -> LocalEngine:
    """Start an Engine that trusts the CA as its system's own, and reads this file of hosts."""
    # Its DNS is out of reach: a question fails at once, and does not hang for ten seconds.
    no_way = ("ip", "route", "add", "unreachable", "default", "metric", "0")
    subprocess.run([*namespace.wrapper, "ip", "route", "del", "default"], check=True)
    subprocess.run([*namespace.wrapper, *no_way], check=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(authority))
        engine = LocalEngine.start(directory, namespace=namespace)
    stack.callback(engine.stop)
    enter = ("nsenter", "--mount", "--target", str(engine.dockerd), "--")
    subprocess.run([*enter, "mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    return engine
