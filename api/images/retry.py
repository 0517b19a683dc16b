"""Repeat a job that did not succeed, by a new job with the same command."""

from collections.abc import Sequence

from api.applications.permissions import require_repository
from api.errors import NotRepeatableError
from api.fields.hosts import require_host
from api.fields.shapes import Accepted
from api.jobs.procedures import ChosenJob, find_job
from api.jobs.server_choice import choose_server
from api.jobs.submission import TEST_DEADLINE, TRANSFER_DEADLINE, submit_job
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.key_limits import require_procedure
from api.procedure.procedure import Procedure
from api.registries.credentials import retry_refused
from api.registries.diagnosis import stored_test
from api.registries.procedures import find_registry
from shared.jobs.accesses import accesses, exclusive_key
from shared.jobs.commands import (
    RULES,
    Command,
    ImageCommand,
    ImageCopy,
    ImagePush,
    ImageTag,
    JobClass,
    Kind,
    RegistryTest,
    parse_command,
)
from shared.jobs.permissions import require_allowed
from shared.jobs.states import State
from shared.jobs.store.submit import Submission
from shared.models import AuditEvent, Job, Registry

PROCEDURES_OF = {
    Kind.REGISTRY_TEST: "registry.testRegistryById",
    Kind.IMAGE_PULL: "image.pull",
    Kind.IMAGE_PUSH: "image.push",
    Kind.IMAGE_COPY: "image.copy",
    Kind.IMAGE_TAG: "image.tag",
}
"""The kinds that are repeated, and the procedures that request them: a key needs both."""

OTHERS = {
    Kind.SERVER_CHECK: "Check the server again with server.check.",
    Kind.IMAGE_INSPECT: "Ask again with image.inspect.",
    Kind.IMAGE_TAGS: "Ask again with image.tags.",
    Kind.IMAGE_REPOSITORIES: "Ask again with image.repositories.",
    Kind.COMPOSE_PULL: "Send the compose file again with compose.pull.",
    Kind.IMAGE_BUILD: "Build the application again with application.build.",
    Kind.CONTAINER_REPLACE: "Deploy the application again with application.deploy.",
    Kind.SERVICE_REPLACE: "Deploy the application again with application.deploy.",
    Kind.APPLICATION_CONTROL: "Use application.stop, application.start or application.reload.",
    Kind.APPLICATION_LOGS: "Read the logs again with application.readLogs.",
}
OF_APPLICATION = "Build or deploy the application again."
OF_CONTROL = "Nothing is to be done: wharf control repeats what is still needed."


class RetriedJob(Accepted):
    """The new job, and the one that it repeats."""

    retry_of: str


async def retry(context: Context, request: ChosenJob) -> RetriedJob:
    """Repeat a failed, cancelled or expired job: a new one has its command and its server.

    Pulls, pushes, copies, tags and tests of stored registries are repeated, with the rights that
    their own procedures need. While the new job has not ended, another request returns it.
    """
    async with context.transaction() as session:
        job = await find_job(session, context, request.job_id)
        command = _require_repeatable(job)
        require_procedure(context.caller, PROCEDURES_OF[command.kind])
        ids = {access.registry_id for access in accesses(command)}
        registries = [await find_registry(session, context, each) for each in ids if each]
    if isinstance(command, RegistryTest):
        return await _submit(context, job, stored_test(context, registries[0]), registries)
    _require_same_hosts(command, registries)
    if isinstance(command, ImagePush | ImageCopy | ImageTag):
        await require_repository(context, command.target)
    if isinstance(command, ImageCommand) and not isinstance(command, ImageTag):
        require_host(command.target.registry, context.resources.networks)
    if isinstance(command, ImageCopy):
        require_host(command.origin.registry, context.resources.networks)
    return await _submit(context, job, command, registries)


def _require_repeatable(job: Job) -> Command:
    """Return the command of a job that can be repeated.

    Raises:
        NotRepeatableError: it cannot, with what to do instead.
    """
    state, kind = State(job.state), Kind(job.kind)
    if not state.is_final:
        raise NotRepeatableError(
            f"the job has not ended: it is {state}", remedy="Wait for its end, or cancel it first."
        )
    if state is State.SUCCEEDED:
        raise NotRepeatableError("the job has succeeded", remedy="Request the work as a new job.")
    if kind not in PROCEDURES_OF:
        raise NotRepeatableError(
            f"jobs of the kind {kind} are not repeated by themselves",
            remedy=OTHERS.get(kind, OF_CONTROL),
        )
    if job.deployment_id is not None or job.has_needs:
        raise NotRepeatableError(
            "the job is a part of a build or a deployment", remedy=OF_APPLICATION
        )
    command = parse_command(kind, job.command)
    if isinstance(command, RegistryTest) and command.rotation_id is not None:
        raise NotRepeatableError(
            "the job tested the new login of a rotation",
            remedy="Begin the rotation again with registry.rotate.",
        )
    if isinstance(command, RegistryTest) and command.registry_id is None:
        raise NotRepeatableError(
            "the password of this test was deleted when its job ended",
            remedy="Give it again with registry.testRegistry.",
        )
    return command


def _require_same_hosts(command: Command, registries: Sequence[Registry]) -> None:
    """Raise `NotRepeatableError` if a registry has moved: its login is for another host now."""
    hosts = {each.registry_id: each.host for each in registries}
    for access in accesses(command):
        if access.registry_id and hosts[access.registry_id] != access.host:
            raise NotRepeatableError(
                f"the registry of the job is now at {hosts[access.registry_id]}, and the image is "
                f"at {access.host}",
                remedy="Request the work as a new job.",
            )


async def _submit(
    context: Context, job: Job, command: Command, registries: Sequence[Registry]
) -> RetriedJob:
    is_test = isinstance(command, RegistryTest)
    is_quick = RULES[command.kind].job_class is JobClass.QUICK
    server_id = await choose_server(context, job.server_id, online=is_quick)
    require_allowed(registries, [server_id], "", is_test=is_test)

    def audited(_: str) -> AuditEvent:
        host = registries[0].host
        subject = registries[0].registry_id
        return audit_event(context, "registry.test", subject, host=host, server=server_id)

    if is_test:
        async with context.resources.pool.connection() as connection:
            ids = [each.registry_id for each in registries]
            await retry_refused(connection, context.organization_id, ids)
    submission = Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=command,
        requested_by=context.caller.actor_id,
        registry_id=job.registry_id,
        exclusive_key=exclusive_key(command, server_id),
        fair_key=job.fair_key,
        dedupe_key=f"retry:{job.job_id}",
        deadline=TEST_DEADLINE if is_quick else TRANSFER_DEADLINE,
        retry_of=job.job_id,
        job_id=context.job_id,
    )
    accepted = await submit_job(context, submission, audited if is_test else None)
    return RetriedJob(job_id=accepted.job_id, retry_of=job.job_id)


PROCEDURES = (Procedure("job.retry", "mutation", ChosenJob, RetriedJob, retry),)
