"""What the database knows of images: where a digest runs, which repositories are named."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from api.fields.shapes import Moment, Output
from api.jobs.registry_choice import fit
from api.procedure.context import Context
from shared.errors import InvalidReferenceError
from shared.models import Registry
from shared.reference import parse_reference

MAX_REPOSITORIES = 500

RUNNING = """
WITH place AS (
  SELECT DISTINCT d.application_id, s.server_id
    FROM deployment d JOIN deployment_server s USING (deployment_id)
   WHERE d.digest = %(digest)s AND d.organization_id = %(organization_id)s
     AND s.outcome = 'succeeded'
)
SELECT d.application_id, a.name AS application_name, p.server_id, v.name AS server_name,
       d.deployment_id, s.finished_at AS since
  FROM place p
  JOIN deployment d ON d.deployment_id = running_deployment(p.application_id, p.server_id)
  JOIN deployment_server s ON s.deployment_id = d.deployment_id AND s.server_id = p.server_id
  JOIN application a ON a.application_id = d.application_id
  JOIN server v ON v.server_id = p.server_id
 WHERE d.digest = %(digest)s AND s.stopped_at IS NULL
   AND (%(is_whole)s OR d.application_id = ANY (%(application_ids)s))
 ORDER BY a.name, v.name, p.server_id
 LIMIT 1000
"""

NAMED = """
SELECT a.docker_image AS reference FROM application a
 WHERE a.organization_id = %(organization_id)s AND a.docker_image IS NOT NULL
UNION
SELECT unnest(ARRAY[b.reference, b.retained]) FROM application a,
  LATERAL (SELECT reference, retained FROM build WHERE application_id = a.application_id
            ORDER BY build_id DESC LIMIT 5) b
 WHERE a.organization_id = %(organization_id)s
UNION
SELECT j.command->>'reference' FROM (
  SELECT command FROM job WHERE organization_id = %(organization_id)s
   ORDER BY job_id DESC LIMIT 1000) j
"""
"""References of applications, of their newest builds, and of the newest jobs; nulls too."""


class RunningPlace(Output):
    """An application on a server, and its deployment, whose recorded digest is the image's."""

    application_id: str
    application_name: str
    server_id: str
    server_name: str
    deployment_id: str
    since: Moment | None


async def find_running(context: Context, digest: str) -> tuple[datetime, list[RunningPlace]]:
    """Return the time, and the places where this digest runs by the record of deployments.

    A key that is limited to applications sees the places of these alone.
    """
    limits = list(context.caller.application_ids)
    rows = await _fetch(
        context, RUNNING, digest=digest, is_whole=not limits, application_ids=limits
    )
    [now] = await _fetch(context, "SELECT now() AS now")
    return now["now"], [RunningPlace.model_validate(row) for row in rows]


async def find_known_repositories(context: Context, registry: Registry) -> list[str]:
    """Return the repositories of a registry, below its prefix, that something names."""
    rows = await _fetch(context, NAMED)
    found = set(_repositories(rows, registry))
    return sorted(found)[:MAX_REPOSITORIES]


def _repositories(rows: list[dict[str, Any]], registry: Registry) -> Iterator[str]:
    for row in rows:
        try:
            reference = parse_reference(row["reference"] or "")
        except InvalidReferenceError:
            continue
        if reference.registry == registry.host and fit(registry, reference.repository) >= 0:
            yield reference.repository


async def _fetch(context: Context, query: str, **values: object) -> list[dict[str, Any]]:
    given = {"organization_id": context.organization_id, **values}
    async with context.resources.pool.connection() as connection:
        return await (await connection.execute(query, given)).fetchall()
