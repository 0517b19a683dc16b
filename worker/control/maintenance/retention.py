"""Delete old events, messages, jobs, pushes, contexts and reports in small batches.

The two functions in ``retention.sql`` delete only ended jobs and their events; control may not
delete jobs otherwise. For a context the row is deleted; the API then deletes its file.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from shared.database import Connection
from shared.set_aside import attempt
from worker.control.service import MINUTE, Service

BATCH = 500
IDLE_SECONDS = 60.0
BUSY_SECONDS = 1.0
"""The pause between full batches, which lets other statements run."""

EVENTS = "SELECT job_event_prune(%s, %s) AS removed"
JOBS = "SELECT job_prune(%s, %s) AS removed"
CONTEXTS = """
WITH old AS (
  SELECT context_id FROM context c
   WHERE created_at < now() - %s
     AND NOT EXISTS (SELECT 1 FROM build b
                      WHERE b.application_id = c.application_id AND b.outcome IS NULL)
   ORDER BY context_id LIMIT %s
), gone AS (
  DELETE FROM context USING old WHERE context.context_id = old.context_id RETURNING 1
)
SELECT count(*) AS removed FROM gone
"""
# Ids begin with their time. Messages that were not delivered within days are obsolete.
DELIVERIES = """
WITH old AS (
  SELECT delivery_id FROM webhook_delivery
   WHERE delivery_id < (SELECT job_id_at(now() - %s))
   ORDER BY delivery_id LIMIT %s FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM webhook_delivery d USING old WHERE d.delivery_id = old.delivery_id RETURNING 1
)
SELECT count(*) AS removed FROM gone
"""
# A repeated push has the same deployment, as long as that has its jobs.
PUSHES = """
WITH old AS (
  SELECT hook_id, event_hash FROM deploy_hook_event
   WHERE created_at < now() - %s
   ORDER BY created_at LIMIT %s
), gone AS (
  DELETE FROM deploy_hook_event e USING old
   WHERE e.hook_id = old.hook_id AND e.event_hash = old.event_hash RETURNING 1
)
SELECT count(*) AS removed FROM gone
"""

# Packages go with their report, which stays as long as a build or a deployment has the image.
REPORTS = """
WITH old AS (
  SELECT organization_id, digest FROM image_report r
   WHERE updated_at < now() - %s
     AND NOT EXISTS (SELECT FROM build b WHERE b.digest = r.digest
                        AND b.organization_id = r.organization_id AND b.image_deleted_at IS NULL)
     AND NOT image_runs(r.organization_id, r.digest)
   ORDER BY updated_at LIMIT %s
), gone AS (
  DELETE FROM image_report r USING old
   WHERE r.organization_id = old.organization_id AND r.digest = old.digest RETURNING 1
)
SELECT count(*) AS removed FROM gone
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class Retention:
    """The time for which ended jobs are stored, and their events and webhooks' messages.

    Reported pushes and contexts are stored as long as jobs, a context also while its application is
    being built.
    """

    jobs: timedelta = timedelta(days=30)
    events: timedelta = timedelta(days=7)

    def service(self) -> Service:
        return Service.with_connection("retention", self.delete_old, MINUTE)

    async def delete_old(self, connection: Connection) -> float:
        return await delete_old(connection, self)


async def delete_old(connection: Connection, retention: Retention, *, batch: int = BATCH) -> float:
    """Delete one batch of each; return the seconds until the next is due."""
    ages = {
        "jobs": (JOBS, retention.jobs),
        "events": (EVENTS, retention.events),
        "contexts": (CONTEXTS, retention.jobs),
        "deliveries": (DELIVERIES, retention.events),
        "pushes": (PUSHES, retention.jobs),
        "reports": (REPORTS, retention.jobs),
    }
    removed = {}
    for name, (statement, age) in ages.items():
        remove = partial(_remove, connection, statement, age, batch)
        removed[name] = await attempt(connection, "retention", name, remove) or 0
    if any(removed.values()):
        log.info("old_rows_deleted", **removed)
    return BUSY_SECONDS if batch in removed.values() else IDLE_SECONDS


async def _remove(connection: Connection, statement: str, age: timedelta, batch: int) -> int:
    row = await (await connection.execute(statement, (age, batch))).fetchone()
    return int(row["removed"]) if row else 0
