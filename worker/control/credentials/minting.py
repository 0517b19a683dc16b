"""Renew the short-lived logins of registries that have a source of them.

A login is renewed at half of its life, so that a provider that is down does no harm for the other
half. A source is claimed by a time limit in one statement: no transaction is open while the
provider is asked, and another replica goes on after a dead one.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from psycopg.types.json import Jsonb

from shared.coroutines import end
from shared.credentials.kinds import source_context
from shared.database import Pool
from shared.errors import WharfError
from shared.faults import Fault
from shared.set_aside import Change, Rows, caught, change, is_unavailable, set_aside
from shared.vault import KeyRing, SealContext
from worker.control.credentials.sources import open_source, within
from worker.control.providers.mint import Mint
from worker.control.providers.provider import Minted
from worker.control.service import Service

SERVICE = "minting"
IDLE_SECONDS = 10.0
BUSY_SECONDS = 0.2
MAX_CONCURRENT = 16
"""The logins that one control process renews at the same time."""

LEASE = timedelta(seconds=30)
"""The longest claim. It is half of what is left of the old login, if that is shorter: so another
replica goes on in time after one that died."""

ATTEMPT_PART = 0.8
"""The part of a claim that is the time for all exchanges of one renewal."""

LEAVE_SECONDS = 2.0
"""The time for running attempts to end when control stops."""

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=5)
MAX_DOUBLINGS = 9

DUE = Rows(
    SERVICE,
    "credential_source.registry_id",
    """
SELECT registry_id AS row_id FROM credential_source
 WHERE renew_at <= now() AND (claimed_until IS NULL OR claimed_until <= now()) AND {rows}
 ORDER BY renew_at LIMIT %(room)s FOR UPDATE SKIP LOCKED
""",
)
TAKE = Change(
    DUE,
    """
UPDATE credential_source s SET claimed_until = now() + CASE
         WHEN r.password_expires_at > now() THEN
           least(%(lease)s, greatest((r.password_expires_at - now()) / 2, interval '2 seconds'))
         ELSE %(lease)s END
  FROM due JOIN registry r ON r.registry_id = due.row_id
 WHERE s.registry_id = due.row_id
RETURNING s.registry_id, s.organization_id, s.revision, s.sealed, s.failures, r.host, r.username,
          s.claimed_until - now() AS lease
""",
)
NEXT = """
SELECT extract(epoch FROM min(greatest(renew_at, claimed_until)) - now())::float AS seconds
  FROM credential_source
"""
# In this order the API locks them too.
LOCK = "SELECT FROM registry WHERE registry_id = %(registry_id)s FOR NO KEY UPDATE"
# Only of the source that was asked: it may have been replaced meanwhile.
RENEWED = """
WITH renewed AS (
  UPDATE credential_source SET renew_at = now() + %(pause)s, claimed_until = NULL, failures = 0,
         error = NULL, minted_at = now()
   WHERE registry_id = %(registry_id)s AND revision = %(revision)s
  RETURNING registry_id
)
UPDATE registry r SET password = %(password)s, password_expires_at = now() + %(lifetime)s
  FROM renewed WHERE r.registry_id = renewed.registry_id
"""
RELEASED = """
UPDATE credential_source SET claimed_until = NULL
 WHERE registry_id = %(registry_id)s AND revision = %(revision)s
"""
FAILED = """
UPDATE credential_source SET renew_at = now() + %(pause)s, claimed_until = NULL,
       failures = failures + 1, error = %(error)s
 WHERE registry_id = %(registry_id)s AND revision = %(revision)s
"""
NOTIFY = "SELECT send_notification('wharf_release', '')"

log = structlog.get_logger()


@dataclass(frozen=True)
class Due:
    """A source that is claimed for ``lease``; ``sealed`` is bound to its registry's host."""

    registry_id: str
    organization_id: str
    revision: str
    sealed: str = field(repr=False)
    failures: int
    host: str
    username: str
    lease: timedelta

    @property
    def key(self) -> dict[str, str]:
        return {"registry_id": self.registry_id, "revision": self.revision}


