"""Programs that this machine runs for us: started, watched until ready, and stopped again.

A child gets a process group of its own, so that everything it started ends with it, and a
parent-death signal, so that it ends even when we are killed without a chance to clean up.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self, TypeVar

from shared.errors import SetupError

POLL = timedelta(milliseconds=20)
STARTS = 3

Started = TypeVar("Started")


@dataclass
class Child:
    """One running program; ``log`` holds what it prints."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    patience: timedelta = field(default=timedelta(seconds=8))

    @classmethod
    def start(
        cls,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        without: str | None = None,
        wrapper: Sequence[str] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Self:
        """Start ``argv``; ``wrapper`` is a command in front of it (``nsenter …``, ``unshare …``).

        ``env`` is added to our own environment, of which the variables that begin with
        ``without`` are kept from it: what we were given is not for every child.

        Raises:
            SetupError: there is no such program.
        """
        program = (*wrapper, *_dies_with_us(stop_signal), *argv)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - argv is ours, no shell
                    program,
                    env={**_environment(without), **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise SetupError(f"cannot start {name}: {error.strerror}: {program[0]}") from error
        return cls(name, process, log, stop_signal)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def wait_until(
        self, ready: Callable[[], bool], *, deadline: timedelta, every: timedelta = POLL
    ) -> None:
        """Return once ``ready()``, which is asked ``every`` so often.

        Raises:
            SetupError: the child ended, or the deadline passed; with the last lines of its log.
        """
        until = time.monotonic() + deadline.total_seconds()
        while not ready():
            if not self.is_alive:
                raise SetupError(f"{self.name} ended at its start: {self.last_words()}")
            if time.monotonic() > until:
                raise SetupError(f"{self.name} is not ready after {deadline}: {self.last_words()}")
            time.sleep(every.total_seconds())

    def ask_to_stop(self) -> None:
        """Send the stop signal and do not wait."""
        if self.is_alive:
            self.process.send_signal(self.stop_signal)

    def stop(self, patience: timedelta | None = None) -> None:
        """Ask the child to end, wait, then kill what is left of its group."""
        wait = self.patience if patience is None else patience
        if self.is_alive:
            self.ask_to_stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(wait.total_seconds())
        self.kill()

    def kill(self) -> None:
        """End the whole group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, as one line."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return " | ".join(text.strip().splitlines()[-lines:])[-800:]


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at the moment.

    Raises:
        SetupError: this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise SetupError(f"cannot listen on {address}: {error.strerror}") from error
        port: int = probe.getsockname()[1]
    return port


def on_free_port(address: str, start: Callable[[int], Started]) -> Started:
    """Return ``start(port)`` of a free port; try another one if the port was taken meanwhile.

    Raises:
        SetupError: ``start`` failed on each of `STARTS` ports.
    """
    for _ in range(STARTS - 1):
        with contextlib.suppress(SetupError):
            return start(free_port(address))
    return start(free_port(address))


def is_listening(address: str, port: int) -> bool:
    """Return whether a program accepts TCP connections there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def _environment(without: str | None) -> dict[str, str]:
    ours = os.environ.items()
    return {name: value for name, value in ours if not without or not name.startswith(without)}


def _dies_with_us(stop_signal: signal.Signals) -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", stop_signal.name, "--") if setpriv else ()
