"""Store a deployment: its row and, for each server, a row and its jobs, in one transaction.

Each server pulls the image, then runs it. Where the image is yet to be made, the pulls need the
job that makes it. Servers are changed a batch after the other: one whose batch before did not
succeed is not changed at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.deployments.run_settings import RunSettings
from shared.ids import make_id
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import ImagePull, Replace, ServiceReplace
from shared.jobs.store.submit import Submission, submit

DEADLINE = timedelta(hours=24)
"""A server that is away so long misses the deployment."""

INSERT = """
INSERT INTO deployment (deployment_id, organization_id, application_id, build_id, rollback_id,
                        rolls_back, title, description, reference, digest, registry_id, settings,
                        on_failure, retained, retained_registry_id, point_due, requested_by)
VALUES (%(deployment_id)s, %(organization_id)s, %(application_id)s, %(build_id)s, %(rollback_id)s,
        %(rolls_back)s, %(title)s, %(description)s, %(reference)s, %(digest)s, %(registry_id)s,
        %(settings)s, %(on_failure)s, %(retained)s, %(retained_registry_id)s,
        %(point_due)s, %(requested_by)s)
"""
INSERT_SERVER = """
INSERT INTO deployment_server (deployment_id, server_id, organization_id, pull_job_id,
                               replace_job_id)
VALUES (%(deployment_id)s, %(server_id)s, %(organization_id)s, %(pull_job_id)s, %(replace_job_id)s)
"""
# Whichever image is there first: what was asked for last is what runs in the end.
WAIT_FOR_EARLIER = """
INSERT INTO job_need (job_id, needs_job_id, on_state)
SELECT %(replace_job_id)s, j.job_id, 'ended'
  FROM deployment d JOIN deployment_server s USING (deployment_id)
  JOIN job j ON j.job_id = s.replace_job_id
 WHERE d.application_id = %(application_id)s AND s.server_id = %(server_id)s
   AND d.outcome IS NULL AND j.finished_at IS NULL AND d.deployment_id <> %(deployment_id)s
"""

OnFailure = Literal["stop", "rollback"]


@dataclass(frozen=True)
class Image:
    """The image to run: by its digest, or, without one, the result of the job ``made_by``.

    ``registry_id`` is whose login it is pulled with.
    """

    reference: str
    digest: str | None
    registry_id: str | None
    made_by: str | None = None


@dataclass(frozen=True)
class Retained:
    """Where a rollback finds the image, and by whose login; without its digest."""

    reference: str
    registry_id: str


@dataclass(frozen=True)
class Rollout:
    """The servers that are changed at once (0: all), and the action if one fails.

    ``rollback``: where one failed, those that were changed get what they had before.
    """

    batch_size: int = 0
    on_failure: OnFailure = "stop"


@dataclass(frozen=True)
class DeploymentRequest:
    """A deployment as it is asked for; ``environment`` is sealed, as its application has it.

    ``rollback_id`` is the point that it goes back to. ``rolls_back`` is the failed deployment that
    an automatic rollback is for.
    """

    deployment_id: str
    organization_id: str
    application_id: str
    build_id: str
    image: Image
    settings: RunSettings
    server_ids: Sequence[str]
    rollout: Rollout
    environment: str | None = None
    retained: Retained | None = None
    title: str = ""
    description: str = ""
    requested_by: str | None = None
    rollback_id: str | None = None
    rolls_back: str | None = None


async def store_deployment(connection: Connection, order: DeploymentRequest) -> None:
    """Store it and submit its jobs, within the caller's transaction, who has its application.

    Without a job that makes the image, the first pull has the deployment's own id.
    """
    await connection.execute(INSERT, _values(order))
    earlier: list[str] = []
    for batch in _batches(order):
        changing = [await _store_server(connection, order, server, earlier) for server in batch]
        earlier = [job_id for job_id in changing if job_id is not None]


def _batches(order: DeploymentRequest) -> list[Sequence[str]]:
    size = order.rollout.batch_size or len(order.server_ids)
    return [order.server_ids[at : at + size] for at in range(0, len(order.server_ids), size)]


async def _store_server(
    connection: Connection, order: DeploymentRequest, server_id: str, earlier: Sequence[str]
) -> str | None:
    """Gives the job that changes the server, if one does."""
    image = order.image
    is_first = server_id == order.server_ids[0] and image.made_by is None
    pull_id = order.deployment_id if is_first else make_id()
    pull = ImagePull(
        reference=image.reference,
        registry_id=image.registry_id,
        preflight=True,
        platform=order.settings.platform,
        made_by=image.made_by,
    )
    needs = [image.made_by] if image.made_by else []
    await submit(connection, _submission(order, pull, server_id, pull_id, needs))
    replace = order.settings.command(
        order.application_id,
        order.deployment_id,
        image.reference,
        registry_id=image.registry_id,
        made_by=image.made_by,
    )
    replace_id = make_id() if replace else None
    jobs = {"server_id": server_id, "pull_job_id": pull_id, "replace_job_id": replace_id}
    values = {**_values(order), **jobs}
    if replace is not None and replace_id is not None:
        needs = [pull_id, *earlier]
        await submit(connection, _submission(order, replace, server_id, replace_id, needs))
        await connection.execute(WAIT_FOR_EARLIER, values)
    await connection.execute(INSERT_SERVER, values)
    return replace_id


def _submission(
    order: DeploymentRequest,
    command: ImagePull | Replace,
    server_id: str,
    job_id: str,
    needs: Sequence[str],
) -> Submission:
    env = order.environment if isinstance(command, Replace) else None
    pulls = isinstance(command, ImagePull | ServiceReplace)
    return Submission(
        organization_id=order.organization_id,
        server_id=server_id,
        command=command,
        requested_by=order.requested_by,
        registry_id=order.image.registry_id if pulls else None,
        sealed={"environment": env} if env else {},
        exclusive_key=exclusive_key(command, server_id),
        fair_key=order.application_id,
        deadline=DEADLINE,
        needs=needs,
        deployment_id=order.deployment_id,
        job_id=job_id,
    )


def _values(order: DeploymentRequest) -> dict[str, object]:
    retained = order.retained
    return {
        "deployment_id": order.deployment_id,
        "organization_id": order.organization_id,
        "application_id": order.application_id,
        "build_id": order.build_id,
        "rollback_id": order.rollback_id,
        "rolls_back": order.rolls_back,
        "title": order.title,
        "description": order.description,
        "reference": order.image.reference,
        "digest": order.image.digest,
        "registry_id": order.image.registry_id,
        "settings": Jsonb(order.settings.model_dump(mode="json")),
        "on_failure": order.rollout.on_failure,
        "retained": retained.reference if retained else None,
        "retained_registry_id": retained.registry_id if retained else None,
        "point_due": retained is not None,
        "requested_by": order.requested_by,
    }
