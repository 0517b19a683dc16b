"""``wharf open``: print the address of a thing in the console."""

from collections.abc import Callable
from typing import Annotated

import typer

from api.cli.client import base_url, call
from api.cli.command import command
from api.cli.completion import names_among
from api.cli.names import (
    APPLICATION,
    BUILD,
    ID_LENGTH,
    REGISTRY,
    SERVER,
    WEBHOOK,
    find_among,
    find_deployment_id,
    find_job_id,
)
from api.cli.output.text import write_line
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer()

FOLDERS = {
    REGISTRY: "registries",
    APPLICATION: "applications",
    SERVER: "servers",
    WEBHOOK: "webhooks",
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


@command(app, "open", example="wharf open my-app")
def show_address(
    settings: ClientSettings,
    thing: Annotated[
        str,
        typer.Argument(
            metavar="THING",
            help="A registry, application, server or webhook by its name or id, or the id of a "
            "job, deployment or build.",
            autocompletion=names_among(tuple(FOLDERS)),
        ),
    ],
) -> None:
    """Print the address of a thing in the console."""
    found = find_among(settings, tuple(FOLDERS), thing)
    if found is not None:
        noun, row = found
        write_line(f"{base_url(settings)}/console/{FOLDERS[noun]}/{row[noun.id]}")
        return
    write_line(f"{base_url(settings)}/console/{_find_record(settings, thing)}")


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
