"""``wharf sbom``: the packages in images, and where they run."""

from typing import Annotated, Any

import typer

from api.cli.arguments import given
from api.cli.client import call
from api.cli.command import command
from api.cli.completion import names_of
from api.cli.names import APPLICATION, find_id
from api.cli.output.answer import Answer, Columns, lines
from api.cli.output.text import write_note
from api.cli.settings import ClientSettings

app = typer.Typer(
    help="SBOMs: the packages in images, and the applications that run them.",
    no_args_is_help=True,
)

MATCHES = Columns(
    "digest",
    {
        "application": "applicationName",
        "server": "serverName",
        "package": "package",
        "version": "version",
        "type": "type",
        "older": lambda row: "unknown" if row["isBelow"] is None else row["isBelow"],
    },
)


@command(app, example="wharf sbom search openssl --below 3.0.16", shows="sbom.search")
def search(
    settings: ClientSettings,
    name: Annotated[str, typer.Argument(metavar="PACKAGE", help="The name of the package.")],
    below: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Only versions older than this one.")
    ] = None,
    application: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="APP",
            help="Only this application.",
            autocompletion=names_of(APPLICATION),
        ),
    ] = None,
) -> Answer:
    """Find the running applications whose image contains a package, by their SBOMs."""
    chosen = find_id(settings, APPLICATION, application) if application else None
    request: dict[str, Any] = {"name": name, **given(below=below, applicationId=chosen)}
    found = call(settings, "sbom.search", request)
    if found["applicationsWithoutSbom"]:
        write_note(f"{found['applicationsWithoutSbom']} running applications have no SBOM")
    if found["leftOut"]:
        write_note(f"{found['leftOut']} more are not listed")
    return MATCHES.of(found["matches"], answer=found)


@command(app, example="wharf sbom packages sha256:DIGEST", shows="sbom.packages")
def packages(
    settings: ClientSettings,
    digest: Annotated[str, typer.Argument(help="The digest of the image: sha256:….")],
) -> Answer:
    """List the packages in an image, by its SBOM."""
    found = call(settings, "sbom.packages", {"digest": digest})
    names = [f"{one['name']}@{one['version']}" for one in found]
    return lines(found, names, [f"{one['type']} {one['name']} {one['version']}" for one in found])
