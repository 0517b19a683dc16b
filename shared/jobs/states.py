"""The states of a job and of its attempts; the database changes them by conditional statements.

```text
            ┌────────────── retry: run_at = now + backoff ───────────────┐
            ▼                                                            │
 submit► queued ──release──► dispatched ──claim──► running ──────────────┤
            │  (due, needs met, │  (attempt n+1,      │ (lease, heartbeat)│
            │   server alive,   │   login sealed,     │                   │
            │   room on server) │   message sent)     ├──► succeeded      │
            │                   │                     ├──► failed         │
            ├──► cancelled ◄────┴─────────────────────┼──► cancelled      │
            └──► expired  (deadline passed)           └── handed back ────┘
            dispatched ──► queued: the server is offline or draining (not a failure)
            dispatched ──► failed: no login can be made for it
```

A requested cancel is a column, an outcome is a state. ``attempt`` only grows and is the fencing
token; ``max_failures`` limits ``failures``. The tests have the transitions as pure functions, as an
oracle: ``tests/shared/jobs/transitions.py``.
"""

from datetime import timedelta
from enum import StrEnum

LEASE = timedelta(seconds=15)
HEARTBEAT_INTERVAL = timedelta(seconds=3)


class State(StrEnum):
    QUEUED = "queued"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


class Outcome(StrEnum):
    """The end of an attempt: reported by its worker, or ``lost`` when its lease expired.

    ``returned`` is not a failure: its worker drained, or its server went offline before the claim.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETURNED = "returned"
    LOST = "lost"
