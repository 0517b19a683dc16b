"""Submit jobs about a retained image: to verify that it is complete, or to delete it."""

from datetime import timedelta

from shared.database import Connection
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import ImageDelete, ImageVerify
from shared.jobs.store.submit import Submission, submit

RECORD_VERIFICATION = "UPDATE rollback SET verification_job_id = %s WHERE rollback_id = %s"


async def submit_image_job(
    connection: Connection,
    command: ImageVerify | ImageDelete,
    *,
    organization_id: str,
    application_id: str,
    server_id: str,
    deadline: timedelta,
    requested_by: str | None = None,
) -> str:
    """Submit the job; return its id, or that of an existing job for the same work."""
    job = Submission(
        organization_id=organization_id,
        server_id=server_id,
        command=command,
        requested_by=requested_by,
        registry_id=command.registry_id,
        exclusive_key=exclusive_key(command, server_id),
        fair_key=application_id,
        dedupe_key=command.reference,
        deadline=deadline,
    )
    return await submit(connection, job)


async def record_verification_job(connection: Connection, rollback_id: str, job_id: str) -> None:
    """Record on a rollback point the job that verifies it again."""
    await connection.execute(RECORD_VERIFICATION, (job_id, rollback_id))
