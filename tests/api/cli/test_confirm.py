"""Commands that delete ask first on a terminal, and refuse without one."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.cli.registered import leaves
from tests.api.cli.running import run
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from tests.api.scene import Scene, open_scene
from tests.databases import Database

DELETING = {
    "registry remove": "$registry",
    "server remove": "$paused_server",
    "rollbacks remove": "kept $point",
    "deploy-hook remove": "image $hook",
    "app remove": "image",
    "webhook remove": "$webhook",
    "key remove": "probe",
    "signing-key remove": "$spare_signing",
    "user remove": "$user",
    "user uninvite": "$invitation",
}


@pytest.fixture
async def scene(
    client: httpx2.AsyncClient, database: Database, server: TestServer
) -> AsyncIterator[Scene]:
    async with open_scene(client, database, server) as scene:
        for name in ("hook", "api_key", "registry", "user", "invitation", "spare_signing"):
            await scene.make(name)
        yield scene


def test_each_command_that_deletes_asks_first() -> None:
    asking = {
        name
        for name, command in leaves()
        if "yes" in {parameter.name for parameter in command.params}
    }
    deleting = {name for name, _ in leaves() if name.split()[-1] in {"remove", "uninvite"}}

    assert asking == deleting == set(DELETING)


@pytest.mark.timeout(300)
async def test_what_deletes_is_refused_without_a_terminal_and_yes(
    app: Starlette, scene: Scene
) -> None:
    async with serving(app) as (_, url):
        for name, words in DELETING.items():
            chosen = [*name.split(), *scene.filled(words.split())]
            refused = await run(url, *chosen)
            removed = await run(url, *chosen, "--yes")

            assert (refused.code, refused.out) == (1, ""), name
            assert "Give --yes to do it." in refused.err, name
            assert removed.code == 0, f"{name}: {removed.err}"
