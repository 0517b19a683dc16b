"""Look-ups of names in threads of their own: a dead resolver holds up no other name.

``getaddrinfo`` cannot be cancelled and may take half a minute where no DNS server answers. So each
name has one look-up at a time, which all who ask for it share, and a thread that belongs to it.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

MAX_THREADS = 256
"""More names at once wait, each until its own deadline; a worker has far fewer slots."""

WAIT_SECONDS = 0.05

LookUp = Callable[[str], tuple[str, ...]]


@dataclass
class LookUps:
    """The look-ups under way in this process."""

    look_up: LookUp
    max_threads: int = MAX_THREADS
    _running: dict[str, "Future[tuple[str, ...]]"] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def find(self, hostname: str) -> tuple[str, ...]:
        """Return the addresses of a name; a cancelled caller leaves the look-up to the others.

        Raises:
            OSError: as the look-up does.
        """
        while True:
            running = self._join(hostname)
            if running is not None:
                return await asyncio.wrap_future(running)
            await asyncio.sleep(WAIT_SECONDS)

    def _join(self, hostname: str) -> "Future[tuple[str, ...]] | None":
        """Return the look-up of a name, a new one if there is none; ``None`` if all are busy."""
        with self._lock:
            if hostname in self._running:
                return self._running[hostname]
            if len(self._running) >= self.max_threads:
                return None
            found: Future[tuple[str, ...]] = Future()
            found.set_running_or_notify_cancel()  # from here on, no caller can cancel it
            self._running[hostname] = found
        # The process ends without waiting for a daemon.
        threading.Thread(
            target=self._run, args=(hostname, found), name=f"look-up {hostname}", daemon=True
        ).start()
        return found

    def _run(self, hostname: str, found: "Future[tuple[str, ...]]") -> None:
        try:
            addresses = self.look_up(hostname)
        except BaseException as error:  # noqa: BLE001 - passed on to those who wait
            self._forget(hostname)
            with contextlib.suppress(InvalidStateError, RuntimeError):
                found.set_exception(error)
            return
        self._forget(hostname)
        with contextlib.suppress(InvalidStateError, RuntimeError):
            found.set_result(addresses)

    def _forget(self, hostname: str) -> None:
        with self._lock:
            self._running.pop(hostname, None)
