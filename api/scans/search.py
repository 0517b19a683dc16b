"""Find the running applications that contain a package."""

from typing import Annotated, Any

from pydantic import Field

from api.applications.queries import find_application
from api.fields.shapes import Id, Input, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.scans.versions import is_below

MAX_MATCHES = 1000

# An application runs on a server what it deployed there last, unless it was stopped.
FIND = """
WITH found AS (
  SELECT digest, type, name, version FROM image_package
   WHERE organization_id = %(organization_id)s AND lower(name) = lower(%(name)s)
), place AS (
  SELECT DISTINCT d.application_id, s.server_id
    FROM found JOIN deployment d ON d.digest = found.digest
     AND d.organization_id = %(organization_id)s
    JOIN deployment_server s USING (deployment_id)
   WHERE s.outcome = 'succeeded'
     AND d.application_id = coalesce(%(application_id)s, d.application_id)
)
SELECT d.application_id, a.name AS application_name, p.server_id, v.name AS server_name,
       d.reference, d.digest, found.type, found.name AS package, found.version
  FROM place p
  JOIN deployment d ON d.deployment_id = running_deployment(p.application_id, p.server_id)
  JOIN deployment_server s ON s.deployment_id = d.deployment_id AND s.server_id = p.server_id
  JOIN found ON found.digest = d.digest
  JOIN application a ON a.application_id = d.application_id
  JOIN server v ON v.server_id = p.server_id
 WHERE s.stopped_at IS NULL
 ORDER BY a.name, v.name, p.server_id, found.type, found.version
"""
UNKNOWN = """
SELECT count(DISTINCT d.application_id) AS applications
  FROM application_server p
  JOIN deployment d ON d.deployment_id = running_deployment(p.application_id, p.server_id)
 WHERE p.organization_id = %(organization_id)s
   AND p.application_id = coalesce(%(application_id)s, p.application_id)
   AND NOT EXISTS (SELECT FROM image_report r
                    WHERE r.organization_id = d.organization_id AND r.digest = d.digest
                      AND r.sbom IS NOT NULL)
"""


class Search(Input):
    """`name` is compared without regard to case; `below` is a version that does not count."""

    name: Annotated[str, Field(min_length=1, max_length=300)]
    below: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    application_id: Id | None = None


class Match(Output):
    """A package in the image that an application runs on a server.

    `isBelow` is null without `below`, and if the versions cannot be compared.
    """

    application_id: str
    application_name: str
    server_id: str
    server_name: str
    reference: str
    digest: str
    type: str
    package: str
    version: str
    is_below: bool | None


class Matches(Output):
    """What was found. Of so many running applications nobody knows: their images have no SBOM.

    `leftOut` matches are not listed.
    """

    matches: list[Match]
    left_out: int
    applications_without_sbom: int


async def search(context: Context, request: Search) -> Matches:
    """List the running applications whose image contains a package, by the index of SBOMs.

    With `below` only those whose version is older, by the rules of the package's type (Debian, RPM,
    Alpine, PyPI, npm, Go, Maven …); versions that cannot be compared are listed too, with `isBelow:
    null`.
    """
    values = {
        "organization_id": context.organization_id,
        "name": request.name,
        "application_id": request.application_id,
    }
    if request.application_id is not None:
        async with context.transaction() as session:
            await find_application(session, context, request.application_id)
    async with context.resources.pool.connection() as connection:
        rows = await (await connection.execute(FIND, values)).fetchall()
        unknown = await (await connection.execute(UNKNOWN, values)).fetchone()
    found = [match for row in rows if (match := _match(row, request.below)) is not None]
    return Matches(
        matches=found[:MAX_MATCHES],
        left_out=max(len(found) - MAX_MATCHES, 0),
        applications_without_sbom=unknown["applications"] if unknown else 0,
    )


def _match(row: dict[str, Any], below: str | None) -> Match | None:
    """Return the match, unless its version is certainly not below the limit."""
    older = None if below is None else is_below(row["version"], below, row["type"])
    return None if older is False else Match.model_validate({**row, "is_below": older})


PROCEDURES = (Procedure("sbom.search", "query", Search, Matches, search),)
