"""Record in the audit log which credentials control hands out, in the transaction that does so.

An entry ``credential.use`` says which credential, for which job and attempt, requested by whom, to
which server, for which host, repository and rights. The end of the attempt adds one entry
``credential.outcome`` (shared/jobs/sql/transitions.sql).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.ids import make_id
from shared.jobs.store.release import Released
from worker.login import BUILD_SECRETS, ENVIRONMENT, Grants

LOGIN = "login"
PASSWORD = "password"  # noqa: S105 - the name of one

RECORD = """
INSERT INTO audit_event (audit_event_id, organization_id, actor_id, action, object_id, data)
SELECT given.id, %(organization_id)s, j.requested_by, 'credential.use', given.object_id, given.data
  FROM job j, unnest(%(ids)s::text[], %(objects)s::text[], %(data)s::jsonb[])
    AS given (id, object_id, data)
 WHERE j.job_id = %(job_id)s
"""


@dataclass(frozen=True)
class CredentialUse:
    """One credential in a job's grants.

    ``credential`` is the id of the registry, or of the application that it belongs to; ``None``
    for a password that was given with the job. ``purpose`` is ``login``, ``password`` or that of
    the secret; ``revision`` tells a registry's logins apart.
    """

    credential: str | None
    purpose: str
    host: str | None = None
    repository: str | None = None
    rights: tuple[str, ...] = ()
    revision: str | None = None


def uses_of(job: Released, given: Grants) -> list[CredentialUse]:
    """Return what the grants hold, without any secret."""
    return [*_logins(job, given), *_secrets(job, given)]


async def record_uses(connection: Connection, job: Released, uses: Sequence[CredentialUse]) -> None:
    """Add an entry for each use."""
    values = {
        "organization_id": job.organization_id,
        "job_id": job.job_id,
        "ids": [make_id() for _ in uses],
        "objects": [use.credential for use in uses],
        "data": [Jsonb(_data(job, use)) for use in uses],
    }
    await connection.execute(RECORD, values)


def _logins(job: Released, given: Grants) -> Iterator[CredentialUse]:
    for grant in given.grants:
        registry_id = grant.login.registry_id
        row = job.registries.get(registry_id or "", {})
        yield CredentialUse(
            registry_id,
            LOGIN if registry_id else PASSWORD,
            grant.login.host,
            grant.repository,
            tuple(sorted(grant.rights)),
            row.get("login_revision"),
        )


def _secrets(job: Released, given: Grants) -> Iterator[CredentialUse]:
    application = job.command.get("application_id")
    host = (job.command.get("source") or {}).get("host") if given.secrets else None
    for purpose in given.secrets:
        yield CredentialUse(application, purpose, host)
    for purpose, found in ((BUILD_SECRETS, given.build_secrets), (ENVIRONMENT, given.environment)):
        if found:
            yield CredentialUse(application, purpose)


def _data(job: Released, use: CredentialUse) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(use).items() if value and name != "credential"}
    return {
        "job": job.job_id,
        "attempt": job.attempt,
        "kind": job.kind,
        "server": job.server_id,
        **shown,
    }
