"""On a terminal commands ask: for secrets without showing them, and before they delete."""

import asyncio
import os
import sys
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import ADMIN_KEY, create_registry
from tests.api.cli.shells import open_terminal
from tests.api.events.reading import serving

WHARF = str(Path(sys.executable).with_name("wharf"))


def environment(home: Path, **variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", **variables}


def sign_in(url: str, home: Path) -> str:
    with open_terminal([WHARF, "login", url], environment(home)) as terminal:
        terminal.wait_for("API key: ")
        terminal.press(f"{ADMIN_KEY}\r")
        return terminal.wait_for("is stored in")


def remove(url: str, home: Path, *answers: str) -> str:
    variables = {"WHARF_URL": url, "WHARF_API_KEY": ADMIN_KEY}
    words = [WHARF, "registry", "remove", "ours"]
    with open_terminal(words, environment(home, **variables)) as terminal:
        shown = terminal.wait_for("Remove the registry ours? [y/N]: ")
        for answer in answers:
            terminal.press(f"{answer}\r")
        return shown + terminal.wait_for("Aborted" if answers == ("n",) else "removed ours")


async def test_a_key_is_asked_for_and_not_shown(app: Starlette, tmp_path: Path) -> None:
    async with serving(app) as (_, url):
        shown = await asyncio.to_thread(sign_in, url, tmp_path)

    assert ADMIN_KEY not in shown
    assert ADMIN_KEY in (tmp_path / ".config" / "wharfinger" / "profiles.json").read_text()


@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("y", 0)])
async def test_nothing_is_removed_before_the_answer(
    app: Starlette, client: httpx2.AsyncClient, tmp_path: Path, answer: str, left: int
) -> None:
    await create_registry(client, registryName="ours")

    async with serving(app) as (_, url):
        await asyncio.to_thread(remove, url, tmp_path, answer)

    assert len((await client.get("/api/registry.all")).json()) == left
