"""The parts under faults: two servers, two control processes, a registry behind a link."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import redis

from tests.chaos.front import Front, open_front
from tests.proxies import Proxy, open_proxy
from tests.serving import open_loop, serving
from worker.broker_users import ADMIN
from worker.control.scheduling.publish import Publisher
from worker.local.engines import LocalEngine
from worker.local.fleet import Fleet, start_fleet
from worker.local.images import make_image
from worker.local.postgres import OWNER, LocalPostgres
from worker.local.processes import Child
from worker.local.registry import LocalRegistry
from worker.local.stack import LocalServer, Stack
from worker.local.valkey import LocalValkey
from worker.server.runtime import LoopThread

USER, PASSWORD = "porter", "password of the porter"
CONTROLS = ("control", "control-2")
HOSTS = ("chaos-1", "chaos-2")
SMALL_BYTES, LARGE_BYTES = 60_000, 3_000_000
DISK_BYTES = 1_000_000_000

CLOCKS = ("+600s", "-600s")
"""How wrong the clocks of the two servers' workers are, where that can be had."""


@dataclass
class Scene:
    """``link`` and ``front`` are on the way to ``registry``, and live on ``loop``.

    Each server has ``images`` of its own from the beginning, every third one large.
    """

    directory: Path
    fleet: Fleet
    stack: Stack
    servers: list[LocalServer]
    registry: LocalRegistry
    registry_id: str
    link: Proxy
    front: Front
    loop: LoopThread
    images: int

    @property
    def postgres(self) -> LocalPostgres:
        assert self.stack.postgres is not None
        return self.stack.postgres

    @property
    def valkey(self) -> LocalValkey:
        assert self.stack.valkey is not None
        return self.stack.valkey

    def child(self, role: str, target: int) -> Child:
        """The process of a role: ``api``, ``control`` or ``server``."""
        names = {"api": ("api",), "control": CONTROLS}
        found = names.get(role) or tuple(server.name for server in self.servers)
        return self.stack.children[found[target % len(found)]]

    def engine(self, target: int) -> LocalEngine:
        engine = self.fleet.hosts[target].engine
        assert engine is not None
        return engine

    def disk(self, target: int) -> Path:
        """Where an Engine stores its images: a disk of its own, so that it can be filled."""
        return self.engine(target).directory / "data"

    def broker(self) -> redis.Redis:
        """A client of the broker's administrator; close it."""
        return redis.Redis.from_url(self.valkey.url(ADMIN))

    def publisher(self) -> Publisher:
        """Return the application that control publishes with; close it."""
        return Publisher(self.valkey.url("control"))

    def database(self) -> psycopg.Connection:
        """A connection of the owner of all tables; close it."""
        return psycopg.connect(self.postgres.url(OWNER), autocommit=True, connect_timeout=5)

    def start_postgres(self) -> None:
        """Start it again where it was."""
        old = self.postgres
        self.stack.postgres = LocalPostgres.start(
            old.directory.path, listen=old.address, port=old.port, durable=False
        )

    def start_valkey(self, *, empty: bool) -> None:
        """Start it again where it was."""
        old = self.valkey
        if empty:
            shutil.rmtree(old.directory.path / "data")
        self.stack.valkey = LocalValkey.start(old.directory.path, listen=old.address, port=old.port)


@contextmanager
def open_scene(*, images: int, clock: Path | None = None) -> Iterator[Scene]:
    """Start everything, and stop it when the block is left; with ``clock`` the workers' are off."""
    with ExitStack() as closing:
        directory = Path(closing.enter_context(TemporaryDirectory(prefix="wharf-chaos-")))
        for name in HOSTS:
            closing.enter_context(_small_disk(directory / name / "data"))
        fleet = start_fleet(closing, directory, HOSTS)
        registry = LocalRegistry.start(
            directory / "registry",
            address=fleet.address,
            users={USER: PASSWORD},
            bcrypt_rounds=4,
        )
        closing.callback(registry.stop)
        stack = Stack.start(directory / "wharf", address=fleet.address, durable=False)
        closing.callback(stack.stop)
        stack.start_control(CONTROLS[1])
        servers = [
            stack.add_server(
                host.name, host.docker_host, wrapper=(*host.wrapper, *_wrong_time(clock, offset))
            )
            for host, offset in zip(fleet.hosts, CLOCKS, strict=True)
        ]
        loop = closing.enter_context(open_loop())
        front, port = closing.enter_context(
            serving(loop, open_front(registry.host, listen=fleet.address))
        )
        link = closing.enter_context(
            serving(loop, open_proxy((fleet.address, port), listen=fleet.address))
        )
        registry_id = _store(stack, link.host)
        _make_images(fleet, images)
        yield Scene(
            directory, fleet, stack, servers, registry, registry_id, link, front, loop, images
        )


@contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    """A disk in memory, which outlives the Engine that uses it."""
    place.mkdir(parents=True)
    options = f"size={DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def find_clock() -> Path | None:
    """The library of Debian's package faketime, if it is here."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def _wrong_time(clock: Path | None, offset: str) -> tuple[str, ...]:
    # Not with FAKETIME_DONT_FAKE_MONOTONIC: Python's timed waits for locks then spin or hang.
    return ("env", f"LD_PRELOAD={clock}", f"FAKETIME={offset}") if clock else ()


def _store(stack: Stack, host: str) -> str:
    row = stack.call(
        "registry.create",
        {
            "registryName": "ours",
            "registryUrl": host,
            "username": USER,
            "password": PASSWORD,
            "registryType": "selfHosted",
            "imagePrefix": "team",
            "plainHttp": True,
        },
    )
    return str(row["registryId"])


def _make_images(fleet: Fleet, images: int) -> None:
    for place, host in enumerate(fleet.hosts):
        for number in range(images):
            size = SMALL_BYTES if number % 3 else LARGE_BYTES
            seed = images * place + number
            make_image(host.docker_host, f"chaos/base:{number}", layer_bytes=(size,), seed=seed)
