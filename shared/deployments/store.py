"""Store a planned deployment: its row and, for each server, a row and its jobs.

Each server pulls the image, then runs it. If the image is not built yet, the pulls need the job
that builds it. Servers are changed in batches: a batch is not changed unless the previous one
succeeded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from psycopg import AsyncConnection, AsyncCursor
from psycopg.types.json import Jsonb

from shared.deployments.run_settings import RunSettings
from shared.ids import make_id
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import ImagePull, Replace, ServiceReplace
from shared.jobs.store.submit import Submission, submit_all, values_of
from shared.signatures.policy import SignaturePolicy, find_policy

DEADLINE = timedelta(hours=24)
"""A server that is offline for longer misses the deployment."""

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
# Requests of an application take effect in their order, whichever image is ready first.
WAIT_FOR_EARLIER = """
INSERT INTO job_need (job_id, needs_job_id, on_state)
SELECT %(job_id)s, j.job_id, 'ended'
  FROM deployment d JOIN deployment_server s USING (deployment_id)
  JOIN job j ON j.job_id = s.replace_job_id
 WHERE d.application_id = %(application_id)s AND s.server_id = %(server_id)s
   AND d.outcome IS NULL AND j.finished_at IS NULL AND j.job_id <> %(job_id)s
UNION
SELECT %(job_id)s, job_id, 'ended' FROM job
 WHERE exclusive_key = %(exclusive_key)s AND kind = 'application.control'
   AND state IN ('queued', 'dispatched', 'running') AND job_id <> %(job_id)s
"""

OnFailure = Literal["stop", "rollback"]


@dataclass(frozen=True)
class Image:
    """The image to run: by its digest, or, without one, the result of the job ``made_by``.

    ``registry_id`` is the registry whose login pulls it. The job ``accepted_by`` scans it, and
    has to succeed before it is pulled.
    """

    reference: str
    digest: str | None
    registry_id: str | None
    made_by: str | None = None
    accepted_by: str | None = None


@dataclass(frozen=True)
class Retained:
    """The image for a rollback, without its digest, and the registry whose login pulls it."""

    reference: str
    registry_id: str


@dataclass(frozen=True)
class Rollout:
    """The number of servers that are changed at once (0: all), and the action if one fails.

    ``rollback``: the servers that were already changed are restored.
    """

    batch_size: int = 0
    on_failure: OnFailure = "stop"


@dataclass(frozen=True)
class DeploymentPlan:
    """A deployment to be stored; ``environment`` is the application's, sealed.

    ``rollback_id`` is the rollback point that it deploys. An automatic rollback has the failed
    deployment in ``rolls_back``.
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


@dataclass(frozen=True)
class _ServerJobs:
    """The jobs of one server: one pulls the image; the other runs it, unless nothing runs."""

    server_id: str
    pull: Submission
    replace: Submission | None

    @property
    def replace_id(self) -> str | None:
        return self.replace.job_id if self.replace else None


async def store_deployment(connection: AsyncConnection[Any], plan: DeploymentPlan) -> None:
    """Store the deployment and submit its jobs, in the transaction that locked its application.

    Without a job that makes the image, the first pull has the deployment's own id.
    """
    policy = await find_policy(connection, plan.application_id)
    servers = list(_server_jobs(plan, policy))
    rows = [
        {
            "deployment_id": plan.deployment_id,
            "organization_id": plan.organization_id,
            "application_id": plan.application_id,
            "server_id": server.server_id,
            "pull_job_id": server.pull.job_id,
            "replace_job_id": server.replace_id,
        }
        for server in servers
    ]
    jobs = [job for server in servers for job in (server.pull, server.replace) if job is not None]
    await connection.execute(INSERT, _values(plan))
    await submit_all(connection, jobs)
    cursor = connection.cursor()
    await wait_for_earlier(cursor, plan.application_id, [each for each in jobs if _changes(each)])
    await cursor.executemany(INSERT_SERVER, rows)


