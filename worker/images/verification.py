"""Verify that an image is complete at its registry, and delete an image that nothing needs."""

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
from worker.jobs.logins import find_login
from worker.jobs.tools import Tools, progress_recorder
from worker.login import Grants, Login
from worker.oci.images.dependents import Dependents
from worker.oci.images.plan import Plan
from worker.oci.images.verification import require_complete
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient

VERIFIED_WITHIN = timedelta(seconds=15)
"""The time limit after which a slow registry is reported, before the attempt times out."""


async def verify(
    command: ImageVerify, grants: Grants, tools: Tools, *, within: timedelta = VERIFIED_WITHIN
) -> VerificationResult:
    """Verify that the registry has all parts of the image, as `require_complete` does.

    Raises:
        RegistryError: ``image_not_found``, ``image_incomplete``, ``digest_mismatch``: it is not
            complete. Any other code, such as ``conn_timeout``, leaves that unknown.
    """
    target, digest = _parse(command.target)
    login = await find_login(grants, target, "pull", tools) if command.registry_id else None
    try:
        async with asyncio.timeout(within.total_seconds()):
            plan = await _verify(target, login, tools)
    except TimeoutError as error:
        raise RegistryError(
            FaultCode.CONN_TIMEOUT,
            f"the check that {target} is complete took longer than {within.total_seconds():g} s",
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
    """Delete a manifest with its tags if nothing else needs it; else only our own tags, or nothing.

    `decide` chooses, from the command and the answers of the registry; it is called again right
    before the deletion. Signatures, SBOMs and attestations of the image are deleted with it. Of an
    index only the index itself is deleted: the registry's garbage collection removes its children.
    A missing image is a success, so that an attempt whose answer was lost can be repeated. A cancel
    after the request to delete comes too late.

    Raises:
        RegistryError: ``delete_unsupported``, ``push_denied`` …; ``registry_error``, the registry
            reports a deletion but still has the image.
    """
    target, digest = _parse(command.target)
    login = await find_login(grants, target, "delete", tools)
    step = LastStep(progress_recorder(attempt))
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
        attached=done.attached,
    )


async def _verify(target: Reference, login: Login | None, tools: Tools) -> Plan:
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
            # The first lookup may have taken minutes; this one reads only names.
            decision = decide(target, known, await dependents.observe())
        match decision.outcome:
            case Outcome.DELETED:
                step.is_last = True
                return await _delete_bytes(registry, target, digest, decision.attached)
            case Outcome.UNTAGGED:
                step.is_last = True
                return await _delete_tags(registry, target, digest, decision)
            case _:
                return decision


async def _delete_bytes(
    registry: RegistryClient, target: Reference, digest: str, attached: tuple[str, ...]
) -> Decision:
    """Delete what belongs to the image first: a second attempt would not find it any more."""
    for one in attached:
        await manifests.delete(registry, target.repository, one)
    was_there = await manifests.delete(registry, target.repository, digest)
    if await manifests.has(registry, target.repository, digest):
        raise RegistryError(
            FaultCode.REGISTRY_ERROR,
            f"the registry accepted the deletion of {target}, but the image is still there",
            remedy="Read the registry's log, or delete the image at the registry by hand.",
        )
    return Decision(Outcome.DELETED if was_there else Outcome.GONE, attached=attached)


async def _delete_tags(
    registry: RegistryClient, target: Reference, digest: str, decision: Decision
) -> Decision:
    try:
        for tag in decision.tags:
            await manifests.delete_tag(registry, target.repository, tag)
    except RegistryError as error:
        if error.retryable:
            raise
        reasons = (*decision.reasons, f"the registry does not delete a tag ({error.code})")
        return Decision(Outcome.KEPT, (), reasons)
    if not await manifests.has(registry, target.repository, digest):
        raise RegistryError(
            FaultCode.REGISTRY_ERROR,
            f"the registry was asked to delete a tag, and deleted the whole image {target}",
            remedy="Push or build the image again, if another tag needs it.",
        )
    return decision


async def _open(target: Reference, login: Login | None, tools: Tools) -> RegistryClient:
    settings = await tools.connection_settings()
    return RegistryClient(parse_registry(target.registry), login, settings)


def _parse(target: Reference) -> tuple[Reference, str]:
    if target.digest is None:
        raise InvalidReferenceError(f"{target} has no digest")
    return target, target.digest
