"""A person at a shell: a real one on a terminal, keys pressed, and what is on the screen."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

PATIENCE_SECONDS = 60.0


@dataclass
class Terminal:
    """The terminal of a running program."""

    descriptor: int
    seen: str = field(default="")

    def press(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def wait_for(self, *texts: str) -> str:
        """Return all that was shown since the last call, once it holds each text."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not all(text in self.seen for text in texts):
            left = end - time.monotonic()
            assert left > 0, f"{texts} did not come: {self.seen!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                self.seen += os.read(self.descriptor, 65536).decode(errors="replace")
        shown, self.seen = self.seen, ""
        return shown


@contextmanager
def open_terminal(words: list[str], environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Start a program on a terminal of its own; it is ended with the block.

    Not by a fork of this process, which holds all tests: coverage would write all that it has
    measured before the program begins.
    """
    descriptor, own = pty.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", *words], env=dict(environment), stdin=own, stdout=own, stderr=own
    ) as process:
        os.close(own)
        try:
            yield Terminal(descriptor)
        finally:
            os.close(descriptor)
            process.kill()
