"""Store a planned build: its row and its jobs, each job needing the one before."""

from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from api.builds.plan import BuildCommand, BuildPlan
from api.jobs.submission import TRANSFER_DEADLINE
from shared.faults import Fault
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import ImageBuild
from shared.jobs.sources import GitSource
from shared.jobs.store.submit import Submission, submit_all
from shared.models import Application
from shared.signatures.policy import BasePolicy, find_base_policy

NUMBER = (
    "UPDATE application SET last_version = %(version)s WHERE application_id = %(application_id)s"
)
INSERT = """
INSERT INTO build (build_id, organization_id, application_id, version, title, reference, retained,
                   make_job_id, push_job_id, retain_job_id, scan_job_id,
                   requested_by)
VALUES (%(build_id)s, %(organization_id)s, %(application_id)s, %(version)s, %(title)s,
        %(reference)s, %(retained)s, %(build_id)s, %(push_job_id)s, %(retain_job_id)s,
        %(scan_job_id)s, %(requested_by)s)
"""
SUPERSEDE = """
SELECT job_cancel(j.job_id, j.organization_id, %(fault)s)
  FROM build b JOIN job j ON j.job_id = b.make_job_id
 WHERE b.application_id = %(application_id)s AND b.outcome IS NULL AND j.state = 'queued'
   AND b.build_id <> %(build_id)s
"""
SUPERSEDED = Fault(code="superseded", message="a newer build of the application took its place")


async def store_build(connection: AsyncConnection[Any], plan: BuildPlan) -> None:
    """Store the build and submit its jobs, in the transaction that locked the application.

    If the application's latest build wins, its waiting builds are superseded.
    """
    values = _values(plan)
    policy = await find_base_policy(connection, plan.application.application_id)
    await connection.execute(NUMBER, values)
    await submit_all(connection, _submissions(plan, policy))
    await connection.execute(INSERT, values)
    if plan.application.latest_wins:
        fault = Jsonb(SUPERSEDED.model_dump(mode="json", exclude_none=True))
        await connection.execute(SUPERSEDE, {**values, "fault": fault})


def _values(plan: BuildPlan) -> dict[str, object]:
    return {
        "build_id": plan.request.build_id,
        "organization_id": plan.application.organization_id,
        "application_id": plan.application.application_id,
        "version": plan.version,
        "title": plan.request.title,
        "reference": str(plan.reference),
        "retained": plan.retain.command.reference if plan.retain else None,
        "push_job_id": plan.push.job_id if plan.push else None,
        "retain_job_id": plan.retain.job_id if plan.retain else None,
        "scan_job_id": plan.scan.job_id if plan.scan else None,
        "requested_by": plan.request.requested_by,
    }


def _submissions(plan: BuildPlan, policy: BasePolicy | None) -> list[Submission]:
    return [
        Submission(
            organization_id=plan.application.organization_id,
            server_id=plan.request.server_id,
            command=_hold_to(policy, step.command),
            requested_by=plan.request.requested_by,
            registry_id=step.command.registry_id,
            sealed=_sealed(step.command, plan.application),
            exclusive_key=exclusive_key(step.command, plan.request.server_id),
            fair_key=plan.application.application_id,
            deadline=TRANSFER_DEADLINE,
            needs=needs,
            job_id=step.job_id,
        )
        for step, needs in plan.needs
    ]


def _hold_to(policy: BasePolicy | None, command: BuildCommand) -> BuildCommand:
    """Return a build with the policy for its bases; other steps as they are."""
    if not isinstance(command, ImageBuild):
        return command
    return command.model_copy(update={"base_policy": policy})


def _sealed(command: BuildCommand, application: Application) -> dict[str, str]:
    """Return the sealed secrets of the application that a build is given."""
    if not isinstance(command, ImageBuild):
        return {}
    given = {"build_secrets": application.build_secrets}
    if isinstance(command.source, GitSource):
        given["git_token"] = application.git_token
        given["git_ssh_key"] = application.git_ssh_key
    return {purpose: sealed for purpose, sealed in given.items() if sealed}
