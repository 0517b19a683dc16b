"""Pull, push and tag images through the server's Engine; verify a push at its registry."""

import asyncio

from shared.errors import EngineError, RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePull, ImagePush, ImageTag
from shared.jobs.results import ImageResult
from shared.reference import Reference
from worker.engine import images
from worker.engine.images import LocalImage
from worker.engine.transport.connection import CONTROL_TIMEOUT
from worker.images.preflight import prepare
from worker.images.signatures import hold_to_policy
from worker.jobs import transfers
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.last_step import PROGRESS_LAG_SECONDS, LastStep, carry_out
from worker.jobs.logins import find_login
from worker.jobs.second_opinion import Transfer, find_engine_login, look_ahead, second_opinion
from worker.jobs.tools import IDLE, Tools, progress_recorder
from worker.login import EngineLogin, Grants

NOT_STORED_CODES = frozenset(
    {
        FaultCode.AUTH_BAD_CREDENTIALS,
        FaultCode.AUTH_MISSING,
        FaultCode.PUSH_DENIED,
        FaultCode.PULL_DENIED,
        FaultCode.REPO_MISSING,
        FaultCode.LOCAL_IMAGE_MISSING,
        FaultCode.DIGEST_MISMATCH,
    }
)
"""Codes of a failed push that has not stored this image."""

TAG_SECONDS = 2 * CONTROL_TIMEOUT.total_seconds() + 1
"""The longest time that a local tag takes: two calls of the Engine, each with its own limit."""


async def pull(command: ImagePull, grants: Grants, attempt: Attempt, tools: Tools) -> ImageResult:
    """Pull the image; the Engine verifies each layer against the reported digest.

    An image that its policy refuses is not pulled. A preflight fails early if the pull would fail.
    If the image is already local, the result is that image, and ``verified_by`` stays empty.
    """
    target = command.target
    warnings: tuple[str, ...] = ()
    if command.policy is not None:
        reading = await find_login(grants, target, "pull", tools) if command.registry_id else None
        warnings = await hold_to_policy(command.policy, target, reading, tools)
    here = await prepare(command, grants, attempt, tools) if command.preflight else None
    if here is not None:
        return ImageResult(
            reference=command.reference,
            digest=target.digest,
            image_id=here.image_id,
            size_bytes=here.size_bytes,
            warnings=warnings,
        )
    login = await find_login(grants, target, "pull", tools) if command.registry_id else None
    engine_login = await find_engine_login(Transfer("pull", target, login), tools)
    pulled = await transfers.pull(
        tools,
        target,
        engine_login,
        progress_recorder(attempt),
        platform=command.platform,
        is_checked=command.preflight,
    )
    local = await images.inspect(tools.engine, pulled.image_id)
    return ImageResult(
        reference=str(target.with_digest(pulled.digest)),
        digest=pulled.digest,
        image_id=pulled.image_id,
        size_bytes=local.size_bytes,
        verified_by="server",
        warnings=warnings,
    )


async def push(command: ImagePush, grants: Grants, attempt: Attempt, tools: Tools) -> ImageResult:
    """Tag the image for the registry, push it, and ask the registry for its digest.

    The registry is asked first for the start of an upload: what it refuses at once, an Engine would
    try for a minute, and meanwhile hold one of its few upload slots.

    A cancel stops the push only before the Engine writes the tag. While the Engine writes it, this
    waits, and the job succeeds. If the Engine stands still, its next answer is waited for, and the
    registry is asked then. After any other error the push has succeeded if the registry has
    exactly this image by this tag: the answer may have been lost, and an immutable tag is refused
    the second time.

    Raises:
        RegistryError: ``digest_mismatch``, the registry reports another digest;
            ``auth_unsafe_realm``, the Engine must not receive the login.
        EngineError: as `images.push`; after a cancel ``engine_unreachable``, the Engine may still
            write the tag.
    """
    target = command.target
    transfer = Transfer("push", target, await find_login(grants, target, "push", tools))
    local = await images.inspect(tools.engine, command.source)
    try:
        await look_ahead(transfer, tools)
    except RegistryError as error:
        held = await _find_stored(error, transfer, local, tools)
        if held is None:
            raise
        digest = held
    else:
        digest = await _push(transfer, local, attempt, tools)
    return ImageResult(
        reference=str(target.with_digest(digest)),
        digest=digest,
        image_id=local.image_id,
        size_bytes=local.size_bytes,
        verified_by="server",
    )


async def _push(transfer: Transfer, local: LocalImage, attempt: Attempt, tools: Tools) -> str:
    """Tag and push the image and return its digest, also if a failed push has stored it."""
    target = transfer.reference
    login = await find_engine_login(transfer, tools)
    await images.tag(tools.engine, local.image_id, target)
    step = LastStep(progress_recorder(attempt))
    try:
        return await carry_out(
            _send(tools, transfer, login, step),
            attempt,
            lambda: step.is_last,
            lag_seconds=PROGRESS_LAG_SECONDS,
        )
    except (asyncio.CancelledError, EngineError, RegistryError) as error:
        if attempt.stop_reason is StopReason.CANCELLED:
            await _wait_for_engine(target, attempt, tools)
            held = await tools.find_image_digest(target, transfer.login, local.image_id)
        else:
            held = await _find_stored(error, transfer, local, tools)
        if held is None:
            raise
        return held


async def _find_stored(
    error: BaseException, transfer: Transfer, local: LocalImage, tools: Tools
) -> str | None:
    """Return the digest if a push with this error may have stored the image, and has."""
    if not isinstance(error, EngineError | RegistryError) or error.code in NOT_STORED_CODES:
        return None
    return await tools.find_image_digest(transfer.reference, transfer.login, local.image_id)


async def _wait_for_engine(target: Reference, attempt: Attempt, tools: Tools) -> None:
    """Wait for the Engine after a cancel; without an answer the attempt has failed, not stopped."""
    try:
        await tools.wait_for_engine(f"the push of {target}")
    except EngineError:
        attempt.is_too_late = True
        raise


async def tag(command: ImageTag, attempt: Attempt, tools: Tools) -> ImageResult:
    """Give a local image another name; this is too short to be stopped."""
    return await carry_out(_tag(command, tools), attempt, lambda: True, seconds=TAG_SECONDS)


async def _tag(command: ImageTag, tools: Tools) -> ImageResult:
    local = await images.inspect(tools.engine, command.source)
    await images.tag(tools.engine, local.image_id, command.target)
    return ImageResult(
        reference=str(command.target), image_id=local.image_id, size_bytes=local.size_bytes
    )


async def _send(tools: Tools, transfer: Transfer, login: EngineLogin | None, step: LastStep) -> str:
    """Push the image and return its digest, which the registry has confirmed."""
    target = transfer.reference
    async with second_opinion(transfer, tools, has_moved=lambda: step.has_moved):
        pushed = await images.push(tools.engine, target, login, step, IDLE)
    held = await tools.confirm(target, transfer.login)
    if held.digest != pushed.digest:
        raise RegistryError(
            FaultCode.DIGEST_MISMATCH,
            f"{target} is {held.digest} at the registry, but {pushed.digest} was pushed",
        )
    return held.digest
