"""Bound how often the same fact is recorded, so that a client cannot fill a table with it."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_FACTS = 10_000


@dataclass
class Reports:
    """Each fact is reported once in ``seconds``; ``clock`` is in seconds. Per process."""

    seconds: float = 60.0
    clock: Callable[[], float] = time.monotonic
    _at: OrderedDict[tuple[str, ...], float] = field(default_factory=OrderedDict)

    def is_due(self, *fact: str) -> bool:
        """Return whether to report it now, and count it as reported."""
        now = self.clock()
        at = self._at.get(fact)
        if at is not None and now - at < self.seconds:
            return False
        self._at[fact] = now
        self._at.move_to_end(fact)
        while len(self._at) > MAX_FACTS:
            self._at.popitem(last=False)
        return True
