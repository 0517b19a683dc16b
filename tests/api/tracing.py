"""Record the calls from one module into another while a block runs."""

import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import NamedTuple

PACKAGES = ("api", "shared")


class Entry(NamedTuple):
    """A call of a function from another module; ``caller`` is empty where no module of ours is."""

    caller: str
    module: str
    function: str


@dataclass
class CallTrace:
    """The calls into modules of `PACKAGES`, in their order; ``left_out`` count as their callers."""

    left_out: Collection[str] = ()
    entries: list[Entry] = field(default_factory=list)
    _frames: set[FrameType] = field(default_factory=set)

    def come_backs(self) -> Counter[str]:
        """How often each module was entered after the first time."""
        return Counter(entry.module for entry in self.entries) - Counter(
            {entry.module for entry in self.entries}
        )

    def lines(self) -> str:
        return "\n".join(f"{caller} -> {module}: {name}" for caller, module, name in self.entries)

    def on_call(self, frame: FrameType, event: str, _argument: object) -> None:
        """A profile function; a coroutine is called once, and then goes on."""
        if event != "call" or _CURRENT.get() is not self or frame in self._frames:
            return
        module = self._module_of(frame)
        if module is None:
            return
        self._frames.add(frame)
        caller = self._caller_of(frame)
        if caller != module:
            self.entries.append(Entry(caller or "", module, frame.f_code.co_qualname))

    def _caller_of(self, frame: FrameType) -> str | None:
        back = frame.f_back
        while back is not None:
            if module := self._module_of(back):
                return module
            back = back.f_back
        return None

    def _module_of(self, frame: FrameType) -> str | None:
        name: str = frame.f_globals.get("__name__", "")
        is_generated = frame.f_code.co_filename.startswith("<")
        if is_generated or name.partition(".")[0] not in PACKAGES or self._is_left_out(name):
            return None
        return name

    def _is_left_out(self, name: str) -> bool:
        return any(f"{name}.".startswith(f"{each}.") for each in self.left_out)


_CURRENT: ContextVar[CallTrace | None] = ContextVar("trace", default=None)
"""So that tasks of the background, which run in between, are not counted."""


@contextmanager
def tracing(left_out: Collection[str] = ()) -> Iterator[CallTrace]:
    """Trace the block and the tasks that it starts."""
    trace = CallTrace(left_out)
    token = _CURRENT.set(trace)
    sys.setprofile(trace.on_call)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        _CURRENT.reset(token)
        trace._frames.clear()
