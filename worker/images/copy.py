"""Copy an image between registries. The bytes pass through this server, not through its Engine."""

from contextlib import AsyncExitStack

from shared.jobs.commands import ImageCopy
from shared.jobs.results import ImageResult
from shared.reference import Reference, parse_registry
from worker.jobs.attempt import Attempt
from worker.jobs.last_step import LastStep, carry_out
from worker.jobs.logins import find_login
from worker.jobs.tools import Tools, progress_recorder
from worker.login import Grants, Login
from worker.oci.copy import Copied, copy_image
from worker.oci.registry.client import RegistryClient


async def copy(command: ImageCopy, grants: Grants, attempt: Attempt, tools: Tools) -> ImageResult:
    """Copy the image unchanged; a registry without a stored credential is used anonymously.

    A cancel stops the copy until the target has the tag. After that it comes too late, and the job
    succeeds.

    Raises:
        RegistryError: as `copy_image`, and ``auth_missing`` if no login allows this.
    """
    target = command.target
    reading = (
        await find_login(grants, command.origin, "pull", tools)
        if command.source_registry_id
        else None
    )
    writing = await find_login(grants, target, "push", tools) if command.registry_id else None
    step = LastStep(progress_recorder(attempt))
    work = _copy((command.origin, reading), (target, writing), tools, step)
    held = await carry_out(work, attempt, lambda: step.is_last)
    return ImageResult(
        reference=str(target.with_digest(held.digest)),
        digest=held.digest,
        verified_by="server",
        warnings=held.left_behind,
    )


async def _copy(
    source: tuple[Reference, Login | None],
    target: tuple[Reference, Login | None],
    tools: Tools,
    step: LastStep,
) -> Copied:
    settings = await tools.connection_settings()
    async with AsyncExitStack() as stack:
        reading, writing = [
            await stack.enter_async_context(
                RegistryClient(parse_registry(reference.registry), login, settings)
            )
            for reference, login in (source, target)
        ]
        return await copy_image(reading, source[0], writing, target[0], step)
