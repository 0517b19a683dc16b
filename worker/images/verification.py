"""See that an image is whole at its registry, and delete one that nothing needs there."""

import asyncio
from datetime import timedelta

from shared.errors import InvalidReferenceError, RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ImageDelete, ImageVerify
from shared.jobs.deletion import Decision, Known, Observation, Outcome, decide
from shared.jobs.results import DeleteResult, VerificationResult
from shared.reference import Reference, parse_registry
from worker.jobs.attempt import Attempt
from worker.jobs.last_step import LastStep, carry_out
from worker.jobs.tools import Tools, tell
from worker.login import Grants, Login
from worker.oci.images.dependents import Dependents
from worker.oci.images.plan import Plan
from worker.oci.images.verification import require_complete
from worker.oci.registry.client import RegistryClient

PROVED_WITHIN = timedelta(seconds=15)
"""So a slow registry is named as such before the attempt is over, as in a connection test."""


async def prove(
    command: ImageVerify, grants: Grants, tools: Tools, *, within: timedelta = PROVED_WITHIN
) -> VerificationResult:
    """All that a copy would move is there: `require_complete` says what is looked at.

    Raises:
        RegistryError: ``image_not_found``, ``image_incomplete``, ``digest_mismatch``: it is not
            whole. Any other code, ``conn_timeout`` for a slow registry among them: nobody knows.
    """
    target, digest = _parse(command.target)
    login = grants.login_for(target, "pull") if command.registry_id else None
    try:
        async with asyncio.timeout(within.total_seconds()):
            plan = await _look(target, login, tools)
    except TimeoutError as error:
        raise RegistryError(
            FaultCode.CONN_TIMEOUT,
            f"{target} was not seen whole within {within.total_seconds():g} s",
        ) from error
    return VerificationResult(
        reference=str(target),
        digest=digest,
        blobs=len(plan.blobs),
        size_bytes=sum(blob.size_bytes for blob in plan.blobs),
    )


async def delete(
    command: ImageDelete, grants: Grants, attempt: Attempt, tools: Tools
) -> DeleteResult:
    """Delete a manifest with its tags if nothing else needs it; else our own tags, or nothing.

    `decide` says which, by what the command knows and the registry tells; it is asked again right
    before. Of an index only itself goes: its children are left to the registry's garbage
    collection. One that is gone already is a success, so that an attempt whose answer was lost can
    be repeated. Cancelled once the registry was asked to delete, it is too late.

    Raises:
        RegistryError: ``delete_unsupported``, ``push_denied`` …; ``registry_error`` where the
            registry says that it did and still has it.
    """
    target, digest = _parse(command.target)
    login = grants.login_for(target, "delete")
    step = LastStep(tell(attempt))
    done = await carry_out(
        _delete(target, command.known, login, tools, step), attempt, lambda: step.is_last
    )
    return DeleteResult(
        reference=str(target),
        digest=digest,
        was_there=done.outcome is Outcome.DELETED,
        outcome=done.outcome,
        tags=done.tags,
        reasons=done.reasons,
    )


async def _look(target: Reference, login: Login | None, tools: Tools) -> Plan:
    async with await _open(target, login, tools) as registry:
        return await require_complete(registry, target)


async def _delete(
    target: Reference, known: Known, login: Login, tools: Tools, step: LastStep
) -> Decision:
    if known.needs and not known.own_tags:
        return decide(target, known, Observation(is_there=True))
    _, digest = _parse(target)
    async with await _open(target, login, tools) as registry:
        dependents = Dependents(registry, target, known.others)
        decision = decide(target, known, await dependents.observe())
        if decision.outcome in {Outcome.DELETED, Outcome.UNTAGGED}:
            # The first look may have taken minutes; this one is of names alone.
            decision = decide(target, known, await dependents.observe())
        match decision.outcome:
            case Outcome.DELETED:
                step.is_last = True
                return await _delete_bytes(registry, target, digest)
            case Outcome.UNTAGGED:
                step.is_last = True
                return await _delete_tags(registry, target, digest, decision)
            case _:
                return decision


async def _delete_bytes(registry: RegistryClient, target: Reference, digest: str) -> Decision:
    was_there = await registry.delete_manifest(target.repository, digest)
    if await registry.has_manifest(target.repository, digest):
        raise RegistryError(
            FaultCode.REGISTRY_ERROR,
            f"{target} is still there, though its registry took the request to delete it",
        )
    return Decision(Outcome.DELETED if was_there else Outcome.GONE)


async def _delete_tags(
    registry: RegistryClient, target: Reference, digest: str, decision: Decision
) -> Decision:
    try:
        for tag in decision.tags:
            await registry.delete_tag(target.repository, tag)
    except RegistryError as error:
        if error.retryable:
            raise
        reasons = (*decision.reasons, f"the registry does not delete a tag ({error.code})")
        return Decision(Outcome.KEPT, (), reasons)
    if not await registry.has_manifest(target.repository, digest):
        raise RegistryError(
            FaultCode.REGISTRY_ERROR,
            f"{target} is gone, though its registry was asked to delete a tag alone",
        )
    return decision


async def _open(target: Reference, login: Login | None, tools: Tools) -> RegistryClient:
    settings = await tools.connection_settings()
    return RegistryClient(parse_registry(target.registry), login, settings)


def _parse(target: Reference) -> tuple[Reference, str]:
    if target.digest is None:
        raise InvalidReferenceError(f"{target} has no digest")
    return target, target.digest
