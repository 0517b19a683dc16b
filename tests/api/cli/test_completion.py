"""Names from the server are completed in real shells, and by words for fish."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import ADMIN_KEY, create_application, create_registry
from tests.api.cli.shells import open_terminal
from tests.api.events.reading import serving
from worker.local.processes import free_port

PROGRAMS = Path(sys.executable).parent
PROMPT = "ready> "
START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
SETUP = {
    "bash": f"PS1='{PROMPT[:3]}'\"{PROMPT[3:]}\"; source $HOME/completion\r",
    "zsh": (
        "autoload -Uz compinit && compinit -u -D; source $HOME/completion; "
        f"PS1='{PROMPT[:3]}'\"{PROMPT[3:]}\"\r"
    ),
}


def environment(url: str, home: Path) -> dict[str, str]:
    return {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "dumb",
        "WHARF_URL": url,
        "WHARF_API_KEY": ADMIN_KEY,
    }


def script(shell: str) -> str:
    """The completion's text, as wharf completion writes it, whatever shell runs it."""
    shown = subprocess.run(
        [PROGRAMS / "wharf", "completion", shell],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


def complete(shell: str, url: str, home: Path, typed: str, *expected: str) -> str:
    (home / "completion").write_text(script(shell))
    with open_terminal(START[shell], environment(url, home)) as terminal:
        terminal.press(SETUP[shell])
        terminal.wait_for(PROMPT)
        terminal.press(f"{typed}\t\t")
        return terminal.wait_for(*expected)


def require(shell: str) -> None:
    if shutil.which(shell) is None:
        if os.environ.get("CI"):
            pytest.fail(f"there is no {shell}")
        pytest.skip(f"there is no {shell}")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_the_name_of_a_registry_is_completed(
    client: httpx2.AsyncClient, url: str, tmp_path: Path, shell: str
) -> None:
    require(shell)
    await create_registry(client, registryName="Production")

    typed = "wharf registry show P"
    shown = await asyncio.to_thread(complete, shell, url, tmp_path, typed, "Production")

    assert "Traceback" not in shown


@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_a_name_with_a_space_is_one_word(
    client: httpx2.AsyncClient, url: str, tmp_path: Path, shell: str
) -> None:
    require(shell)
    await create_registry(client, registryName="Docker Hub")

    typed = "wharf registry show D"
    await asyncio.to_thread(complete, shell, url, tmp_path, typed, r"Docker\ Hub")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("wharf app show ", {"shop", "shop-admin"}),
        ("wharf deploy shop-", {"shop-admin"}),
        ("wharf image push a:1 --to ", {"Production"}),
        ("wharf open Pro", {"Production"}),
    ],
)
async def test_names_are_offered_to_fish(
    client: httpx2.AsyncClient, url: str, tmp_path: Path, words: str, expected: set[str]
) -> None:
    await create_registry(client, registryName="Production")
    for name in ("shop", "shop-admin"):
        await create_application(client, name=name, appName=name)

    assert await asyncio.to_thread(offered, url, tmp_path, words) == (expected, "")


@pytest.mark.parametrize("key", [ADMIN_KEY, "wharf_wrong", ""])
async def test_nothing_is_said_if_the_api_is_away_or_refuses(
    url: str, tmp_path: Path, key: str
) -> None:
    away = f"http://127.0.0.1:{free_port()}"

    assert await asyncio.to_thread(offered, away, tmp_path, "wharf app show ", key) == (set(), "")
    assert await asyncio.to_thread(offered, url, tmp_path, "wharf app show ", key) == (set(), "")


def offered(url: str, home: Path, words: str, key: str = ADMIN_KEY) -> tuple[set[str], str]:
    """The words that fish is offered, and what was written to standard error."""
    asked = subprocess.run(
        [PROGRAMS / "wharf"],
        env={
            **environment(url, home),
            "WHARF_API_KEY": key,
            "_WHARF_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_TYPER_COMPLETE_ARGS": words,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return {line.partition("\t")[0] for line in asked.stdout.splitlines() if line}, asked.stderr
