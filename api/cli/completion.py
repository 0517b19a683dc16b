"""Complete names in a shell with what the API lists; nothing is said if it does not answer."""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import typer

from api.cli.client import call
from api.cli.names import Noun, read
from api.cli.settings import find_settings
from wharfinger.retries import Retries

PATIENCE = timedelta(seconds=2)
UNSAFE_IN_BASH = " \t'\"\\$`&|;()<>*?[]!#~{}"


def names_of(noun: Noun) -> Callable[..., list[str]]:
    """Return the function that lists the names of a noun which begin as typed."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return list(_list_names(context, noun, incomplete))

    return complete


def names_among(nouns: Sequence[Noun]) -> Callable[..., list[str]]:
    """Return the function that lists the names of several nouns which begin as typed."""
    functions = [names_of(noun) for noun in nouns]

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return [name for each in functions for name in each(context, incomplete)]

    return complete


def _list_names(context: typer.Context, noun: Noun, incomplete: str) -> Iterator[str]:
    try:
        for row in _ask(context, noun):
            names = dict.fromkeys(read(row, field) for field in noun.names or (noun.id,))
            found = [name for name in names if name.startswith(incomplete)]
            if not found and incomplete and str(row[noun.id]).startswith(incomplete):
                found = [str(row[noun.id])]
            yield from (_word(name) for name in found if name and name.isprintable())
    except Exception:  # noqa: BLE001 - a fault must not write into the line that is being typed
        return


def _ask(context: typer.Context, noun: Noun) -> list[dict[str, Any]]:
    settings = find_settings(context.find_root().params.get("profile"))
    rows = call(settings, noun.all, retries=Retries(attempts=1), patience=PATIENCE)
    return rows if isinstance(rows, list) else rows["jobs"]


def _word(name: str) -> str:
    """Return a name as a word of the shell; only bash does not quote it by itself."""
    if "bash" not in os.environ.get("_WHARF_COMPLETE", ""):
        return name
    return "".join(f"\\{char}" if char in UNSAFE_IN_BASH else char for char in name)
