"""Renew the logins of running attempts, so that a transfer may take longer than its login lives.

```text
minting stores a newer login of the registry ──► it is sealed to the server, for the same attempt
    ──► the next heartbeat fetches it ──► our client sends it from its next request on
```

A server gets it only while it holds the lease. An Engine keeps the login that it began with: if
that ends, the job is repeated.
"""

from datetime import timedelta
from functools import partial

import structlog

from shared.database import Connection, Pool
from shared.errors import WharfError
from shared.jobs.store.release import REGISTRY_IDS, Released
from shared.set_aside import Row, Rows, each
from shared.vault import KeyRing
from worker.control.credentials.grants import seal_logins
from worker.control.service import Service

SERVICE = "logins_in_flight"
INTERVAL = timedelta(seconds=10)
"""Without a login that was just renewed: only for what another replica left undone."""

# The open attempts are few: as many as there are slots. An attempt ends with the credential that
# it began with, so it gets no login of another one.
STALE = Rows(
    SERVICE,
    "j.job_id",
    f"""
SELECT j.job_id AS row_id, j.organization_id, j.server_id, j.kind, j.attempt, j.command,
       j.registry_id, j.fair_key, e.public_key, s.number, newest.registries, newest.expires_at
  FROM job_attempt a JOIN job j ON j.job_id = a.job_id AND j.attempt = a.attempt
  JOIN job_secret s ON s.job_id = a.job_id AND s.purpose = 'login' AND s.attempt = a.attempt
  JOIN server_enrolment e ON e.server_id = j.server_id
  CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(r.registry_id, to_jsonb(r)) AS registries,
           jsonb_object_agg(r.registry_id, r.login_revision) AS revisions,
           min(r.password_expires_at) FILTER (WHERE c.registry_id IS NOT NULL) AS expires_at
      FROM registry r LEFT JOIN credential_source c USING (registry_id)
     WHERE r.registry_id = ANY ({REGISTRY_IDS}) AND r.organization_id = j.organization_id) newest
 WHERE a.outcome IS NULL AND a.login_expires_at IS NOT NULL AND j.state = 'running'
   AND newest.revisions = a.login_revisions
   AND newest.expires_at > coalesce(s.expires_at, a.login_expires_at)
   AND {{rows}}
""",  # noqa: S608 - no input
)
# Not if another replica was faster, nor if the attempt has ended.
RENEW = """
WITH renewed AS (
  UPDATE job_secret SET sealed = %(sealed)s, number = number + 1, expires_at = %(expires_at)s
   WHERE job_id = %(job_id)s AND purpose = 'login' AND attempt = %(attempt)s
     AND number = %(number)s
  RETURNING job_id
)
SELECT send_notification('wharf_heartbeat', %(server_id)s) FROM renewed
"""

log = structlog.get_logger()


def make_service(vault: KeyRing) -> Service:
    """Return the service; it has something to do after a login was renewed."""

    async def renew(pool: Pool) -> float | None:
        async with pool.connection() as connection:
            await renew_logins(connection, vault)
        return None

    return Service(SERVICE, renew, INTERVAL)


async def renew_logins(connection: Connection, vault: KeyRing) -> None:
    """Give every running attempt the newest logins of its registries."""
    await each(connection, STALE, partial(_renew, connection, vault))


async def _renew(connection: Connection, vault: KeyRing, row: Row) -> None:
    values = dict(row)
    number, expires_at = values.pop("number"), values.pop("expires_at")
    job = Released(job_id=values.pop("row_id"), sealed={}, **values)
    try:
        sealed = seal_logins(vault, job)
    except WharfError as error:
        # It goes on with the login that it has; a refusal is answered when it ends.
        log.info("login_not_given_again", job_id=job.job_id, code=error.code)
        return
    renewed = {
        "sealed": sealed,
        "number": number,
        "expires_at": expires_at,
        "job_id": job.job_id,
        "attempt": job.attempt,
        "server_id": job.server_id,
    }
    cursor = await connection.execute(RENEW, renewed)
    if await cursor.fetchone():
        log.info("login_given_again", job_id=job.job_id, attempt=job.attempt)
