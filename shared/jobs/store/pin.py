"""Put the digest of a built image into the commands of the jobs that need it, at their release.

The needed job has succeeded by then, so the digest is known. It is stored in the command and the
deployment, for every attempt.
"""

from dataclasses import replace
from typing import Any

from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.errors import InvalidReferenceError, UnmetConditionError
from shared.jobs.commands import parse_command
from shared.jobs.store.release import Released
from shared.reference import Reference, parse_reference, require_digest

FIND = """
SELECT result->>'digest' AS digest FROM job
 WHERE job_id = %s AND organization_id = %s AND state = 'succeeded'
"""
PIN = "UPDATE job SET command = %s WHERE job_id = %s AND attempt = %s"
PIN_DEPLOYMENT = """
UPDATE deployment d SET reference = %s, digest = %s
  FROM job j WHERE j.job_id = %s AND d.deployment_id = j.deployment_id AND d.digest IS NULL
"""


async def pin(connection: Connection, job: Released) -> Released:
    """Return the job with a digest in its ``reference``; one without ``made_by`` is unchanged.

    Raises:
        UnmetConditionError: ``digest_unknown``: the needed job has no valid digest.
        ValueError: the stored command cannot be read.
    """
    made_by = getattr(parse_command(job.kind, job.command), "made_by", None)
    if made_by is None:
        return job
    row = await (await connection.execute(FIND, (made_by, job.organization_id))).fetchone()
    image = _image(job, row["digest"] if row else None)
    command: dict[str, Any] = {**job.command, "reference": str(image), "made_by": None}
    await connection.execute(PIN, (Jsonb(command), job.job_id, job.attempt))
    await connection.execute(PIN_DEPLOYMENT, (str(image), image.digest, job.job_id))
    return replace(job, command=command)


def _image(job: Released, digest: str | None) -> Reference:
    named = parse_reference(job.command["reference"])
    try:
        require_digest(digest or "")
    except InvalidReferenceError:
        raise UnmetConditionError(
            "digest_unknown",
            f"the job that made {named} did not report its digest",
            remedy="Build again.",
        ) from None
    return Reference(named.registry, named.repository, digest=digest)
