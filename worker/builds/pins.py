"""Pins: the names by which BuildKit takes exactly the base images that were found.

With the containerd image store BuildKit does not build on the image that was found, but asks the
registry of its name first: for ``FROM app:1`` Docker Hub. A digest does not help if the image was
built or loaded here: BuildKit takes local content only from where it was pulled. So such an image
gets another name for the build, at a registry that nobody can offer. The name tells the folder of
its build, so that those of a killed worker are recognized.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import structlog

from shared.coroutines import end
from shared.errors import EngineError
from shared.reference import Reference
from worker.builds.bases import FoundBase
from worker.builds.sources.dockerfile import Base
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.jobs.workspaces import Workspaces

NOBODY = "localhost:1"
"""A registry that nobody can offer: only root may listen there, and no proxy is used for it."""

EVERY, RETRY = timedelta(minutes=10), timedelta(seconds=5)

_PIN = re.compile(rf"{NOBODY}/.+:wharf-(?P<folder>\w+)-\d+")

log = structlog.get_logger()


@asynccontextmanager
async def open_pins(
    engine: Engine, found: Sequence[FoundBase], folder: Path
) -> AsyncIterator[Mapping[Base, str]]:
    """Yield the names by which BuildKit takes the found images; they are removed at the end.

    A base without a digest keeps its name: it is in a store where BuildKit takes it by its name.
    """
    pins = dict[Base, str]()
    names = list[str]()
    try:
        for one in found:
            if one.image is not None and one.needs_name:
                tag = f"wharf-{folder.name}-{len(names)}"
                name = Reference(NOBODY, one.base.reference.repository, tag)
                await images.tag(engine, one.image.image_id, name)
                names.append(str(name))
                pins[one.base] = str(name)
            elif one.digest:
                pins[one.base] = f"{one.base.reference.name}@{one.digest}"
        yield pins
    finally:
        for text in names:
            with contextlib.suppress(EngineError):
                await images.remove(engine, text)


@asynccontextmanager
async def removing_stale_pins(engine: Engine, workspaces: Workspaces) -> AsyncIterator[None]:
    """Remove now and then what killed workers and interrupted Engines have left."""
    task = asyncio.create_task(_keep_removing(engine, workspaces))
    try:
        yield
    finally:
        await end(task)


async def remove_stale_pins(engine: Engine, workspaces: Workspaces) -> None:
    """Remove the names whose builds have no folder any more.

    Raises:
        EngineError: the Engine does not answer, or refuses it.
    """
    for name in await images.list_names(engine):
        match = _PIN.fullmatch(name)
        if match and not await asyncio.to_thread((workspaces.directory / match["folder"]).exists):
            await images.remove(engine, name)
            log.info("pin_removed", reference=name)


async def _keep_removing(engine: Engine, workspaces: Workspaces) -> None:
    while True:
        pause = EVERY
        try:
            await remove_stale_pins(engine, workspaces)
        except EngineError:
            pause = RETRY
        await asyncio.sleep(pause.total_seconds())
