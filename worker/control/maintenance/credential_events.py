"""Tell webhooks of credentials and certificates that are due for a change, refused or expired.

Each event is sent once for each credential or certificate that a person stored: a trigger on
``credential_notice`` stores the messages in the statement that adds the row. Safe in replicas.
"""

from datetime import timedelta

from shared.credentials.certificates import DUE_DAYS
from shared.database import Connection
from worker.control.service import Service

INTERVAL = timedelta(seconds=10)

# An expired token is one that nobody renews, or that its source could not renew in time.
TELL_CREDENTIALS = """
WITH due AS (
  SELECT r.registry_id, r.password_changed_at + make_interval(
           days => coalesce(r.rotate_after_days, o.rotate_after_days)) AS due_at
    FROM registry r JOIN organization o USING (organization_id)
), happened AS (
  SELECT registry_id, 'credential.due' AS event FROM due WHERE due_at <= now()
  UNION ALL
  SELECT r.registry_id, 'credential.expired' FROM registry r
    LEFT JOIN credential_source s USING (registry_id)
   WHERE r.password_expires_at <= now() AND (s.registry_id IS NULL OR s.error IS NOT NULL)
  UNION ALL
  SELECT DISTINCT registry_id, 'credential.refused' FROM held_login WHERE cause = 'refused'
)
INSERT INTO credential_notice (registry_id, event, subject, organization_id, data)
SELECT registry_id, event, r.login_revision, r.organization_id, jsonb_build_object(
         'registryId', registry_id, 'registryName', r.registry_name, 'host', r.host,
         'username', r.username, 'passwordChangedAt', show_moment(r.password_changed_at),
         'passwordDueAt', show_moment(due.due_at),
         'passwordExpiresAt', show_moment(r.password_expires_at),
         'refusals', (
           SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'serverId', nullif(refused.server, 'control'), 'code', refused.value->>'code',
                    'times', refused.value->'times', 'jobId', refused.value->>'job',
                    'since', show_moment(to_timestamp((refused.value->>'since')::float)))
                  ORDER BY refused.server), '[]')
             FROM jsonb_each(coalesce(u.refusals, '{}')) AS refused (server, value)))
  FROM happened JOIN registry r USING (registry_id) JOIN due USING (registry_id)
  LEFT JOIN login_use u USING (registry_id, login_revision)
 WHERE NOT EXISTS (
   SELECT FROM credential_notice n WHERE n.registry_id = happened.registry_id
      AND n.event = happened.event AND n.subject = r.login_revision)
 ORDER BY registry_id, event
ON CONFLICT DO NOTHING
"""
TELL_CERTIFICATES = f"""
WITH happened AS (
  SELECT registry_id, organization_id, registry_name, host,
         c.use, c.subject, c.sha256, c.not_after,
         CASE WHEN c.not_after <= now() THEN 'certificate.expired' ELSE 'certificate.due' END
         AS event
    FROM registry r CROSS JOIN LATERAL jsonb_to_recordset(r.certificates)
         AS c (use text, subject text, sha256 text, not_after timestamptz)
   WHERE c.not_after <= now() + interval '{DUE_DAYS} days'
)
INSERT INTO credential_notice (registry_id, event, subject, organization_id, data)
SELECT registry_id, event, sha256, organization_id, jsonb_build_object(
         'registryId', registry_id, 'registryName', registry_name, 'host', host,
         'use', use, 'subject', subject, 'sha256', sha256, 'notAfter', show_moment(not_after))
  FROM happened
 WHERE NOT EXISTS (
   SELECT FROM credential_notice n WHERE n.registry_id = happened.registry_id
      AND n.event = happened.event AND n.subject = happened.sha256)
 ORDER BY registry_id, event, sha256
ON CONFLICT DO NOTHING
"""  # noqa: S608 - no input


async def record_events(connection: Connection) -> None:
    """Store the messages about what has happened since the last run."""
    await connection.execute(TELL_CREDENTIALS)
    await connection.execute(TELL_CERTIFICATES)


TELL_CREDENTIAL_EVENTS = Service.with_connection("credential_events", record_events, INTERVAL)
