"""Run commands as a person or a script does, in this process: starting one takes a while."""

import asyncio
from dataclasses import dataclass

from typer.testing import CliRunner

from api.cli.main import app
from tests.api.asking import ADMIN_KEY

NO_PROFILES = "/nonexistent"


@dataclass(frozen=True)
class Ran:
    """The end of a command, and what it wrote."""

    code: int
    out: str
    err: str


async def run(url: str, *words: str, text: str = "", key: str = ADMIN_KEY, **variables: str) -> Ran:
    """Run a command that asks the API at the URL; ``text`` is its standard input."""
    env = {
        "WHARF_URL": url,
        "WHARF_API_KEY": key,
        "WHARF_PROFILE": "",
        "XDG_CONFIG_HOME": NO_PROFILES,
        "COLUMNS": "200",
        **variables,
    }
    ran = await asyncio.to_thread(CliRunner().invoke, app, list(words), input=text, env=env)
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return Ran(ran.exit_code, ran.stdout, ran.stderr)
