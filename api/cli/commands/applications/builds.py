"""``wharf builds``: list, show and cancel the builds of applications."""

import typer

from api.cli.arguments import Application, Build, Limit, given
from api.cli.client import call
from api.cli.command import command
from api.cli.follow.builds import build_summary
from api.cli.follow.outcomes import error_text
from api.cli.names import APPLICATION, find_build_id, find_id
from api.cli.output.answer import Answer, Columns, fields, lines
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings

app = typer.Typer(help="The builds of applications: list, show, cancel.", no_args_is_help=True)

COLUMNS = Columns(
    "buildId",
    {
        "version": "version",
        "state": "state",
        "title": "title",
        "reference": "reference",
        "created": lambda row: show_time(row["createdAt"]),
    },
)


@command(app, "list", example="wharf builds list my-app", shows="build.all")
def list_all(settings: ClientSettings, application: Application, limit: Limit = None) -> Answer:
    """Show an application's builds, the newest first."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    return COLUMNS.of(call(settings, "build.all", {**chosen, **given(limit=limit)}))


@command(app, example="wharf builds show BUILD", shows="build.one")
def show(settings: ClientSettings, build: Build) -> Answer:
    """Show one build: its image, its steps, its error."""
    found = call(settings, "build.one", {"buildId": find_build_id(settings, build)})
    shown = {
        "build": found["buildId"],
        "state": f"{found['state']}{error_text(found['error'])}",
        "version": found["version"],
        "title": found["title"],
        "image": build_summary(found) if found["state"] == "succeeded" else found["reference"],
        "commit": found["revision"],
        "retained": found["retained"],
        "jobs": found["jobIds"],
        "created": found["createdAt"],
        "finished": found["finishedAt"],
    }
    return fields(found, "buildId", shown)


@command(app, example="wharf builds cancel BUILD", shows="build.cancel")
def cancel(settings: ClientSettings, build: Build) -> Answer:
    """Cancel a build: the step that runs, and the steps after it."""
    chosen = {"buildId": find_build_id(settings, build)}
    found = call(settings, "build.cancel", chosen)
    return lines(found, [found["buildId"]], [found["state"]])
