"""One run: callers ask, faults strike by their plan, and all that was promised has to end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random

import psycopg

from tests.chaos.checker import Findings, check
from tests.chaos.load import Load
from tests.chaos.plan import Fault
from tests.chaos.scene import Scene

LOOK_SECONDS = 0.1
REVIVE_SECONDS = 0.5
SETTLED_WITHIN_SECONDS = 60.0
"""Counted from the end of the last fault and of the last request."""

UNSETTLED = "SELECT count(*) FROM job WHERE finished_at IS NULL"


@dataclass(frozen=True)
class InjectedFault:
    """A fault that happened, in seconds of this machine's clock."""

    fault: Fault
    begun: float
    over: float


@dataclass
class Story:
    """The record of a run, for `check`."""

    struck: list[InjectedFault] = field(default_factory=list)
    ended_by_itself: list[str] = field(default_factory=list)
    settled_seconds: float | None = None


@dataclass
class Run:
    scene: Scene
    load: Load
    plan: Sequence[Fault]
    chance: Random
    tell: Callable[[str], None] = print
    story: Story = field(default_factory=Story)
    _revived: float = 0.0
    _killed: set[str] = field(default_factory=set)

    def run(self) -> Findings:
        """Everything, and what the checker found afterwards."""
        asking = asyncio.run_coroutine_threadsafe(self.load.run(), self.scene.loop.loop)
        try:
            self._strike_all()
            self._watch(asking.done)
        finally:
            asking.cancel()
        asking.result()
        quiet = time.monotonic()
        self._watch(lambda: self._is_settled() or time.monotonic() > quiet + SETTLED_WITHIN_SECONDS)
        if self._is_settled():
            self.story.settled_seconds = time.monotonic() - quiet
        return check(self.scene, self.load, self.story)

    def _strike_all(self) -> None:
        started = time.monotonic()
        waiting, open_faults = list(self.plan), list[tuple[Fault, float, ExitStack]]()
        while waiting or open_faults:
            now = time.monotonic() - started
            for entry in [entry for entry in open_faults if entry[0].over <= now]:
                open_faults.remove(entry)
                fault, begun, closing = entry
                closing.close()
                self.story.struck.append(InjectedFault(fault, begun, time.time()))
            while due := self._due(waiting, now, [entry[0] for entry in open_faults]):
                waiting.remove(due)
                self.tell(f"{now:6.1f} s  {due.kind.name} ({due.target})")
                closing = ExitStack()
                begun = time.time()
                closing.enter_context(due.kind.strike(self.scene, due.target, self.chance))
                open_faults.append((due, begun, closing))
            self._look_after()

    @staticmethod
    def _due(waiting: Sequence[Fault], now: float, is_open: Sequence[Fault]) -> Fault | None:
        """Return the next fault that is due, unless an open one strikes the same thing.

        On a busy machine several are due at once.
        """
        if not waiting or waiting[0].at > now:
            return None
        fault = waiting[0]
        return None if any(fault.places & other.places for other in is_open) else fault

    def _watch(self, enough: Callable[[], bool]) -> None:
        while not enough():
            self._look_after()

    def _look_after(self) -> None:
        """Start again what has ended, as systemd or compose would."""
        time.sleep(LOOK_SECONDS)
        if time.monotonic() - self._revived > REVIVE_SECONDS:
            self._revived = time.monotonic()
            self.story.ended_by_itself += self.scene.stack.revive()

    def _is_settled(self) -> bool:
        try:
            with self.scene.database() as connection:
                row = connection.execute(UNSETTLED).fetchone()
        except psycopg.Error:
            return False
        return row == (0,)
