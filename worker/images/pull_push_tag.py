"""Pull, push and tag through the server's Engine; a push is believed when the registry says so."""

import asyncio

from shared.errors import EngineError, RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePull, ImagePush, ImageTag
from shared.jobs.results import ImageResult
from shared.reference import Reference
from worker.engine import images
from worker.images.preflight import prepare, require_image
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.last_step import LastStep, carry_out
from worker.jobs.tools import IDLE, Tools, progress_recorder
from worker.login import EngineLogin, Grants

UNCLEAR = frozenset({FaultCode.PLATFORM_MISSING, FaultCode.ENGINE_REFUSED})
"""What an Engine's words come to where it pulls a chart or another artifact."""

SURE = frozenset(
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
"""A push that failed with one of these has stored nothing, or something else."""


async def pull(command: ImagePull, grants: Grants, attempt: Attempt, tools: Tools) -> ImageResult:
    """Fetch the image; the Engine checks each layer against the digest that it reports.

    With a preflight it is refused before that where it would fail, and one that is there already is
    answered without its registry, which then nobody has asked for the digest.
    """
    target = command.target
    here = await prepare(command, grants, attempt, tools) if command.preflight else None
    if here is not None:
        return ImageResult(
            reference=command.reference,
            digest=target.digest,
            image_id=here.image_id,
            size_bytes=here.size_bytes,
        )
    given = grants.login_for(target, "pull") if command.registry_id else None
    login = await tools.engine_login(given, target)
    try:
        pulled = await images.pull(
            tools.engine, target, login, progress_recorder(attempt), IDLE, platform=command.platform
        )
    except EngineError as error:
        if error.code in UNCLEAR:
            await require_image(command, given, tools)
        raise
    local = await images.inspect(tools.engine, pulled.image_id)
    return ImageResult(
        reference=str(target.with_digest(pulled.digest)),
        digest=pulled.digest,
        image_id=pulled.image_id,
        size_bytes=local.size_bytes,
        verified_by="server",
    )


async def push(command: ImagePush, grants: Grants, attempt: Attempt, tools: Tools) -> ImageResult:
    """Give the image its name in the registry, send it, and ask the registry for its digest.

    Cancelled before the registry has the tag, it is stopped; after that it is too late, and it has
    succeeded. An Engine does not stop in the middle of writing the tag, so its end is waited for.
    Whatever else goes wrong, it has succeeded where the registry has just this image by this tag:
    the answer may have been lost, and a tag that cannot be moved is refused the second time.

    Raises:
        RegistryError: ``digest_mismatch`` where the registry answers another digest;
            ``auth_unsafe_realm`` where the Engine may not be given the login.
    """
    target = command.target
    login = grants.login_for(target, "push")
    given = await tools.engine_login(login, target)
    local = await images.inspect(tools.engine, command.source)
    await images.tag(tools.engine, local.image_id, target)
    step = LastStep(progress_recorder(attempt))
    try:
        digest = await carry_out(_send(tools, target, given, step), attempt, lambda: step.is_last)
    except (asyncio.CancelledError, EngineError, RegistryError) as error:
        may_be_there = attempt.stop_reason is StopReason.CANCELLED or _is_unsure(error)
        held = (
            await tools.find_image_digest(target, login, local.image_id) if may_be_there else None
        )
        if held is None:
            raise
        digest = held
    return ImageResult(
        reference=str(target.with_digest(digest)),
        digest=digest,
        image_id=local.image_id,
        size_bytes=local.size_bytes,
        verified_by="server",
    )


def _is_unsure(error: BaseException) -> bool:
    """Whether a push that failed so may have been stored all the same, now or before."""
    return isinstance(error, EngineError | RegistryError) and error.code not in SURE


async def tag(command: ImageTag, attempt: Attempt, tools: Tools) -> ImageResult:
    """Give a local image another name; that is too short to be stopped."""
    return await carry_out(_tag(command, tools), attempt, lambda: True)


async def _tag(command: ImageTag, tools: Tools) -> ImageResult:
    local = await images.inspect(tools.engine, command.source)
    await images.tag(tools.engine, local.image_id, command.target)
    return ImageResult(
        reference=str(command.target), image_id=local.image_id, size_bytes=local.size_bytes
    )


async def _send(tools: Tools, target: Reference, login: EngineLogin | None, step: LastStep) -> str:
    """The digest that the Engine has sent and the registry holds."""
    pushed = await images.push(tools.engine, target, login, step, IDLE)
    held = await tools.confirm(target, login)
    if held.digest != pushed.digest:
        raise RegistryError(
            FaultCode.DIGEST_MISMATCH,
            f"{target} is {held.digest} at the registry, {pushed.digest} was pushed",
        )
    return held.digest
