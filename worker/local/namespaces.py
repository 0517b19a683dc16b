"""Network namespaces of our own: each is a server's network, with one cable to us.

A namespace lives as long as its holder, a process of ours that sleeps in it and dies with us. So
neither it nor its cable can be left over, not even when we are killed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from shared.errors import SetupError
from worker.local.processes import Child

NUMBERS = range(1, 255)
DEADLINE = timedelta(seconds=10)


@dataclass(frozen=True)
class Namespace:
    """One server's network: 10.77.``number``.2 on its side, 10.77.``number``.1 on ours."""

    name: str
    number: int
    holder: Child

    @classmethod
    def create(cls, name: str, number: int | None = None) -> Self:
        """A namespace with its cable plugged in; without a ``number`` it takes a free one.

        Raises:
            SetupError: not root, no ``ip``, or the number is taken.
        """
        holder = Child.start(
            f"namespace {name}",
            ["unshare", "--net", "--", "sleep", "infinity"],
            log=Path(os.devnull),
            stop_signal=signal.SIGKILL,
        )
        try:
            holder.wait_until(lambda: _is_apart(holder.pid), deadline=DEADLINE)
            namespace = cls(name, _plug_in(holder.pid, number), holder)
            namespace.mend()
        except BaseException:
            holder.kill()
            raise
        return namespace

    @property
    def address(self) -> str:
        """The server's own address, which others see."""
        return f"10.77.{self.number}.2"

    @property
    def our_address(self) -> str:
        """The address at which the server reaches our programs."""
        return f"10.77.{self.number}.1"

    @property
    def wrapper(self) -> tuple[str, ...]:
        """Return the words in front of a command that is to run on this server.

        (``ip netns exec`` would give it a ``/sys`` without cgroups, and Docker cannot do that.)
        """
        return _enter(self.holder.pid)

    def cut(self) -> None:
        """Pull the cable: nothing gets through, and no connection is closed."""
        self._inside("ip", "link", "set", "eth0", "down")

    def mend(self) -> None:
        """Plug the cable in; its default route went with it and is laid again."""
        self._inside("ip", "link", "set", "lo", "up")
        self._inside("ip", "link", "set", "eth0", "up")
        self._inside("ip", "route", "replace", "default", "via", self.our_address)

    @contextmanager
    def slow_link(self, rate: str) -> Iterator[None]:
        """Limit both directions of the cable during the block, to ``80mbit`` for example."""
        limit = f"root tbf rate {rate} burst 256kb latency 50ms".split()
        cable = _cable(self.number)
        self._inside("tc", "qdisc", "add", "dev", "eth0", *limit)
        try:
            _run("tc", "qdisc", "add", "dev", cable, *limit)
            yield
        finally:
            for run, device in ((self._inside, "eth0"), (_run, cable)):
                with contextlib.suppress(SetupError):
                    run("tc", "qdisc", "delete", "dev", device, "root")

    def remove(self) -> None:
        """End the namespace and its cable; what still runs in it loses its network."""
        with contextlib.suppress(SetupError):
            _run("ip", "link", "delete", _cable(self.number))
        self.holder.kill()

    def _inside(self, *command: str) -> None:
        _run(*self.wrapper, *command)


def _plug_in(pid: int, number: int | None) -> int:
    """Lay a cable into the namespace of ``pid``, and say which."""
    for candidate in [number] if number is not None else _numbers(pid):
        if _lay(_cable(candidate), pid):
            _give_addresses(candidate, pid)
            return candidate
    raise SetupError(
        f"the network 10.77.{'x' if number is None else number}.0/24 is in use",
        remedy="End other runs of wharf demo. If none runs, remove what one left: ip link delete "
        "wharfNUMBER.",
    )


def _lay(cable: str, pid: int) -> bool:
    """Take the name, and return whether it was free: the kernel gives each one away once."""
    if _is_laid(cable):
        return False
    try:
        _run("ip", *f"link add {cable} type veth peer name eth0 netns {pid}".split())
    except SetupError:
        if _is_laid(cable):
            return False
        raise
    return True


def _is_laid(cable: str) -> bool:
    return Path("/sys/class/net", cable).exists()


def _give_addresses(number: int, pid: int) -> None:
    _run("ip", *f"address add 10.77.{number}.1/24 dev {_cable(number)}".split())
    _run("ip", *f"link set {_cable(number)} up".split())
    _run(*_enter(pid), *f"ip address add 10.77.{number}.2/24 dev eth0".split())


def _numbers(pid: int) -> list[int]:
    """Every number, from one on that differs between processes that start at once."""
    start = pid % len(NUMBERS)
    return [*NUMBERS[start:], *NUMBERS[:start]]


def _enter(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{pid}/ns/net", "--")


def _cable(number: int) -> str:
    return f"wharf{number}"


def _is_apart(pid: int) -> bool:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino != Path("/proc/self/ns/net").stat().st_ino


def _program(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise SetupError(f"{name} is not installed")
    return path


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own words
        [_program(program), *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SetupError(f"{program} {' '.join(arguments)}: {done.stderr.strip()[:200]}")
