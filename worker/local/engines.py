"""Docker Engines of our own, each with everything it starts and mounts in a closed room.

An Engine starts containerd, containerd starts shims, shims start containers, each in a session of
its own; and all of them mount. So an Engine gets its own process and mount namespace: when dockerd
ends, in whatever way, the kernel ends the rest and the mounts are gone. It also sees a private
``/etc/docker`` (its registry certificates) and ``/run/containerd``. Other Engines are not touched.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

from shared.errors import SetupError
from worker.local.namespaces import Namespace
from worker.local.processes import Child

READY = timedelta(seconds=40)
PATIENCE = timedelta(seconds=3)
"""Containers that ignore SIGTERM would take 10 s of a polite stop; they are not worth it."""

MAX_SOCKET_PATH = 107
"""``sun_path`` of unix(7), without its final zero."""

_NO_NETWORK = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
_CGROUPS = Path("/sys/fs/cgroup")
_ENTER_ROOM = """set -e
mount --bind "$1" /etc/docker
mount --bind "$2" /run/containerd
[ "$3" = 0 ] || mount -t tmpfs -o "size=$3" tmpfs "$4"
shift 4
exec "$@"
"""


@dataclass
class LocalEngine:
    """One running Engine; starting another in the same directory after its end continues it."""

    directory: Path
    namespace: Namespace | None
    child: Child
    insecure_registries: tuple[str, ...] = ()
    dockerd: int = field(default=0)

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        namespace: Namespace | None,
        insecure_registries: tuple[str, ...] = (),
        disk_bytes: int = 0,
    ) -> Self:
        """An Engine that answers; its images, socket and log are under ``directory``.

        Without a namespace it has no network for containers. ``insecure_registries`` are hosts and
        networks to speak plain HTTP to. ``disk_bytes`` puts its images onto a disk of that size, in
        memory, which is lost at its end. A ``daemon.json`` in ``directory`` is its configuration.

        Raises:
            SetupError: a path that is too long for a socket, an Engine of somebody else's that this
                one would disturb, or dockerd does not start.
        """
        _require_socket_path(directory)
        if namespace is None:
            _require_no_bridge()
        _make_room(directory)
        child = Child.start(
            "dockerd",
            [*_room(directory, disk_bytes), *_dockerd(directory, namespace, insecure_registries)],
            log=directory / "dockerd.log",
            env=_environment(directory),
            wrapper=namespace.wrapper if namespace else (),
            stop_signal=signal.SIGKILL,
        )
        engine = cls(directory, namespace, child, insecure_registries)
        try:
            child.wait_until(engine.is_answering, deadline=READY)
            engine.dockerd = _only_child(child.pid)
        except BaseException:
            engine.kill()
            raise
        return engine

    @property
    def docker_host(self) -> str:
        """Its address, as ``DOCKER_HOST`` has it."""
        return f"unix://{_socket_path(self.directory)}"

    @property
    def cgroup(self) -> str:
        """The group, in each hierarchy, that its containers are in."""
        return _cgroup(self.directory)

    @property
    def address(self) -> str:
        """The address of the ports of its containers."""
        return self.namespace.address if self.namespace else "127.0.0.1"

    def is_answering(self) -> bool:
        """Return whether it answers a ping within a second."""
        return _is_answering(socket.AF_UNIX, str(_socket_path(self.directory)))

    def trust(self, registry: str, certificate: bytes) -> None:
        """Let it accept what this CA signed for a registry; works at once."""
        folder = self.directory / "etc" / "certs.d" / registry
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_bytes(certificate)

    def stop(self) -> None:
        """End it politely if it lets us, and all that it started in any case."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.kill(self.dockerd, signal.SIGTERM)
            self.child.process.wait(PATIENCE.total_seconds())
        self.kill()

    def kill(self) -> None:
        """End it at once, with its containers; what it holds on disk stays."""
        if self.child.is_alive:
            # The first process of a room: its end is complete only when all others have ended,
            # and our child, which waits for it, ends after that.
            _end(self.dockerd or _only_child(self.child.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.process.wait(PATIENCE.total_seconds())
        self.child.kill()
        _remove_cgroups(self.cgroup)

    def start_again(self) -> None:
        """Continue where it was killed."""
        fresh = self.start(
            self.directory,
            namespace=self.namespace,
            insecure_registries=self.insecure_registries,
        )
        self.child, self.dockerd = fresh.child, fresh.dockerd

    def freeze(self) -> None:
        """Let it hang: connections are accepted, nothing answers."""
        os.kill(self.dockerd, signal.SIGSTOP)
        # Each thread stops when it next meets the signal; until then one may still answer.
        self.child.wait_until(lambda: _is_stopped(self.dockerd), deadline=PATIENCE)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.dockerd, signal.SIGCONT)


def engines_possible() -> str | None:
    """Why no Engine of our own can run here, in one sentence; nothing if one can."""
    if os.geteuid():
        return "Starting a Docker Engine takes root."
    needed = ("dockerd", "ip", "tc", "iptables", "nsenter", "unshare", "mount")
    missing = [name for name in needed if shutil.which(name) is None]
    return f"These programs are not installed: {', '.join(missing)}." if missing else None


def require_engine(docker_host: str) -> None:
    """Return if a Docker Engine, of whomever, answers at ``unix:///path`` or ``tcp://host:port``.

    Raises:
        SetupError: none does.
    """
    scheme, _, place = docker_host.partition("://")
    host, _, port = place.rpartition(":")
    if scheme == "unix":
        answers = _is_answering(socket.AF_UNIX, place)
    else:
        answers = port.isdigit() and _is_answering(socket.AF_INET, (host, int(port)))
    if not answers:
        require_right(docker_host)
        raise SetupError(
            f"no Docker Engine answers at {docker_host}",
            remedy="Start Docker, or say with DOCKER_HOST where it is.",
        )


def require_right(docker_host: str) -> None:
    """Check that this user may use the Engine's socket, if there is one.

    Raises:
        SetupError: the user may not.
    """
    scheme, _, path = docker_host.partition("://")
    if scheme == "unix" and Path(path).exists() and not _may_use(path):
        raise SetupError(
            f"this user may not use the socket of the Docker Engine, {path}",
            remedy="Run the command as root, or add the user to the group docker.",
        )


def _may_use(path: str) -> bool:
    return os.access(path, os.R_OK | os.W_OK, effective_ids=True)


def _is_answering(family: socket.AddressFamily, place: str | tuple[str, int]) -> bool:
    with socket.socket(family) as probe, contextlib.suppress(OSError):
        probe.settimeout(1)
        probe.connect(place)
        probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 " in probe.recv(64)
    return False


def _socket_path(directory: Path) -> Path:
    return directory / "docker.sock"


def _require_socket_path(directory: Path) -> None:
    path = _socket_path(directory)
    if not directory.is_absolute() or len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise SetupError(
            f"the path of a socket is too long or not absolute: {path}",
            remedy="Choose an absolute directory with a shorter path.",
        )


def _require_no_bridge() -> None:
    # dockerd --bridge=none deletes the docker0 of an Engine that runs beside it (reproduced).
    if Path("/sys/class/net/docker0").exists():
        raise SetupError(
            "another Docker Engine on this machine uses the bridge docker0",
            remedy="Stop it, or start this one in a network namespace.",
        )


def _make_room(directory: Path) -> None:
    """Folders, and nothing left of an Engine that was killed: its pids would look alive."""
    shutil.rmtree(directory / "run", ignore_errors=True)
    _socket_path(directory).unlink(missing_ok=True)
    for name in ("etc", "run", "data"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    configuration = directory / "daemon.json"
    if not configuration.exists():
        configuration.write_text("{}")
    for mount_point in ("/etc/docker", "/run/containerd"):
        Path(mount_point).mkdir(parents=True, exist_ok=True)


def _room(directory: Path, disk_bytes: int) -> list[str]:
    namespaces = ["--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    mounts = [str(directory / "etc"), str(directory / "run"), str(disk_bytes)]
    script = ["sh", "-c", _ENTER_ROOM, "room"]
    return ["unshare", *namespaces, "--", *script, *mounts, str(directory / "data")]


def _dockerd(
    directory: Path, namespace: Namespace | None, insecure_registries: tuple[str, ...]
) -> list[str]:
    # The sockets of containerd and its shims live in the room's /run: their paths stay short.
    places = {
        "--config-file": directory / "daemon.json",
        "--data-root": directory / "data",
        "--exec-root": "/run/containerd/docker",
        "--pidfile": "/run/containerd/docker.pid",
        "--host": f"unix://{_socket_path(directory)}",
        "--cgroup-parent": f"/{_cgroup(directory)}",
        "--exec-opt": "native.cgroupdriver=cgroupfs",
    }
    network = [] if namespace else _NO_NETWORK
    insecure = [f"--insecure-registry={name}" for name in insecure_registries]
    return ["dockerd", *(f"{flag}={value}" for flag, value in places.items()), *network, *insecure]


def _environment(directory: Path) -> dict[str, str]:
    """Return the environment of dockerd and of all that it starts.

    containerd leaves in TMPDIR what it died of. GOGC lets Go collect garbage more rarely: of each
    short program that an Engine starts for a container, that is a third of the processor time.
    """
    return {"TMPDIR": str(directory / "run"), "GOGC": "400"}


def _is_stopped(pid: int) -> bool:
    """Return whether all threads are stopped or wait for a disk, by the state in proc(5)."""
    with contextlib.suppress(OSError):  # a thread that ended meanwhile
        stats = [task / "stat" for task in Path(f"/proc/{pid}/task").iterdir()]
        return {stat.read_text().rpartition(")")[2].split()[0] for stat in stats} <= {"T", "D"}
    return False


def _only_child(pid: int) -> int:
    """The process that ``unshare`` forked, by the number that we see; 0 if there is none."""
    with contextlib.suppress(OSError):
        return int((Path(f"/proc/{pid}/task/{pid}/children").read_text() or "0").split()[0])
    return 0


def _end(pid: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _cgroup(directory: Path) -> str:
    return f"wharf-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]}"


def _remove_cgroups(name: str) -> None:
    for top in [*_CGROUPS.glob(f"*/{name}"), *_CGROUPS.glob(name)]:
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
