"""The names that base images get for a build are removed, also after a killed worker."""

import re
from dataclasses import replace
from pathlib import Path

from shared.reference import parse_reference
from tests.worker.engine.contexts import BASE, make_base
from tests.worker.parts import make_tools
from worker.builds.bases import FoundBase
from worker.builds.pins import NOBODY, open_pins, remove_stale_pins
from worker.builds.sources.dockerfile import Base
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.jobs.workspaces import Workspaces
from worker.local.engines import LocalEngine


async def test_a_killed_worker_leaves_no_name_of_a_base(
    engine: Engine, local_engine: LocalEngine, tmp_path: Path
) -> None:
    make_base(local_engine.docker_host)
    foreign = parse_reference(f"{NOBODY}/team/foreign:wharf")
    local = await images.inspect(engine, BASE)
    await images.tag(engine, BASE, foreign)
    name = parse_reference("base-of-a-killed-worker:1")
    held = replace(name.with_digest(local.image_id), tag=None)
    found = FoundBase(Base(name), replace(local, repo_digests=(held,)))
    workspaces = make_tools(engine, "private", tmp_path).workspaces

    async with workspaces.folder() as folder, open_pins(engine, [found], folder) as pins:
        [pin] = pins.values()
        during = await list_pins(engine)
        await remove_stale_pins(engine, workspaces)
        running = await list_pins(engine)
        await remove_stale_pins(engine, Workspaces.open(tmp_path / "builds"))
        killed = await list_pins(engine)

    assert during == running == [pin]
    assert killed == []
    assert {BASE, str(foreign)} <= set(await images.list_names(engine))
    assert await images.find(engine, local.image_id)


async def list_pins(engine: Engine) -> list[str]:
    return [name for name in await images.list_names(engine) if re.search(r":wharf-\w", name)]
