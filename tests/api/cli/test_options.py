"""Every argument and option of every command changes what is asked, answered or done."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from starlette.applications import Starlette
from typer.testing import CliRunner

from api.cli.main import app as commands
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from tests.api.scene import Scene, open_scene
from tests.api.test_main import environment
from tests.databases import Database
from worker.local.processes import Child, free_port, is_listening

HERE = Path(__file__).parents[2]


@dataclass(frozen=True)
class ElsewhereTested:
    """A test that gives the option and sees what it does."""

    file: str
    name: str


@dataclass(frozen=True)
class Command:
    """Good words, and for each parameter words that differ in it alone, or the test that has it."""

    words: list[str]
    changes: dict[str, list[str] | ElsewhereTested]


UP = ElsewhereTested(
    "worker/local/test_up.py", "test_up_prints_its_key_once_and_finds_its_data_again"
)
API = ElsewhereTested("api/cli/test_options.py", "test_the_api_listens_where_its_options_say")
LOGS = ElsewhereTested(
    "api/cli/commands/test_application.py", "test_the_output_of_an_application_is_written"
)
DEPLOY_KEY = ElsewhereTested(
    "api/cli/commands/test_deploy_key.py",
    "test_a_key_is_made_and_shown_again_and_the_host_is_pinned",
)
ROTATE = ElsewhereTested(
    "api/cli/commands/test_registry.py",
    "test_an_operator_rotates_a_password_that_no_argument_shows",
)
SHOW_REGISTRY = ElsewhereTested(
    "api/cli/commands/test_registry.py", "test_the_life_of_a_login_is_shown"
)
TEST_REGISTRY = ElsewhereTested(
    "api/cli/commands/test_registry.py",
    "test_a_test_shows_its_stages_and_what_the_login_may_do_beyond_need",
)
UPDATE_REGISTRY = ElsewhereTested(
    "api/cli/commands/test_registry.py", "test_a_change_that_breaks_a_use_names_it_and_is_forced"
)
REMOVE_REGISTRY = ElsewhereTested(
    "api/cli/commands/test_registry.py", "test_a_used_registry_is_removed_by_force_alone"
)
ROTATE_CANCEL = ElsewhereTested("api/cli/commands/test_registry.py", "test_a_rotation_is_cancelled")
ROTATE_BACK = ElsewhereTested(
    "api/cli/commands/test_registry.py", "test_the_old_password_is_brought_back"
)
ENDS = "test_the_exit_code_says_how_the_{}_ended"
COMMIT = "a" * 40
ARGUMENTS = {"application", "directory", "keys", "registry", "server"}
"""Given by their place."""

COMMANDS = {
    "up": Command([], {"data_dir": UP, "port": UP}),
    "demo": Command([], {}),
    "api": Command([], {"host": API, "port": API}),
    "control": Command([], {}),
    "worker": Command([], {}),
    "migrate": Command([], {}),
    "secrets": Command(
        [],
        {
            "directory": ElsewhereTested(
                "api/cli/test_options.py", "test_secrets_go_where_the_options_say"
            )
        },
    ),
    "build": Command(
        ["kept"],
        {
            "application": ["nothing"],
            "tag": ["kept", "--tag", "2"],
            "branch": ["kept", "--branch", "other"],
            "commit": ["kept", "--commit", COMMIT],
            "key": ["kept", "--key", "one"],
            "wait": ElsewhereTested("api/cli/commands/test_build.py", ENDS.format("build")),
        },
    ),
    "deploy": Command(
        ["kept"],
        {
            "application": ["nothing"],
            "build_id": ["kept", "--build", "nothing"],
            "tag": ["kept", "--tag", "2"],
            "branch": ["kept", "--branch", "other"],
            "commit": ["kept", "--commit", COMMIT],
            "title": ["kept", "--title", "other"],
            "key": ["kept", "--key", "two"],
            "wait": ElsewhereTested("api/cli/commands/test_deploy.py", ENDS.format("deployment")),
        },
    ),
    "rollback": Command(
        ["kept", "--to", "$point"],
        {
            "application": ["image", "--to", "$point"],
            "point": ["kept", "--to", "nothing"],
            "key": ["kept", "--to", "$point", "--key", "three"],
            "wait": ElsewhereTested(
                "api/cli/commands/test_deploy.py", "test_an_operator_rolls_back_to_what_ran_before"
            ),
        },
    ),
    **{
        f"app {action}": Command(
            ["kept"],
            {
                "application": ["nothing"],
                "key": ["kept", "--key", f"key of {action}"],
                "wait": ElsewhereTested(
                    "api/cli/commands/test_application.py",
                    "test_an_operator_sees_the_state_on_each_server",
                ),
            },
        )
        for action in ("stop", "start", "restart")
    },
    "app logs": Command([], dict.fromkeys(("application", "tail", "since", "search"), LOGS)),
    "deploy-key": Command(["kept"], {"application": DEPLOY_KEY, "show_only": ["kept", "--show"]}),
    "host-key": Command([], dict.fromkeys(("application", "keys"), DEPLOY_KEY)),
    "doctor": Command([], {}),
    "resume": Command([], {"show_only": ["--list"]}),
    "organization show": Command([], {}),
    "organization update": Command([], {"rotate_after_days": ["--rotate-after-days", "30"]}),
    "registry rotate": Command(
        [], dict.fromkeys(("registry", "username", "keep", "force"), ROTATE)
    ),
    "registry show": Command([], {"registry": SHOW_REGISTRY}),
    "registry test": Command([], dict.fromkeys(("registry", "server"), TEST_REGISTRY)),
    "registry update": Command(
        [],
        dict.fromkeys(
            (
                *("registry", "name", "url", "username", "prefix", "allow_server"),
                *("allow_application", "rotate_after_days", "password", "force"),
            ),
            UPDATE_REGISTRY,
        ),
    ),
    "registry remove": Command([], dict.fromkeys(("registry", "force"), REMOVE_REGISTRY)),
    "registry cancel": Command([], {"registry": ROTATE_CANCEL}),
    "registry rollback": Command([], {"registry": ROTATE_BACK}),
    "server add": Command(
        ["one"],
        {
            "name": ["two"],
            "role": ["three", "--role", "build"],
            "renew": ["one", "--renew"],
        },
    ),
    "server approve": Command(
        [],
        {
            "server": ElsewhereTested(
                "api/cli/commands/test_server.py",
                "test_a_server_is_approved_with_the_database_url_of_control_alone",
            )
        },
    ),
    "server list": Command([], {}),
    "server remove": Command(["nothing"], {"server": ["one"]}),
}


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
            self.requested.append((scope["path"], bytes(body), key))


@dataclass
class Terminal:
    """Runs commands; gives how they end, what they write, and what they ask."""

    url: str
    recorder: Recorder

    async def run(
        self, command: str, words: list[str]
    ) -> tuple[int, list[tuple[str, bytes, bytes]]]:
        self.recorder.requested.clear()
        env = {"WHARF_URL": self.url, "WHARF_API_KEY": ADMIN_KEY, "COLUMNS": "200"}
        arguments = [*command.split(), *words]
        result = await asyncio.to_thread(CliRunner().invoke, commands, arguments, env=env)
        requested = [each for each in self.recorder.requested if not each[0].endswith(".all")]
        return result.exit_code, requested


@pytest.fixture
async def scene(
    client: httpx2.AsyncClient, database: Database, server: TestServer
) -> AsyncIterator[Scene]:
    async with open_scene(client, database, server) as scene:
        yield scene


@pytest.fixture
async def terminal(app: Starlette, scene: Scene) -> AsyncIterator[Terminal]:
    recorder = Recorder(app)
    async with serving(app, recorder) as (_, url):
        yield Terminal(url, recorder)


def test_every_option_of_every_command_is_tried() -> None:
    found = {
        name: set(parameters) for name, parameters in _commands(typer.main.get_command(commands))
    }

    assert {name: set(command.changes) for name, command in COMMANDS.items()} == found


@pytest.mark.parametrize("command", COMMANDS)
def test_a_test_that_is_named_gives_the_option(command: str) -> None:
    for option, tested in COMMANDS[command].changes.items():
        if isinstance(tested, ElsewhereTested):
            text = (HERE / tested.file).read_text()
            assert f"def {tested.name}(" in text
            assert f'"--{option.replace("_", "-")}"' in text or option in ARGUMENTS


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


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Each command by its words, with the names of its parameters."""
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from _commands(below, (*path, name))
    else:
        yield " ".join(path), [parameter.name for parameter in command.params]
