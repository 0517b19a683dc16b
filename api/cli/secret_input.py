"""Read secrets from a prompt, a file or standard input; other users can see arguments."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from shared.errors import SetupError

PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="A file that contains the password.")
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
STDIN = Path("-")


def read_secret(name: str, file: Path | None, *, stdin: bool) -> str | None:
    """Return the secret from the file or from standard input; ask for it on a terminal.

    `None` if it was not given and there is no terminal.

    Raises:
        SetupError: both were given, the file cannot be read, or the secret is empty.
    """
    if file is not None and stdin:
        raise SetupError(f"the {name} is given twice", remedy="Give a file or standard input.")
    if file is not None and file != STDIN:
        return _not_empty(name, read_text_file(file))
    if stdin or file == STDIN:
        return _not_empty(name, sys.stdin.read())
    if sys.stdin.isatty():
        # A prompt on standard error: standard output is for what the command answers.
        return str(typer.prompt(f"{name[0].upper()}{name[1:]}", hide_input=True, err=True))
    return None


def read_text_file(path: Path) -> str:
    """Return the text of a file; ``-`` is standard input.

    Raises:
        SetupError: the file cannot be read.
    """
    try:
        return sys.stdin.read() if path == STDIN else path.read_text(encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SetupError(f"{path} is not text") from None


def _not_empty(name: str, text: str) -> str:
    secret = text.rstrip("\r\n")
    if not secret:
        raise SetupError(f"the {name} is empty")
    return secret
