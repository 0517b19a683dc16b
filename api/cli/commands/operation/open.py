"""``wharf open``: print the address of a thing in the console."""

from typing import Annotated

import typer

from api.cli.client import base_url, call
from api.cli.command import command
from api.cli.completion import names_of
from api.cli.names import (
    APPLICATION,
    ID_LENGTH,
    REGISTRY,
    SERVER,
    Noun,
    Row,
    find_job_id,
    find_matches,
)
from api.cli.output.text import write_line
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer()

FOLDERS = {"registries": REGISTRY, "applications": APPLICATION, "servers": SERVER}
"""The folders of the console, by what they show; jobs have no names."""


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    return [name for noun in FOLDERS.values() for name in names_of(noun)(context, incomplete)]


@command(app, "open", example="wharf open my-app")
def show_address(
    settings: ClientSettings,
    thing: Annotated[
        str,
        typer.Argument(
            metavar="THING",
            help="A registry, application or server by its name or id, or a job by its id.",
            autocompletion=_complete,
        ),
    ],
) -> None:
    """Print the address of a registry, an application, a server or a job in the console."""
    rows = {folder: call(settings, noun.all) for folder, noun in FOLDERS.items()}
    for exact in (True, False):
        found = [
            (folder, noun, row)
            for folder, noun in FOLDERS.items()
            for row in find_matches(noun, rows[folder], thing, exact=exact)
        ]
        if found:
            folder, noun, row = _the_only(thing, found)
            write_line(f"{base_url(settings)}/console/{folder}/{row[noun.id]}")
            return
    write_line(f"{base_url(settings)}/console/jobs/{_find_job(settings, thing)}")


def _the_only(thing: str, found: list[tuple[str, Noun, Row]]) -> tuple[str, Noun, Row]:
    if len(found) > 1:
        named = ", ".join(
            f"{noun.word} {noun.label(row)} ({row[noun.id]})" for _, noun, row in found
        )
        raise SetupError(f"{len(found)} things are named {thing}", remedy=f"Use an id: {named}.")
    return found[0]


def _find_job(settings: ClientSettings, thing: str) -> str:
    try:
        job_id = find_job_id(settings, thing)
        if len(thing) >= ID_LENGTH:
            call(settings, "job.one", {"jobId": job_id})
    except SetupError:
        raise SetupError(
            f"nothing is named {thing}",
            remedy="Give the name or id of a registry, an application, a server or a job.",
        ) from None
    return job_id
