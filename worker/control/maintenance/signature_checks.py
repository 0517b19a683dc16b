"""Compare the signatures of images with their policies before servers are told to pull them.

```text
a deployment's pull is queued, its check is due ──► control asks the registry ─┬─► refused: it fails
                                                                               └─► released
```

Control asks with the stored login of the registry. If it cannot (only the servers reach the
registry, or the login is not accepted yet), the job is released all the same: its server compares
the signatures again before it pulls, in any case.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from psycopg.types.json import Jsonb

from shared.database import Connection, Pool
from shared.errors import CredentialError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePull
from shared.jobs.logins import CONTROL
from shared.jobs.store.release import refuse_queued
from shared.reference import Reference
from shared.set_aside import Row, Rows, attempt, caught
from shared.vault import KeyRing
from worker.control.credentials.grants import open_stored_login
from worker.control.service import Service
from worker.login import Login
from worker.oci.signatures.examination import examine, require_passed
from worker.oci.transport.settings import ConnectionSettings

SERVICE = "signature_checks"
WITHIN = timedelta(seconds=5)
"""The time for one image; deployments wait meanwhile."""

INTERVAL = timedelta(seconds=5)
"""Without the notification of a job."""

BATCH = 100
REFUSALS = frozenset(
    {
        FaultCode.SIGNATURE_MISSING,
        FaultCode.SIGNATURE_INVALID,
        FaultCode.SIGNATURE_UNTRUSTED,
        FaultCode.ATTESTATION_MISSING,
    }
)

# The digest of a built image is known when the job that pushed it has succeeded.
DUE = Rows(
    SERVICE,
    "job.job_id",
    f"""
SELECT job.job_id AS row_id, job.organization_id, job.registry_id, job.command,
       made.result->>'digest' AS made_digest, r.host, r.username, r.password, r.ca_certificate,
       r.client_certificate, r.client_key, r.plain_http, r.install_ca,
       EXISTS (SELECT FROM login_on_trial l WHERE l.registry_id = r.registry_id)
         OR EXISTS (SELECT FROM registry_without_login l WHERE l.registry_id = r.registry_id)
         OR EXISTS (SELECT FROM held_login h WHERE h.key = ANY (
              ARRAY[r.registry_id, r.registry_id || '@{CONTROL}'])) AS is_held
  FROM job LEFT JOIN job made ON made.job_id = job.command->>'made_by'
  LEFT JOIN registry r
    ON r.organization_id = job.organization_id AND r.registry_id = job.registry_id
 WHERE job.state = 'queued' AND job.command->>'control_check' = 'due'
   AND (job.command->>'made_by' IS NULL OR made.state = 'succeeded')
   AND {{rows}}
 ORDER BY job.job_id LIMIT {BATCH}
""",  # noqa: S608 - no input
)
RECORD = """
WITH checked AS (
  UPDATE job SET command = command || %(outcome)s
   WHERE job_id = %(job_id)s AND state = 'queued' AND command->>'control_check' = 'due'
  RETURNING job_id
)
SELECT send_notification('wharf_release', '') FROM checked
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class SignatureChecks:
    """The service; safe in replicas, which may ask a registry twice."""

    vault: KeyRing
    settings: ConnectionSettings

    def service(self) -> Service:
        return Service(SERVICE, self.check, INTERVAL)

    async def check(self, pool: Pool) -> float | None:
        """Check the images that are due; return 0 if there may be more.

        The pulls of several servers are one check. No database connection is held meanwhile.
        """
        async with pool.connection() as connection:
            rows = await (await connection.execute(DUE.whole)).fetchall()
        if not rows:
            return None
        groups = _group(rows)
        found = await asyncio.gather(*(caught(self._check(group[0])) for group in groups))
        async with pool.connection() as connection:
            for group, error in zip(groups, found, strict=True):
                await _record(connection, [row["row_id"] for row in group], error)
        return 0.0 if len(rows) == BATCH else None

    async def _check(self, row: Row) -> None:
        """Raises `WharfError`: the policy refuses the image, or it cannot be examined."""
        command = ImagePull.model_validate(row["command"])
        if command.policy is None:
            return
        target = _target(command, row)
        login = self._open_login(row, target)
        examined = await examine(target, login, command.policy, self.settings, within=WITHIN)
        if examined.verdict.violations and examined.gaps:
            # What cannot be read may be what is missing: the server may be able to read it.
            raise CredentialError(f"control cannot read all: {examined.gaps[0]}")
        require_passed(command.policy, target, examined)

    def _open_login(self, row: Row, target: Reference) -> Login | None:
        if row["registry_id"] is None:
            return None
        if row["host"] != target.registry or row["password"] is None or row["is_held"]:
            raise CredentialError(f"control has no accepted login for {target.registry}")
        return open_stored_login(self.vault, row["organization_id"], row["registry_id"], row)


def _group(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows in groups with the same image and policy."""
    groups: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        command = row["command"]
        key = (row["organization_id"], row["registry_id"], command["reference"])
        groups[(*key, row["made_digest"], str(command["policy"]))].append(row)
    return list(groups.values())


def _target(command: ImagePull, row: Row) -> Reference:
    named = command.target
    if command.made_by is None or row["made_digest"] is None:
        return named
    return Reference(named.registry, named.repository, digest=row["made_digest"])


async def _record(connection: Connection, job_ids: Sequence[str], error: Exception | None) -> None:
    """Store the outcome for each job; one for which that fails is set aside."""
    if isinstance(error, WharfError) and error.code in REFUSALS:
        for job_id in job_ids:
            log.warning("image_refused", job_id=job_id, code=error.code)
            refuse = partial(refuse_queued, connection, job_id, error.fault())
            await attempt(connection, SERVICE, job_id, refuse)
        return
    if error is not None:
        code = error.code if isinstance(error, WharfError) else type(error).__name__
        log.info("signatures_not_reached", job_ids=list(job_ids), code=code)
    outcome = Jsonb({"control_check": "done" if error is None else "not_reached"})
    for job_id in job_ids:
        values = {"job_id": job_id, "outcome": outcome}
        await attempt(connection, SERVICE, job_id, partial(connection.execute, RECORD, values))