@dataclass
class Minting:
    """The service that renews logins; safe in replicas.

    ``jitter`` returns numbers in [0, 1), so that logins of one moment are not renewed together.
    """

    pool: Pool
    vault: KeyRing
    mint: Mint
    jitter: Callable[[], float] = random.random
    notification: asyncio.Event = field(default_factory=asyncio.Event)
    _running: dict[asyncio.Task[None], Due] = field(default_factory=dict)

    def service(self) -> Service:
        return Service(SERVICE, self.renew)

    async def renew(self, _pool: Pool) -> float:
        """Start to renew what is due, up to the limit; return the seconds until the next run."""
        room = MAX_CONCURRENT - len(self._running)
        if not room:
            return IDLE_SECONDS  # the end of an attempt starts the next run
        async with self.pool.connection() as connection:
            rows = await change(connection, TAKE, {"room": room, "lease": LEASE})
            for due in (Due(**row) for row in rows):
                task = asyncio.create_task(self._renew(due))
                self._running[task] = due
                task.add_done_callback(self._ended)
            following = await (await connection.execute(NEXT)).fetchone()
        seconds = following["seconds"] if following else None
        return IDLE_SECONDS if seconds is None else min(max(seconds, BUSY_SECONDS), IDLE_SECONDS)

    async def settle(self) -> None:
        """Wait until the attempts that run now have ended."""
        if self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """End running attempts, and leave their sources to other replicas."""
        if not self._running:
            return
        await asyncio.wait(self._running, timeout=LEAVE_SECONDS)
        left = dict(self._running)
        await end(*left)
        for due in left.values():
            await caught(self._release(due))

    async def _release(self, due: Due) -> None:
        async with self.pool.connection() as connection:
            await connection.execute(RELEASED, due.key)

    async def _renew(self, due: Due) -> None:
        found = await caught(self._mint(due))
        if isinstance(found, Exception):
            recorded = await caught(self._record_failure(due, _fault(found, due)))
        else:
            recorded = await caught(self._record(due, found))
        if isinstance(recorded, Exception):
            # It is repeated after the time limit of its claim.
            log.warning("login_not_recorded", error=type(recorded).__name__)
            if not is_unavailable(recorded):
                async with self.pool.connection() as connection:
                    await set_aside(connection, SERVICE, due.registry_id, recorded)

    async def _mint(self, due: Due) -> Minted:
        context = source_context(due.organization_id, due.registry_id, due.host)
        source = open_source(self.vault, due.sealed, context)
        begun = time.monotonic()
        async with within(due.lease * ATTEMPT_PART, due.host):
            minted = await self.mint.mint(source, due.host, datetime.now(UTC))
        # Its life began during the exchange at the latest.
        spent = timedelta(seconds=time.monotonic() - begun)
        return Minted(minted.password, max(minted.lifetime - spent, timedelta()))

    async def _record(self, due: Due, minted: Minted) -> None:
        sealed = self.vault.find_public_key(due.sealed).seal(
            minted.password.get_secret_value(),
            SealContext("credential", due.organization_id, due.registry_id, due.host, due.username),
        )
        values = {
            **due.key,
            "password": sealed,
            "lifetime": minted.lifetime,
            "pause": minted.lifetime * (0.5 - 0.1 * self.jitter()),
        }
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute(LOCK, values)
            await connection.execute(RENEWED, values)
            await connection.execute(NOTIFY)
        seconds = int(minted.lifetime.total_seconds())
        log.info("login_renewed", registry=due.registry_id, host=due.host, valid_seconds=seconds)

    async def _record_failure(self, due: Due, fault: Fault) -> None:
        values = {
            **due.key,
            "error": Jsonb(fault.model_dump(mode="json")),
            "pause": self._pause(due, fault),
        }
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute(FAILED, values)
            await connection.execute(NOTIFY)
        log.warning(
            "login_not_renewed",
            registry=due.registry_id,
            host=due.host,
            code=fault.code,
            failures=due.failures + 1,
        )

    def _pause(self, due: Due, fault: Fault) -> timedelta:
        """Return the pause before the next attempt: it doubles; after a refusal it is long."""
        doubled = FIRST_PAUSE * 2 ** min(due.failures, MAX_DOUBLINGS)
        pause = min(doubled, LONGEST_PAUSE) if fault.retryable else LONGEST_PAUSE
        asked = timedelta(seconds=fault.retry_after_seconds or 0.0)
        return max(pause, min(asked, timedelta(hours=1))) * (1 + self.jitter() / 5)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self.notification.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("defect", error=type(error).__name__)


def _fault(error: Exception, due: Due) -> Fault:
    if isinstance(error, WharfError):
        return error.fault()
    log.error("defect", error=type(error).__name__)
    return Fault(
        code="internal",
        message=f"no login for {due.host} could be made: {type(error).__name__}",
        remedy="Read the log of wharf control.",
        retryable=True,
    )
