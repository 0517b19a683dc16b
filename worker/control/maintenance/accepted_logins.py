"""Record that a registry accepts a login, as soon as a transfer with it moves bytes.

A login that was never accepted is tried by one job at a time. Without this service the others would
wait for the end of the first transfer. Safe in replicas.
"""

from datetime import timedelta

from shared.database import Connection
from worker.control.service import Service

INTERVAL = timedelta(seconds=3)
"""Workers report progress as often."""

ACCEPT = """
SELECT login_record(t.registry_id, t.login_revision, 'accepted', j.server_id, j.started_at, NULL,
                    j.job_id), send_notification('wharf_release', '')
  FROM login_on_trial t
  JOIN job j ON j.organization_id = t.organization_id AND j.registry_id = t.registry_id
            AND j.state = 'running' AND j.job_class = 'transfer'
  JOIN job_attempt a USING (job_id, attempt)
 WHERE t.verdict = 'trial' AND (t.accepted_at IS NULL OR t.accepted_at < j.started_at)
   AND a.login_revisions = jsonb_build_object(t.registry_id, t.login_revision)
   AND jsonb_typeof(j.progress->'current_bytes') = 'number'
   AND (j.progress->>'current_bytes')::numeric > 0
"""


async def accept_logins(connection: Connection) -> None:
    """Record the logins of transfers that move bytes."""
    await connection.execute(ACCEPT)


ACCEPT_LOGINS = Service.with_connection("accepted_logins", accept_logins, INTERVAL)
