"""``wharf completion``: write the completion of a shell, whatever shell asks for it."""

import sys
from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

from api.cli.command import command
from api.cli.settings import ClientSettings

app = typer.Typer()


class Shell(StrEnum):
    """A shell whose completion asks the API for names."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@command(app, example="wharf completion bash > ~/.wharf-completion")
def completion(
    _settings: ClientSettings,
    shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")],
) -> None:
    """Write the script that completes commands and names in a shell, to be loaded at its start."""
    script = get_completion_script(
        prog_name="wharf", complete_var="_WHARF_COMPLETE", shell=shell.value
    )
    sys.stdout.write(f"{script}\n")
