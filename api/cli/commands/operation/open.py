"""``wharf open``: print the address of a thing in the console."""

from collections.abc import Callable
from typing import Annotated

import typer

from api.cli.client import base_url, call
from api.cli.command import command
from api.cli.completion import names_of
from api.cli.names import (
    APPLICATION,
    BUILD,
    ID_LENGTH,
    REGISTRY,
    SERVER,
    WEBHOOK,
    Noun,
    Row,
    find_deployment_id,
    find_job_id,
    find_matches,
)
from api.cli.output.text import write_line
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer()

FOLDERS = {
    "registries": REGISTRY,
    "applications": APPLICATION,
    "servers": SERVER,
    "webhooks": WEBHOOK,
}
"""The folders of the console, with the nouns of the things that have names."""


def _whole_id(_: ClientSettings, thing: str) -> str:
    """Return the id as it is: to look for its beginning all applications would be asked."""
    if len(thing) < ID_LENGTH:
        raise SetupError(f"there is no {BUILD.word} {thing}")
    return thing


RECORDS: dict[str, tuple[Callable[[ClientSettings, str], str], str, str]] = {
    "deployments": (find_deployment_id, "deployment.one", "deploymentId"),
    "builds": (_whole_id, "build.one", "buildId"),
    "jobs": (find_job_id, "job.one", "jobId"),
}
"""The folders of what has ids alone: how it is found, and the procedure that shows it.

A deployment and a build may share their id with their first job, which their page leads to.
"""


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    return [name for noun in FOLDERS.values() for name in names_of(noun)(context, incomplete)]


@command(app, "open", example="wharf open my-app")
def show_address(
    settings: ClientSettings,
    thing: Annotated[
        str,
        typer.Argument(
            metavar="THING",
            help="A registry, application, server or webhook by its name or id, or the id of a "
            "job, deployment or build.",
            autocompletion=_complete,
        ),
    ],
) -> None:
    """Print the address of a thing in the console."""
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
    write_line(f"{base_url(settings)}/console/{_find_record(settings, thing)}")


def _the_only(thing: str, found: list[tuple[str, Noun, Row]]) -> tuple[str, Noun, Row]:
    if len(found) > 1:
        named = ", ".join(
            f"{noun.word} {noun.label(row)} ({row[noun.id]})" for _, noun, row in found
        )
        raise SetupError(f"{len(found)} things are named {thing}", remedy=f"Use an id: {named}.")
    return found[0]


def _find_record(settings: ClientSettings, thing: str) -> str:
    for folder, (find, procedure, field) in RECORDS.items():
        try:
            found = find(settings, thing)
            call(settings, procedure, {field: found})
        except SetupError:
            continue
        return f"{folder}/{found}"
    raise SetupError(
        f"nothing is named {thing}",
        remedy="Give the name or id of a registry, an application, a server or a webhook, "
        "or the id of a job, a deployment or a build.",
    )
