"""The faults: each is entered when it begins and left when it is over."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random

from shared.jobs.store.sweep import AttemptMessage
from tests.chaos.front import Misbehaviour
from tests.chaos.scene import Scene

LONGER_THAN_A_LEASE = 18.0
Strike = Callable[[Scene, int, Random], AbstractContextManager[None]]

PUBLISHED = """
SELECT a.job_id, a.server_id, j.kind, a.attempt FROM job_attempt a JOIN job j USING (job_id)
 WHERE a.dispatched_at > now() - %s::interval
"""


@dataclass(frozen=True)
class Kind:
    """One kind of fault: what it strikes or needs, how many ``targets`` there are, how long."""

    name: str
    subjects: tuple[str, ...]
    seconds: float
    strike: Strike
    targets: int = 1


def killed(role: str) -> Strike:
    """Killed by -9; what watches over it starts it again."""

    @contextmanager
    def strike(scene: Scene, target: int, _: Random) -> Iterator[None]:
        scene.child(role, target).kill()
        yield

    return strike


def drained(role: str) -> Strike:
    """Asked to stop; what watches over it starts it again."""

    @contextmanager
    def strike(scene: Scene, target: int, _: Random) -> Iterator[None]:
        scene.child(role, target).ask_to_stop()
        yield

    return strike


def frozen(role: str) -> Strike:
    """Stopped in the middle of whatever it does, and woken up."""

    @contextmanager
    def strike(scene: Scene, target: int, _: Random) -> Iterator[None]:
        pid = scene.valkey.child.pid if role == "valkey" else scene.child(role, target).pid
        os.killpg(pid, signal.SIGSTOP)
        yield
        os.killpg(pid, signal.SIGCONT)

    return strike


def valkey_killed(*, empty: bool) -> Strike:
    @contextmanager
    def strike(scene: Scene, _: int, __: Random) -> Iterator[None]:
        scene.valkey.kill()
        yield
        scene.start_valkey(empty=empty)

    return strike


def valkey_command(*words: str) -> Strike:
    @contextmanager
    def strike(scene: Scene, _: int, __: Random) -> Iterator[None]:
        with scene.broker() as broker:
            broker.execute_command(*words)
        yield

    return strike


def postgres_ended(*, hard: bool) -> Strike:
    @contextmanager
    def strike(scene: Scene, _: int, __: Random) -> Iterator[None]:
        scene.postgres.kill() if hard else scene.postgres.stop()
        yield
        scene.start_postgres()

    return strike


@contextmanager
def connections_dropped(scene: Scene, _: int, __: Random) -> Iterator[None]:
    with scene.postgres.administer() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'wharf'"
        )
    yield


@contextmanager
def engine_killed(scene: Scene, target: int, _: Random) -> Iterator[None]:
    scene.engine(target).kill()
    yield
    scene.engine(target).start_again()


@contextmanager
def engine_frozen(scene: Scene, target: int, _: Random) -> Iterator[None]:
    scene.engine(target).freeze()
    yield
    scene.engine(target).thaw()


@contextmanager
def disk_full(scene: Scene, target: int, _: Random) -> Iterator[None]:
    """Not a byte more fits; an Engine that does not live through it is started again afterwards."""
    filler = scene.disk(target) / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(1_000_000)):
            pass
    yield
    filler.unlink()
    if not scene.engine(target).is_answering():
        scene.engine(target).kill()
        scene.engine(target).start_again()


@contextmanager
def cable_pulled(scene: Scene, target: int, _: Random) -> Iterator[None]:
    namespace = scene.fleet.hosts[target].namespace
    assert namespace is not None
    namespace.cut()
    yield
    namespace.mend()


@contextmanager
def link_slow(scene: Scene, _: int, __: Random) -> Iterator[None]:
    scene.link.bytes_per_second = 150_000
    yield
    scene.link.bytes_per_second = None


@contextmanager
def link_cutting(scene: Scene, _: int, __: Random) -> Iterator[None]:
    scene.link.cut_after_bytes = 30_000
    yield
    scene.link.cut_after_bytes = None


@contextmanager
def link_stalled(scene: Scene, _: int, __: Random) -> Iterator[None]:
    """Nothing passes, nobody notices; at the end the connections of that time are reset."""
    scene.link.stall_after_bytes = 0
    yield
    scene.link.stall_after_bytes = None
    scene.loop.call(scene.link.reset)


def registry_says(mood: Misbehaviour) -> Strike:
    @contextmanager
    def strike(scene: Scene, _: int, __: Random) -> Iterator[None]:
        scene.front.mood = mood
        yield
        scene.front.mood = None

    return strike


def messages_again(*, interval: str, times: int) -> Strike:
    """Every message of the last while again, several times, in another order."""

    @contextmanager
    def strike(scene: Scene, _: int, chance: Random) -> Iterator[None]:
        with scene.database() as connection:
            rows = connection.execute(PUBLISHED.encode(), (interval,)).fetchall()
        rings = [AttemptMessage(*row) for row in rows] * times
        chance.shuffle(rings)
        publisher = scene.publisher()
        scene.loop.run(publisher.publish(rings))
        publisher.close()
        yield

    return strike


FLUSHED = Kind("broker flushed", ("broker",), 0, valkey_command("FLUSHALL"))
CUT_OFF = Kind(
    "broker drops clients", ("broker",), 0, valkey_command("CLIENT", "KILL", "TYPE", "normal")
)
WORKER_KILLED = Kind("worker kill -9", ("worker",), 0, killed("server"), 2)
CONTROL_KILLED = Kind("control kill -9", ("control",), 0, killed("control"), 2)
BROKER_KILLED = Kind("broker kill -9", ("broker",), 2, valkey_killed(empty=False))
POSTGRES_RESTARTED = Kind("Postgres restarted", ("postgres",), 1, postgres_ended(hard=False))
DOUBLED = Kind(
    "messages thrice", ("postgres", "broker"), 0, messages_again(interval="5 s", times=3)
)
SERVER_CUT_OFF = Kind("server cut off", ("worker",), 20, cable_pulled, 2)

QUICK = (
    DOUBLED,
    WORKER_KILLED,
    FLUSHED,
    CONTROL_KILLED,
    BROKER_KILLED,
    CUT_OFF,
    POSTGRES_RESTARTED,
    Kind("Postgres drops connections", ("postgres",), 0, connections_dropped),
)
ALL = (
    *QUICK,
    Kind("messages late", ("postgres", "broker"), 0, messages_again(interval="1 h", times=1)),
    Kind("worker frozen", ("worker",), LONGER_THAN_A_LEASE, frozen("server"), 2),
    Kind("worker drained", ("worker",), 0, drained("server"), 2),
    Kind("control frozen", ("control",), LONGER_THAN_A_LEASE, frozen("control"), 2),
    Kind("API kill -9", ("api",), 0, killed("api")),
    Kind("API frozen", ("api",), 8, frozen("api")),
    Kind("broker restarted empty", ("broker",), 2, valkey_killed(empty=True)),
    Kind("broker frozen", ("broker",), 6, frozen("valkey")),
    Kind("Postgres kill -9", ("postgres",), 1, postgres_ended(hard=True)),
    Kind("Engine killed", ("engine",), 2, engine_killed, 2),
    Kind("Engine frozen", ("engine",), 12, engine_frozen, 2),
    Kind("disk full", ("engine",), 8, disk_full, 2),
    SERVER_CUT_OFF,
    Kind("link slow", ("link",), 8, link_slow),
    Kind("link cuts", ("link",), 6, link_cutting),
    Kind("link stalls", ("link",), 8, link_stalled),
    *(
        Kind(f"registry says {mood}", ("registry",), 5, registry_says(mood))
        for mood in Misbehaviour
    ),
)
