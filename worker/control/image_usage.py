"""Find the rows that need an image at its registry, in all applications and organizations."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.errors import InvalidReferenceError, UnmetConditionError
from shared.jobs.commands import ImageDelete, Kind
from shared.jobs.deletion import MAX_KNOWN, Claim, Known
from shared.jobs.store.release import Released
from shared.reference import Reference, parse_reference

MAX_CLAIMS = 100
"""Rows of each kind; one is enough to need an image, but each may have its own tag."""

BUILDS = """
SELECT b.build_id, b.organization_id, b.version, b.reference, b.retained, a.name, b.outcome
  FROM build b JOIN application a USING (application_id)
 WHERE b.digest = %(digest)s AND b.outcome = 'succeeded'
   AND %(place)s IN (repository_of(b.reference), repository_of(b.retained))
   AND (b.image_deleted_at IS NULL OR repository_of(b.retained) = %(place)s)
UNION ALL
SELECT b.build_id, b.organization_id, b.version, b.reference, b.retained, a.name, b.outcome
  FROM build b JOIN application a USING (application_id)
 WHERE b.outcome IS NULL AND %(place)s IN (repository_of(b.reference), repository_of(b.retained))
 LIMIT %(most)s
"""
# Running as in `image_runs`. An unfinished deployment may restore the images that it replaces.
DEPLOYMENTS = """
SELECT d.organization_id, a.name
  FROM deployment d JOIN application a USING (application_id)
 WHERE d.digest = %(digest)s
   AND %(place)s IN (repository_of(d.reference), repository_of(d.retained)) AND (
   d.outcome IS NULL OR d.point_due
   OR EXISTS (SELECT FROM deployment later WHERE later.application_id = d.application_id
      AND (later.outcome IS NULL
        OR later.on_failure = 'rollback' AND later.outcome IN ('failed', 'cancelled', 'expired')
           AND later.finished_at > now() - interval '1 hour'))
   OR EXISTS (SELECT FROM deployment_server s
      WHERE s.deployment_id = d.deployment_id AND s.outcome = 'succeeded' AND NOT EXISTS (
        SELECT FROM deployment_server later JOIN deployment newer USING (deployment_id)
         WHERE later.server_id = s.server_id AND newer.application_id = d.application_id
           AND later.outcome = 'succeeded' AND newer.number > d.number)))
UNION
SELECT d.organization_id, a.name FROM deployment d JOIN application a USING (application_id)
 WHERE d.outcome IS NULL AND d.digest IS NULL
   AND %(place)s IN (repository_of(d.reference), repository_of(d.retained))
 LIMIT %(most)s
"""
POINTS = """
SELECT r.organization_id, r.build_id, r.dropped_at, b.reference, b.retained, a.name
  FROM rollback r JOIN build b USING (build_id)
  JOIN application a ON a.application_id = r.application_id
 WHERE r.reference = %(place)s || '@' || %(digest)s
 LIMIT %(most)s
"""
APPLICATIONS = """
SELECT organization_id, name, docker_image FROM application
 WHERE docker_image LIKE '%%@' || %(digest)s LIMIT %(most)s
"""
# Comparing the beginning first is cheaper, because it excludes most builds.
OTHERS = """
SELECT DISTINCT b.digest FROM build b
 WHERE b.digest <> %(digest)s AND b.outcome = 'succeeded' AND b.image_deleted_at IS NULL
   AND (starts_with(b.reference, %(place)s) OR starts_with(b.retained, %(place)s))
   AND %(place)s IN (repository_of(b.reference), repository_of(b.retained))
UNION SELECT r.digest FROM rollback r
 WHERE r.digest <> %(digest)s AND repository_of(r.reference) = %(place)s
   AND r.dropped_at IS NULL
 LIMIT %(most_others)s
"""
FILL = "UPDATE job SET command = %s WHERE job_id = %s AND attempt = %s"


async def read_known(connection: Connection, image: Reference, organization_id: str) -> Known:
    """Read the database's knowledge about an image, without names of other organizations."""
    values = {
        "place": image.name,
        "digest": image.digest,
        "most": MAX_CLAIMS + 1,
        "most_others": MAX_KNOWN + 1,
    }

    async def read(query: str) -> list[dict[str, Any]]:
        rows = await (await connection.execute(query.encode(), values)).fetchall()
        return [{**row, "is_own": row.get("organization_id") == organization_id} for row in rows]

    builds, points = await read(BUILDS), await read(POINTS)
    deployments, applications = await read(DEPLOYMENTS), await read(APPLICATIONS)
    claims = [
        *_builds(image, builds),
        *_points(image, points),
        *(_claim("deployment", row, "a deployment of {name}", passes=True) for row in deployments),
        *_applications(image, applications),
    ]
    if any(len(rows) > MAX_CLAIMS for rows in (builds, points, deployments, applications)):
        claims.append(Claim(kind="bound", name=f"one of more than {MAX_CLAIMS} rows"))
    others = await read(OTHERS)
    if len(others) > MAX_KNOWN:
        claims.append(Claim(kind="bound", name=f"one of more than {MAX_KNOWN} further images"))
    return Known(
        claims=tuple(claims),
        given_up=frozenset(row["build_id"] for row in points if row["dropped_at"] is not None),
        others=tuple(row["digest"] for row in others[:MAX_KNOWN]),
    )


async def recheck(connection: Connection, job: Released) -> Released:
    """Return a deletion with the database's current knowledge; other jobs are unchanged.

    Raises:
        UnmetConditionError: ``image_in_use``: a row needs the image since the job was submitted.
        ValueError: the stored command cannot be read.
    """
    if job.kind != Kind.IMAGE_DELETE:
        return job
    command = ImageDelete.model_validate(job.command)
    known = await read_known(connection, command.target, job.organization_id)
    if known.passing:
        raise UnmetConditionError(
            "image_in_use",
            f"{command.reference} is kept: {known.passing[0].name} still needs it",
            remedy="No action is needed: the deletion is tried again in an hour.",
        )
    stored = command.model_copy(update={"known": known}).model_dump(mode="json")
    await connection.execute(FILL, (Jsonb(stored), job.job_id, job.attempt))
    return replace(job, command=stored)


def _builds(image: Reference, rows: list[dict[str, Any]]) -> Iterator[Claim]:
    for row in rows:
        yield _claim(
            "build",
            row,
            "build {version} of {name}",
            build_id=row["build_id"],
            tag=_tag(image, row),
            passes=row["outcome"] is None,
        )


def _points(image: Reference, rows: list[dict[str, Any]]) -> Iterator[Claim]:
    for row in rows:
        if row["dropped_at"] is None:
            yield _claim(
                "point",
                row,
                "a rollback point of {name}",
                build_id=row["build_id"],
                tag=_tag(image, row),
                passes=True,
            )


def _applications(image: Reference, rows: list[dict[str, Any]]) -> Iterator[Claim]:
    for row in rows:
        named = _parse(row["docker_image"])
        if named is None or named.name == image.name:
            yield _claim("application", row, "the application {name}")


def _claim(kind: Any, row: dict[str, Any], name: str, **more: Any) -> Claim:
    shown = name.format(**row) if row["is_own"] else "another organization"
    return Claim(kind=kind, name=shown, **more)


def _tag(image: Reference, row: dict[str, Any]) -> str | None:
    """Return a build's tag in the image's repository."""
    for text in (row["retained"], row["reference"]):
        named = _parse(text)
        if named is not None and named.name == image.name:
            return named.tag
    return None


def _parse(text: str | None) -> Reference | None:
    try:
        return parse_reference(text) if text else None
    except InvalidReferenceError:
        return None
