"""Rollback points: write them once the image is verified, verify them daily, drop and delete them.

```text
deployment succeeded ─► verified ─► point ─┬─► verified, once a day and when it is requested
                                           └─► dropped (too many, or given up) ─► deleted
```

All statements are level-triggered and safe in replicas. A point's bytes are deleted only if nothing
else needs them, see `shared.jobs.deletion`: the database is read before the job is submitted and
when it is released; the server that runs the job reads the registry. If the bytes are still needed,
only the point is deleted.
"""

from datetime import timedelta
from functools import partial

from shared.database import Connection
from shared.deployments.retained_images import record_verification_job, submit_image_job
from shared.jobs.commands import ImageDelete, ImageVerify
from shared.reference import Reference, parse_reference
from shared.set_aside import Row, Rows, each
from worker.control.image_usage import read_known
from worker.control.service import MINUTE, Service

DEADLINE = timedelta(hours=1)

# One query every second; the others run only if there is something to do.
IS_DUE = """
SELECT EXISTS (SELECT FROM deployment WHERE point_due)
    OR EXISTS (SELECT FROM rollback
                WHERE dropped_at IS NULL AND verification_job_id IS NOT NULL) AS is_due
"""
# Its build has ended, so the retained copy exists, or never will.
TO_VERIFY = Rows(
    "verify_image",
    "d.deployment_id",
    """
SELECT d.deployment_id AS row_id, d.organization_id, d.application_id, d.retained, d.digest,
       d.retained_registry_id AS registry_id, s.server_id
  FROM deployment d JOIN build b USING (build_id)
 CROSS JOIN LATERAL (
   SELECT server_id FROM deployment_server s JOIN server USING (server_id)
    WHERE s.deployment_id = d.deployment_id AND server.removed_at IS NULL
    ORDER BY server_is_online(server) DESC, server_id LIMIT 1) s
  LEFT JOIN job verification ON verification.job_id = d.verification_job_id
 WHERE point_due AND d.outcome = 'succeeded' AND b.outcome = 'succeeded'
   AND (d.verification_job_id IS NULL OR verification.job_id IS NULL
        OR verification.state <> 'succeeded'
           AND verification.finished_at < now() - interval '10 minutes')
   AND {rows}
 LIMIT 100
""",
)
RECORD_VERIFICATION = "UPDATE deployment SET verification_job_id = %s WHERE deployment_id = %s"

# One point for each deployment; the same image with the same settings is the same point.
TO_WRITE = Rows(
    "write_point",
    "d.deployment_id",
    """
SELECT d.deployment_id AS row_id
  FROM deployment d JOIN job verification ON verification.job_id = d.verification_job_id
  JOIN build b USING (build_id) JOIN registry r ON r.registry_id = d.retained_registry_id
 WHERE point_due AND d.outcome = 'succeeded' AND verification.state = 'succeeded'
   AND {rows}
 ORDER BY d.number LIMIT 100
""",
)
WRITE = """
WITH verified AS (
  SELECT d.*, verification.finished_at AS verified_at,
         verification.command->>'reference' AS verified_reference, b.version
    FROM deployment d JOIN job verification ON verification.job_id = d.verification_job_id
    JOIN build b USING (build_id) JOIN registry r ON r.registry_id = d.retained_registry_id
   WHERE point_due AND d.outcome = 'succeeded' AND verification.state = 'succeeded'
     AND d.deployment_id = %s FOR UPDATE OF d
), written AS (
  INSERT INTO rollback (rollback_id, organization_id, application_id, deployment_id, build_id,
                        version, reference, digest, registry_id, settings, settings_hash,
                        verified_at, checked_at, used_at)
  SELECT deployment_id, organization_id, application_id, deployment_id, build_id, version,
         verified_reference, digest, retained_registry_id, settings, md5(settings::text),
         verified_at, verified_at, finished_at
    FROM verified
  ON CONFLICT (application_id, digest, settings_hash) WHERE dropped_at IS NULL DO UPDATE
    SET deployment_id = excluded.deployment_id, build_id = excluded.build_id,
        version = excluded.version, reference = excluded.reference,
        registry_id = excluded.registry_id, verified_at = excluded.verified_at,
        checked_at = excluded.checked_at, verification_error = NULL,
        used_at = greatest(rollback.used_at, excluded.used_at)
  RETURNING 1
)
UPDATE deployment d SET point_due = false FROM verified
 WHERE d.deployment_id = verified.deployment_id
RETURNING d.deployment_id
"""
GIVE_UP = """
UPDATE deployment d SET point_due = false FROM build b
 WHERE b.build_id = d.build_id AND point_due AND d.outcome IS NOT NULL
   AND (b.outcome <> 'succeeded' OR d.finished_at < now() - interval '1 day'
        OR NOT EXISTS (SELECT FROM registry r WHERE r.registry_id = d.retained_registry_id))
"""

