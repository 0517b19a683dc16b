"""The passphrase of a backup: from a file, standard input, or a prompt. Never an argument."""

import getpass
import sys
from pathlib import Path

from pydantic import SecretStr

from shared.errors import InvalidInputError, SetupError

MIN_CHARACTERS = 12
STDIN = Path("-")


def read_passphrase(file: Path | None, *, is_new: bool) -> SecretStr:
    """Read it; ``-`` is standard input, ``None`` a prompt. A new one is asked for twice.

    Raises:
        SetupError: it cannot be read, or there is no terminal to ask on.
        InvalidInputError: a new one is too short, or was typed differently.
    """
    passphrase = _read(file) if file is not None else _ask(is_new=is_new)
    if is_new and len(passphrase) < MIN_CHARACTERS:
        raise InvalidInputError(
            f"the passphrase has fewer than {MIN_CHARACTERS} characters",
            remedy="Make one with: openssl rand -hex 32. Keep it apart from the backup.",
        )
    return SecretStr(passphrase)


def _read(file: Path) -> str:
    try:
        text = sys.stdin.read() if file == STDIN else file.read_text()
    except OSError as error:
        raise SetupError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SetupError(f"{file} is not text") from None
    return text.rstrip("\r\n")


def _ask(*, is_new: bool) -> str:
    if not sys.stdin.isatty():
        raise SetupError(
            "there is no passphrase",
            remedy="Give --passphrase-file FILE, or - for standard input.",
        )
    first = getpass.getpass("Passphrase of the backup: ")
    if is_new and getpass.getpass("The same again: ") != first:
        raise InvalidInputError("the two passphrases differ", remedy="Try again.")
    return first
