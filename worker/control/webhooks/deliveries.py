"""Send due messages of webhooks, concurrently with the other services.

A message is claimed by making it due again after `LEASE`, in one statement. So no transaction is
open during the request, and messages of a dead control process are sent by another one. An endpoint
may therefore receive a message twice, with the same id.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from shared.coroutines import end
from shared.database import Pool
from shared.set_aside import Change, Rows, caught, change, is_unavailable, set_aside
from shared.vault import KeyRing
from worker.control.service import Service
from worker.control.webhooks.posting import Delivery, Posted, post
from worker.control.webhooks.resolver import LookUp, OwnNames
from worker.oci.transport.address import look_up
from worker.oci.transport.settings import ConnectionSettings

IDLE_SECONDS = 5.0
CHANNEL = "wharf_webhook"
"""The channel for new messages; retries are found by their due time."""

LEASE = timedelta(seconds=60)
"""Much longer than the limit of an attempt."""

MAX_CONCURRENT = 32
MAX_PER_WEBHOOK = 4
"""Limits of one control process, so that a slow endpoint does not block others. Free capacity goes
to the organization that uses least."""

PAUSES = (
    *(timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30)),
    *(timedelta(hours=2), timedelta(hours=6), timedelta(hours=15)),
)
"""The pauses after failed attempts; after the last one the message fails, in about a day."""

LEAVE_SECONDS = 2.0
"""The time for running attempts to end when control stops."""

SERVICE = "deliveries"
DUE = Rows(
    SERVICE,
    "webhook_delivery.delivery_id",
    """
WITH busy AS (
  SELECT * FROM unnest(%(organizations)s::text[], %(webhooks)s::text[])
             AS busy (organization_id, webhook_id)
)
SELECT d.delivery_id AS row_id, w.url, w.secret
  FROM webhook w
 CROSS JOIN LATERAL (
   SELECT delivery_id, due_at FROM webhook_delivery
    WHERE webhook_id = w.webhook_id AND due_at <= now() AND {rows}
    ORDER BY due_at
    LIMIT greatest(0, %(for_one)s - (SELECT count(*) FROM busy
                                      WHERE busy.webhook_id = w.webhook_id))
      FOR UPDATE SKIP LOCKED
 ) d
 WHERE w.disabled_at IS NULL
 ORDER BY row_number() OVER (PARTITION BY w.organization_id ORDER BY d.due_at)
          + (SELECT count(*) FROM busy WHERE busy.organization_id = w.organization_id),
          d.due_at
 LIMIT %(room)s
""",
)
TAKE = Change(
    DUE,
    """
UPDATE webhook_delivery d SET attempts = attempts + 1, due_at = now() + %(lease)s
  FROM due WHERE d.delivery_id = due.row_id
RETURNING d.delivery_id, d.organization_id, d.webhook_id, due.url, due.secret, d.payload,
          d.attempts
""",
)
# Only if the attempt is still the current one: it may have outlived its lease.
RECORD = """
UPDATE webhook_delivery SET
  status = %(status)s, code = %(code)s, due_at = now() + %(pause)s::interval * (1 + random() / 10),
  delivered_at = CASE WHEN %(delivered)s THEN now() END,
  failed_at = CASE WHEN NOT %(delivered)s AND %(pause)s::interval IS NULL THEN now() END
 WHERE delivery_id = %(delivery_id)s AND attempts = %(attempt)s AND due_at IS NOT NULL
"""
DISABLE = """
UPDATE webhook SET disabled_at = now(), disabled_code = 'gone'
 WHERE webhook_id = %s AND url = %s AND disabled_at IS NULL
"""

log = structlog.get_logger()


@dataclass
class Deliveries:
    """The service that sends messages. It uses one database connection at a time.

    ``look_up`` resolves names, in as many threads as there can be concurrent deliveries.
    """

    pool: Pool
    vault: KeyRing
    settings: ConnectionSettings
    pauses: Sequence[timedelta] = PAUSES
    look_up: LookUp = look_up
    notification: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: dict[asyncio.Task[None], Delivery] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(MAX_CONCURRENT))

    def service(self) -> Service:
        return Service(SERVICE, self.send)

    async def send(self, _pool: Pool) -> float:
        """Start sending due messages, up to the limits; return the seconds until the next run."""
        room = MAX_CONCURRENT - len(self._sending)
        for delivery in await self._take(room) if room else ():
            task = asyncio.create_task(self._deliver(delivery))
            self._sending[task] = delivery
            task.add_done_callback(self._ended)
        return IDLE_SECONDS

    async def close(self) -> None:
        """End running attempts; those that were not recorded are repeated after their lease."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=LEAVE_SECONDS)
            await end(*self._sending)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _take(self, room: int) -> list[Delivery]:
        sending = self._sending.values()
        values = {
            "organizations": [delivery.organization_id for delivery in sending],
            "webhooks": [delivery.webhook_id for delivery in sending],
            "for_one": MAX_PER_WEBHOOK,
            "room": room,
            "lease": LEASE,
        }
        async with self._turn, self.pool.connection() as connection:
            rows = await change(connection, TAKE, values)
        return [Delivery(**row) for row in rows]

    async def _deliver(self, delivery: Delivery) -> None:
        names = OwnNames(self._threads, self.look_up)
        await self._attempt(delivery, replace(self.settings, resolver=names))
        await names.end()

    async def _attempt(self, delivery: Delivery, settings: ConnectionSettings) -> None:
        posted = await caught(post(delivery, self.vault, settings))
        if isinstance(posted, Exception):
            # Count it as an attempt, so that the last one ends the delivery.
            _log_defect(posted)
            posted = Posted(code="internal")
        error = await caught(self._record(delivery, posted))
        if isinstance(error, Exception):
            # It is sent again after its lease.
            log.warning("delivery_not_recorded", error=type(error).__name__)
            if not is_unavailable(error):
                await self._set_aside(delivery, error)

    async def _set_aside(self, delivery: Delivery, error: Exception) -> None:
        async with self._turn, self.pool.connection() as connection:
            await set_aside(connection, SERVICE, delivery.delivery_id, error)

    async def _record(self, delivery: Delivery, posted: Posted) -> None:
        is_last = posted.is_delivered or posted.is_gone or delivery.attempts > len(self.pauses)
        values = {
            "delivery_id": delivery.delivery_id,
            "attempt": delivery.attempts,
            "status": posted.status,
            "code": posted.code,
            "delivered": posted.is_delivered,
            "pause": None if is_last else self.pauses[delivery.attempts - 1],
        }
        async with self._turn, self.pool.connection() as connection, connection.transaction():
            if posted.is_gone:  # first: removing a webhook also locks it before its messages
                await connection.execute(DISABLE, (delivery.webhook_id, delivery.url))
            await connection.execute(RECORD, values)
        log.info(
            "webhook_delivered" if posted.is_delivered else "webhook_not_delivered",
            delivery=delivery.delivery_id,
            webhook=delivery.webhook_id,
            attempt=delivery.attempts,
            status=posted.status,
            code=posted.code,
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self.notification.set()
        if not task.cancelled() and (error := task.exception()):
            # No caller awaits the task; the message is sent again after its lease.
            _log_defect(error)


def _log_defect(error: BaseException) -> None:
    """Log the kind of a defect; its text may hold values and is left out."""
    log.error("defect", error=type(error).__name__)