TO_VERIFY_AGAIN = Rows(
    "verify_point",
    "r.rollback_id",
    """
SELECT r.rollback_id AS row_id, r.organization_id, r.application_id, r.reference, r.registry_id,
       s.server_id
  FROM rollback r CROSS JOIN LATERAL (
   SELECT server_id FROM application_server a JOIN server USING (server_id)
    WHERE a.application_id = r.application_id AND server_is_online(server)
    ORDER BY server_id LIMIT 1) s
 WHERE dropped_at IS NULL AND registry_id IS NOT NULL AND verification_job_id IS NULL
   AND checked_at < now() - CASE WHEN verification_error IS NULL THEN interval '1 day'
                                 ELSE interval '1 hour' END
   AND {rows}
 ORDER BY checked_at LIMIT 100
""",
)
# A verification that expired or was cancelled says nothing of the image: it is repeated in an hour.
RECORD_VERIFICATIONS = """
UPDATE rollback r SET verification_job_id = NULL,
  checked_at = j.finished_at - CASE
    WHEN j.state IN ('expired', 'cancelled') AND verification_error IS NULL THEN interval '23 hours'
    ELSE interval '0' END,
  verification_error = CASE j.state WHEN 'succeeded' THEN NULL WHEN 'failed' THEN j.error
    ELSE verification_error END,
  verified_at = CASE WHEN j.state = 'succeeded' THEN j.finished_at ELSE verified_at END
  FROM job j WHERE j.job_id = r.verification_job_id AND j.finished_at IS NOT NULL
"""
CLEAR_LOST_VERIFICATIONS = """
UPDATE rollback SET verification_job_id = NULL
 WHERE verification_job_id IS NOT NULL
   AND NOT EXISTS (SELECT FROM job WHERE job_id = verification_job_id)
"""

DROP_OLD = """
WITH many AS (
  SELECT application_id, rollbacks_to_keep FROM rollback JOIN application USING (application_id)
   WHERE dropped_at IS NULL
   GROUP BY application_id, rollbacks_to_keep HAVING count(*) > rollbacks_to_keep
), counted AS (
  SELECT rollback_id, rollbacks_to_keep,
         row_number() OVER (PARTITION BY application_id ORDER BY used_at DESC, rollback_id DESC)
           AS place
    FROM rollback JOIN many USING (application_id) WHERE dropped_at IS NULL
     AND NOT image_runs(organization_id, digest)
)
UPDATE rollback r SET dropped_at = now() FROM counted
 WHERE r.rollback_id = counted.rollback_id AND place > rollbacks_to_keep
"""
# Points that have to wait are excluded here, so that they do not block others.
TO_DELETE = Rows(
    "delete_point",
    "r.rollback_id",
    """
SELECT r.rollback_id AS row_id, r.organization_id, r.application_id, r.reference, r.registry_id,
       s.server_id
  FROM rollback r LEFT JOIN job j ON j.job_id = r.delete_job_id
 CROSS JOIN LATERAL (
   SELECT server_id FROM server
    WHERE organization_id = r.organization_id AND server_is_online(server)
    ORDER BY EXISTS (SELECT FROM application_server a WHERE a.server_id = server.server_id
                        AND a.application_id = r.application_id) DESC, server_id LIMIT 1) s
 WHERE dropped_at IS NOT NULL AND r.registry_id IS NOT NULL
   AND (delete_job_id IS NULL OR j.job_id IS NULL
        OR j.finished_at < now() - interval '1 hour' AND j.state <> 'succeeded')
   AND {rows}
   AND NOT EXISTS (SELECT FROM organization o
                    WHERE o.organization_id = r.organization_id AND o.held_at IS NOT NULL)
   AND NOT image_runs(r.organization_id, r.digest)
   AND NOT EXISTS (SELECT FROM rollback other WHERE other.reference = r.reference
                      AND other.dropped_at IS NULL)
 ORDER BY dropped_at LIMIT 100
""",
)
RECORD_DELETION = "UPDATE rollback SET delete_job_id = %s WHERE rollback_id = %s"
# A request for a deployment of the application waits for this lock, and then sees the job.
LOCK = "SELECT FROM application WHERE application_id = %s FOR UPDATE SKIP LOCKED"
# A point is deleted after its job; its build records that the image was deleted.
FINISH_DELETIONS = """
WITH over AS (
  DELETE FROM rollback r
   WHERE dropped_at IS NOT NULL AND (registry_id IS NULL
     OR dropped_at < now() - interval '7 days' AND NOT EXISTS (
       SELECT FROM job j WHERE j.job_id = r.delete_job_id AND j.finished_at IS NULL)
     OR EXISTS (SELECT FROM job j WHERE j.job_id = r.delete_job_id
                   AND (j.state = 'succeeded' OR j.error->>'code' = 'delete_unsupported')))
  RETURNING build_id, delete_job_id, repository_of(reference) AS place
), gone AS (
  SELECT DISTINCT build_id, place FROM over JOIN job ON job_id = delete_job_id
   WHERE state = 'succeeded' AND result->>'outcome' IN ('deleted', 'gone')
)
UPDATE build b SET
  image_deleted_at = CASE WHEN place = repository_of(b.reference) THEN now()
                          ELSE image_deleted_at END,
  retained = CASE WHEN place = repository_of(b.retained) THEN NULL
                  ELSE retained END
  FROM gone WHERE b.build_id = gone.build_id
"""


