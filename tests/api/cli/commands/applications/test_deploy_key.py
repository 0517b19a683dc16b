"""``wharf deploy-key`` and ``wharf host-key``, against a real API process's socket."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from shared.ssh.keys import DeployKey, show_fingerprint
from tests.api.asking import ADMIN_KEY, create_application, show_application
from tests.api.events.reading import serving


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


async def run(url: str, *words: str, text: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "api.cli.main", *words),
        env={**os.environ, "WHARF_URL": url, "WHARF_API_KEY": ADMIN_KEY},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(text.encode())
    return process.returncode or 0, output.decode(), errors.decode()


async def test_a_key_is_made_and_shown_again_and_the_host_is_pinned(
    client: httpx2.AsyncClient, url: str
) -> None:
    made = await create_application(client, appName="my-app", customGitUrl="git@git.example:a.git")
    host = DeployKey.generate()
    scanned = f"# git.example:22\ngit.example {host.public_line}\n"

    before = await run(url, "deploy-key", "my-app", "--show")
    generated = await run(url, "deploy-key", "my-app")
    again = await run(url, "deploy-key", "my-app", "--show")
    pinned = await run(url, "host-key", "my-app", "-", text=scanned)
    refused = await run(url, "host-key", "my-app", "nonsense")

    shown = await show_application(client, made["applicationId"])
    assert before[0] == refused[0] == 1
    assert "has no deploy key" in before[2]
    assert generated[:2] == again[:2] == (0, f"{shown['customGitSSHPublicKey']}\n")
    assert shown["customGitSSHFingerprint"] in generated[2]
    assert pinned == (0, f"{show_fingerprint(host.blob)}\n", "")
    assert "a host key is not valid" in refused[2]