async def wait_for_earlier(
    cursor: AsyncCursor[Any], application_id: str, jobs: Sequence[Submission]
) -> None:
    """Make jobs that change an application on a server wait for the earlier ones there.

    The jobs are stored already, in the transaction that locked the application.
    """
    waiting = [
        {
            "job_id": job.job_id,
            "application_id": application_id,
            "server_id": job.server_id,
            "exclusive_key": values_of(job)["exclusive_key"],
        }
        for job in jobs
    ]
    if waiting:
        await cursor.executemany(WAIT_FOR_EARLIER, waiting)


def _changes(job: Submission) -> bool:
    return isinstance(job.command, Replace)


def _server_jobs(plan: DeploymentPlan, policy: SignaturePolicy | None) -> Iterator[_ServerJobs]:
    """Plan the jobs of each server. A batch of servers waits for the one before."""
    pull, replace = _pull(plan, policy), _replace(plan)
    earlier: list[str] = []
    for batch in _batches(plan):
        servers = [_jobs_on(plan, server_id, pull, replace, earlier) for server_id in batch]
        yield from servers
        earlier = [server.replace_id for server in servers if server.replace_id]


def _jobs_on(
    plan: DeploymentPlan,
    server_id: str,
    pull: ImagePull,
    replace: Replace | None,
    earlier: Sequence[str],
) -> _ServerJobs:
    made_by = plan.image.made_by
    begins = made_by is None and server_id == plan.server_ids[0]
    pull_id = plan.deployment_id if begins else make_id()
    needs = [each for each in (made_by, plan.image.accepted_by) if each]
    pulling = _submission(plan, pull, server_id, pull_id, needs)
    if replace is None:
        return _ServerJobs(server_id, pulling, None)
    replacing = _submission(plan, replace, server_id, make_id(), [pull_id, *earlier])
    return _ServerJobs(server_id, pulling, replacing)


def _pull(plan: DeploymentPlan, policy: SignaturePolicy | None) -> ImagePull:
    return ImagePull(
        reference=plan.image.reference,
        registry_id=plan.image.registry_id,
        preflight=True,
        platform=plan.settings.platform,
        made_by=plan.image.made_by,
        policy=policy,
        control_check="due" if policy else None,
    )


def _replace(plan: DeploymentPlan) -> Replace | None:
    return plan.settings.command(
        plan.application_id,
        plan.deployment_id,
        plan.image.reference,
        registry_id=plan.image.registry_id,
        made_by=plan.image.made_by,
    )


def _batches(plan: DeploymentPlan) -> list[Sequence[str]]:
    size = plan.rollout.batch_size or len(plan.server_ids)
    return [plan.server_ids[at : at + size] for at in range(0, len(plan.server_ids), size)]


def _submission(
    plan: DeploymentPlan,
    command: ImagePull | Replace,
    server_id: str,
    job_id: str,
    needs: Sequence[str],
) -> Submission:
    env = plan.environment if isinstance(command, Replace) else None
    pulls = isinstance(command, ImagePull | ServiceReplace)
    return Submission(
        organization_id=plan.organization_id,
        server_id=server_id,
        command=command,
        requested_by=plan.requested_by,
        registry_id=plan.image.registry_id if pulls else None,
        sealed={"environment": env} if env else {},
        exclusive_key=exclusive_key(command, server_id),
        fair_key=plan.application_id,
        deadline=DEADLINE,
        needs=needs,
        deployment_id=plan.deployment_id,
        job_id=job_id,
    )


def _values(plan: DeploymentPlan) -> dict[str, object]:
    retained = plan.retained
    return {
        "deployment_id": plan.deployment_id,
        "organization_id": plan.organization_id,
        "application_id": plan.application_id,
        "build_id": plan.build_id,
        "rollback_id": plan.rollback_id,
        "rolls_back": plan.rolls_back,
        "title": plan.title,
        "description": plan.description,
        "reference": plan.image.reference,
        "digest": plan.image.digest,
        "registry_id": plan.image.registry_id,
        "settings": Jsonb(plan.settings.model_dump(mode="json")),
        "on_failure": plan.rollout.on_failure,
        "retained": retained.reference if retained else None,
        "retained_registry_id": retained.registry_id if retained else None,
        "point_due": retained is not None,
        "requested_by": plan.requested_by,
    }