async def write_points(connection: Connection) -> None:
    """Verify the retained copies of deployed images; write a point for each verified one."""
    row = await (await connection.execute(IS_DUE)).fetchone()
    if row is None or not row["is_due"]:
        return
    await each(connection, TO_VERIFY, partial(_verify, connection))
    await each(connection, TO_WRITE, partial(_write, connection))
    await connection.execute(GIVE_UP)
    await connection.execute(RECORD_VERIFICATIONS)


async def reconcile_points(connection: Connection) -> None:
    """Verify points again, drop those beyond the limit, delete the dropped ones."""
    await each(connection, TO_VERIFY_AGAIN, partial(_verify_again, connection))
    await connection.execute(CLEAR_LOST_VERIFICATIONS)
    await connection.execute(DROP_OLD)
    await each(connection, TO_DELETE, partial(_delete, connection))
    await connection.execute(FINISH_DELETIONS)


async def _verify(connection: Connection, due: Row) -> None:
    named = parse_reference(due["retained"])
    image = str(Reference(named.registry, named.repository, digest=due["digest"]))
    job_id = await _submit(connection, ImageVerify, due, image)
    await connection.execute(RECORD_VERIFICATION, (job_id, due["row_id"]))


async def _write(connection: Connection, due: Row) -> None:
    await connection.execute(WRITE, (due["row_id"],))


async def _verify_again(connection: Connection, due: Row) -> None:
    job_id = await _submit(connection, ImageVerify, due, due["reference"])
    await record_verification_job(connection, due["row_id"], job_id)


async def _delete(connection: Connection, due: Row) -> None:
    """Request the deletion of a point's image, unless a temporary claim needs it now."""
    if await (await connection.execute(LOCK, (due["application_id"],))).fetchone() is None:
        return
    image = parse_reference(due["reference"])
    known = await read_known(connection, image, due["organization_id"])
    if not known.passing:
        job_id = await _submit(connection, ImageDelete, due, due["reference"])
        await connection.execute(RECORD_DELETION, (job_id, due["row_id"]))


async def _submit(
    connection: Connection, kind: type[ImageVerify | ImageDelete], due: dict[str, str], image: str
) -> str:
    return await submit_image_job(
        connection,
        kind(reference=image, registry_id=due["registry_id"]),
        organization_id=due["organization_id"],
        application_id=due["application_id"],
        server_id=due["server_id"],
        deadline=DEADLINE,
    )


WRITE_POINTS = Service.with_connection("rollback_points", write_points)
RECONCILE_POINTS = Service.with_connection("rollback_points_retained", reconcile_points, MINUTE)
