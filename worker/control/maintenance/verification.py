"""Verify pushed digests: control asks the registry for the digest that a worker reported.

A worker may report any digest. Control asks the registry itself, with the stored login of the job's
registry, and records the outcome in ``digest_check``: ``verified``, ``missing`` (the registry does
not have it), or ``not_reached`` with the code of the error, for example if only the servers can
reach the registry. After a retryable error it retries every minute, until ten minutes after the
job's end.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog

from shared.database import Connection, Pool
from shared.errors import WharfError
from shared.faults import FaultCode
from shared.jobs.logins import CONTROL
from shared.reference import parse_reference, parse_registry
from shared.set_aside import Rows, caught, set_aside
from shared.vault import KeyRing
from worker.control.credentials.grants import open_stored_login
from worker.control.service import Service
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.transport.settings import ConnectionSettings

SERVICE = "verify_digests"
TIMEOUT_SECONDS = 5.0
"""The time for one registry's answer."""

IDLE_SECONDS = 2.0
BATCH = 8
"""The number of concurrent requests to registries."""

UNCHECKED, CHECK_DUE = "c.job_id IS NULL", "c.checked_at < now() - interval '1 minute'"
DUE = Rows(
    SERVICE,
    "job.job_id",
    f"""
SELECT job.job_id AS row_id, job.server_id, job.organization_id, job.registry_id,
       job.command->>'reference' AS reference, job.result->>'digest' AS digest,
       r.host, r.username, r.password, r.ca_certificate, r.client_certificate, r.client_key,
       r.plain_http, r.install_ca,
       r.login_revision, now() AS asked_at
  FROM job JOIN registry r USING (organization_id, registry_id)
  LEFT JOIN digest_check c ON c.job_id = job.job_id
 WHERE job.kind IN ('image.push', 'image.copy') AND job.state = 'succeeded'
   AND job.finished_at > now() - interval '10 minutes'
   AND r.password IS NOT NULL
   AND NOT EXISTS (SELECT FROM registry_without_login l WHERE l.registry_id = r.registry_id)
   AND NOT EXISTS (SELECT FROM held_login h WHERE h.key = ANY (
     ARRAY[r.registry_id, r.registry_id || '@{CONTROL}']))
   AND job.result->>'digest' ~ '^sha256:[0-9a-f]{{64}}$'
   AND ({UNCHECKED} OR c.retryable AND {CHECK_DUE})
   AND {{rows}}
 ORDER BY c.checked_at NULLS FIRST, job.finished_at LIMIT {BATCH}
""",  # noqa: S608 - no input
)
RECORD = """
INSERT INTO digest_check (job_id, outcome, code, retryable) VALUES (%s, %s, %s, %s)
ON CONFLICT (job_id) DO UPDATE
   SET outcome = excluded.outcome, code = excluded.code, retryable = excluded.retryable,
       checked_at = now()
 WHERE digest_check.outcome = 'not_reached'
"""

# Of an accepted login there is nothing to record while all is well.
RECORD_LOGIN = """
SELECT login_record(registry_id, login_revision, %(how)s, %(control)s,
         CASE %(how)s WHEN 'refused' THEN now() ELSE %(at)s::timestamptz END, %(code)s, %(job_id)s)
  FROM registry r WHERE registry_id = %(registry_id)s AND login_revision = %(login_revision)s
   AND (%(how)s = 'refused'
        OR EXISTS (SELECT FROM login_on_trial t WHERE t.registry_id = r.registry_id))
"""

Row = dict[str, Any]

log = structlog.get_logger()


@dataclass(frozen=True)
class Verification:
    """The service that verifies pushed digests at registries; safe in replicas."""

    vault: KeyRing
    settings: ConnectionSettings

    def service(self) -> Service:
        return Service(SERVICE, self.verify)

    async def verify(self, pool: Pool) -> float:
        """Verify the digests that are due; return the seconds until the next run.

        No database connection is held during requests to registries.
        """
        async with pool.connection() as connection:
            rows = await (await connection.execute(DUE.whole)).fetchall()
        found = await asyncio.gather(*(caught(self._check(row)) for row in rows))
        async with pool.connection() as connection:
            for row, outcome in zip(rows, found, strict=True):
                if isinstance(outcome, Exception):
                    await set_aside(connection, SERVICE, row["row_id"], outcome)
                else:
                    await connection.execute(RECORD, (row["row_id"], *outcome))
                    await _record_login(connection, row, outcome[1])
        return 0.0 if len(rows) == BATCH else IDLE_SECONDS

    async def _check(self, row: Row) -> tuple[str, str | None, bool]:
        """Return the outcome, the code of an error, and whether it is retryable."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                is_there = await self._has(row)
        except TimeoutError:
            return "not_reached", "conn_timeout", True
        except WharfError as error:
            return "not_reached", error.code, error.retryable
        if not is_there:
            log.error("digest_missing", job_id=row["row_id"], server=row["server_id"])
        return ("verified" if is_there else "missing"), None, False

    async def _has(self, row: Row) -> bool:
        target = parse_reference(row["reference"])
        login = open_stored_login(self.vault, row["organization_id"], row["registry_id"], row)
        host = parse_registry(target.registry)
        async with RegistryClient(host, login, self.settings) as registry:
            return await manifests.has(registry, target.repository, row["digest"])


async def _record_login(connection: Connection, row: Row, code: str | None) -> None:
    """Record that the registry accepted or refused the login; other errors tell nothing."""
    if code not in {None, FaultCode.AUTH_BAD_CREDENTIALS}:
        return
    values = {
        "registry_id": row["registry_id"],
        "login_revision": row["login_revision"],
        "how": "accepted" if code is None else "refused",
        "control": CONTROL,
        "at": row["asked_at"],
        "code": code,
        "job_id": row["row_id"],
    }
    await connection.execute(RECORD_LOGIN, values)
