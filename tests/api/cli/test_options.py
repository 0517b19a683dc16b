"""Every argument and option of every command changes what is asked, answered or done."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY
from tests.api.cli.registered import leaves
from tests.api.cli.running import run
from tests.api.cli.tried import ARGUMENTS, COMMANDS, COMMIT, COMMON, TESTS, ElsewhereTested
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from tests.api.scene import Scene, open_scene
from tests.api.test_main import environment
from tests.databases import Database
from worker.local.processes import Child, free_port, is_listening

FILES = {
    "text_file": "a=1\n",
    "json_file": '{"stopGraceSeconds": 3}',
    "pem_file": "-----BEGIN CERTIFICATE-----\n",
    "compose_file": "services: {web: {image: 'ghcr.io/a/web:1'}}\n",
}
MADE = re.compile(b"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A key that the client made by itself."""

LISTS = ("registry.all", "server.all", "application.all", "webhook.all", "apiKey.all")
"""Queries that the commands send to find the ids of names."""


@dataclass
class Recorder:
    """The API, and what it was asked: the path, the body, the Idempotency-Key."""

    app: Starlette
    requested: list[tuple[str, bytes, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = bytearray()

        async def recorded() -> Any:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        await self.app(scope, recorded, send)
        if scope["type"] == "http":
            key = dict(scope["headers"]).get(b"idempotency-key", b"")
            path = f"{scope['path']}?{scope['query_string'].decode()}".removesuffix("?")
            self.requested.append((path, bytes(body), b"" if MADE.fullmatch(key) else key))


@dataclass
class Terminal:
    """Runs commands; gives how they end, what they write, and what they ask."""

    url: str
    recorder: Recorder

    async def run(
        self, command: str, words: list[str]
    ) -> tuple[int, list[tuple[str, bytes, bytes]]]:
        self.recorder.requested.clear()
        ran = await run(self.url, *command.split(), *words)
        requested = [each for each in self.recorder.requested if not each[0].endswith(LISTS)]
        return ran.code, requested


@pytest.fixture
async def scene(
    client: httpx2.AsyncClient, database: Database, server: TestServer, tmp_path: Path
) -> AsyncIterator[Scene]:
    async with open_scene(client, database, server) as scene:
        await scene.make("hook")
        page = (await client.get("/api/job.all", params={"state": "succeeded"})).json()
        scene.names["job"] = page["jobs"][0]["jobId"]
        for name, text in FILES.items():
            (tmp_path / name).write_text(text)
            scene.names[name] = str(tmp_path / name)
        yield scene


@pytest.fixture
async def terminal(app: Starlette, scene: Scene) -> AsyncIterator[Terminal]:
    recorder = Recorder(app)
    async with serving(app, recorder) as (_, url):
        yield Terminal(url, recorder)


def test_every_option_of_every_command_is_tried() -> None:
    found = {
        name: {parameter.name for parameter in command.params} - COMMON
        for name, command in leaves()
    }

    assert {name: set(command.changes) for name, command in COMMANDS.items()} == found


@pytest.mark.parametrize("command", COMMANDS)
def test_a_test_that_is_named_gives_the_option(command: str) -> None:
    spellings = {one.name: one.opts for one in dict(leaves())[command].params}
    for option, tested in COMMANDS[command].changes.items():
        if isinstance(tested, ElsewhereTested):
            text = (TESTS / tested.file).read_text()
            assert f"def {tested.name}(" in text
            is_given = any(f'"{one}"' in text for one in spellings[option])
            assert is_given or option in ARGUMENTS


@pytest.mark.timeout(600)
async def test_every_option_changes_what_is_asked_or_how_it_ends(
    terminal: Terminal, scene: Scene
) -> None:
    idle = []
    for name, command in COMMANDS.items():
        tried = {key: words for key, words in command.changes.items() if isinstance(words, list)}
        good = await terminal.run(name, scene.filled(command.words)) if tried else None
        for option, words in tried.items():
            if await terminal.run(name, scene.filled(words)) == good:
                idle.append(f"{name}: {option}")

    assert idle == []


async def test_a_field_without_effect_is_named_on_standard_error(terminal: Terminal) -> None:
    words = ["-m", "api.cli.main", "build", "kept", "--branch", "other", "--commit", COMMIT]
    env = {**os.environ, "WHARF_URL": terminal.url, "WHARF_API_KEY": ADMIN_KEY}
    pipe = asyncio.subprocess.PIPE

    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, env=env, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()

    assert (process.returncode, out.count(b"\n")) == (0, 1)
    assert err == b"warning: branch has no effect together with commit\n"


def test_the_api_listens_where_its_options_say(settings: ApiSettings, tmp_path: Path) -> None:
    port = free_port()
    words = ["-m", "api.cli.main", "api", "--host", "127.0.0.2", "--port", str(port)]
    child = Child.start(
        "api", [sys.executable, *words], log=tmp_path / "api.log", env=environment(settings)
    )
    try:
        child.wait_until(lambda: is_listening("127.0.0.2", port), deadline=timedelta(seconds=30))
        elsewhere = is_listening("127.0.0.1", port)
    finally:
        child.stop()

    assert not elsewhere


async def test_secrets_go_where_the_options_say(tmp_path: Path) -> None:
    words = ["-m", "api.cli.main", "secrets", str(tmp_path / "secrets")]
    process = await asyncio.create_subprocess_exec(sys.executable, *words)

    assert await process.wait() == 0
    assert (tmp_path / "secrets" / "admin.key").read_text()
