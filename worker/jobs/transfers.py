"""Pull an image with a server's Engine; a failure is explained with the registry's help."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from shared.errors import EngineError, WharfError
from shared.faults import FaultCode
from shared.reference import Reference, parse_registry
from worker.engine import images
from worker.engine.compression import require_unpackable, unpacks_zstd
from worker.engine.images import PulledImage
from worker.engine.transfer import OnProgress
from worker.jobs.last_step import LastStep
from worker.jobs.second_opinion import Transfer, ask, combine, is_worth_asking, second_opinion
from worker.jobs.tools import IDLE, Tools
from worker.login import EngineLogin, Login
from worker.oci.images.platform import parse_platform
from worker.oci.providers.quotas import counts_manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.pull_limit import read_pull_limit

OBSERVE_SECONDS = 2.0
"""The longest time that a finished pull waits for the registry's limit."""

MAX_BASES = 3
"""The number of bases of a failed build that are asked for, each within five seconds."""


async def pull(
    tools: Tools,
    reference: Reference,
    login: EngineLogin | None,
    on_progress: OnProgress,
    *,
    platform: str | None = None,
    is_checked: bool = False,
) -> PulledImage:
    """Pull one image as `images.pull`; ``is_checked`` if a preflight has looked at it.

    Raises:
        EngineError: ``compression_unsupported``, ``not_an_image`` before anything is fetched; or
            why it failed, as the Engine and the registry report it.
    """
    engine = tools.engine
    requested = parse_platform(platform) if platform else await images.find_platform(engine)
    transfer = Transfer("pull", reference, login, requested)
    if not is_checked:
        await _require_unpackable(transfer, tools)
    step = LastStep(on_progress)
    async with second_opinion(transfer, tools, has_moved=lambda: step.has_moved):
        pulled = await images.pull(engine, reference, login, step, IDLE, platform=platform)
    await observe_limit(reference.with_digest(pulled.digest), login, tools)
    return pulled


async def observe_limit(reference: Reference, login: Login | None, tools: Tools) -> None:
    """Learn what Docker Hub has counted, which it does not tell by way of an Engine.

    A HEAD is no pull. An Engine with mirrors has probably not asked Docker Hub.
    """
    if not counts_manifests(reference.registry):
        return
    with contextlib.suppress(WharfError, TimeoutError):
        async with asyncio.timeout(OBSERVE_SECONDS):
            settings = await tools.connection_settings()
            if settings.mirrors:
                return
            host = parse_registry(reference.registry)
            async with RegistryClient(host, login, settings) as registry:
                await read_pull_limit(registry, reference.repository, reference.target)


@asynccontextmanager
async def second_opinion_on_bases(
    bases: Sequence[tuple[Reference, EngineLogin | None]], tools: Tools
) -> AsyncIterator[None]:
    """Explain an error of a builder within the block, if it could not pull one of its bases.

    Only bases that the Engine does not have are asked for, with the login beside each.

    Raises:
        EngineError: the error itself, or that of the base.
    """
    try:
        yield
    except EngineError as error:
        if not is_worth_asking(error) or error.code == FaultCode.ENGINE_STALLED:
            raise
        for reference, login in bases[:MAX_BASES]:
            if await images.find(tools.engine, str(reference)) is not None:
                continue
            transfer = Transfer("pull", reference, login)
            found = await ask(transfer, tools, with_parts=False)
            if found.error is not None:
                raise combine(error, transfer, found, tools.engine_certificates) from error
        raise


async def _require_unpackable(transfer: Transfer, tools: Tools) -> None:
    """Look at the image if its layers might be such that this Engine cannot unpack them.

    Where each manifest that is read counts as a pull, nothing is read in advance.
    """
    if counts_manifests(transfer.reference.registry) or await unpacks_zstd(tools.engine):
        return
    found = await ask(transfer, tools, with_parts=False)
    if found.image is not None:
        await require_unpackable(tools.engine, transfer.reference, found.image)
    elif found.error is not None and found.error.code == FaultCode.NOT_AN_IMAGE:
        raise found.error
