"""Tell a job whose image was yet to be made which one it is: at its release, by its digest.

What it needed has succeeded by then, so the digest is known. From then on the command says it, and
with it the deployment, for every attempt.
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
    """The job with its digest in its ``reference``; one that has it is given as it is.

    Raises:
        UnmetConditionError: ``digest_unknown``: what made the image did not say, or says nonsense.
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
            f"what made {named} did not say which image it is",
            remedy="Build again.",
        ) from None
    return Reference(named.registry, named.repository, digest=digest)
