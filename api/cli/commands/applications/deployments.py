"""``wharf deployments``: list, show and cancel deployments, and read their logs."""

from typing import Annotated

import typer

from api.cli.arguments import Deployment, Limit, OnServer, given
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.completion import names_of
from api.cli.follow.outcomes import error_text
from api.cli.names import APPLICATION, SERVER, find_deployment_id, find_id
from api.cli.output.answer import Answer, Columns, fields, lines
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer(
    help="The deployments of applications: list, show, cancel, logs.", no_args_is_help=True
)

COLUMNS = Columns(
    "deploymentId",
    {
        "state": "state",
        "title": "title",
        "reference": "reference",
        "servers": lambda row: len(row["servers"]),
        "created": lambda row: show_time(row["createdAt"]),
    },
)


@command(app, "list", example="wharf deployments list my-app", shows=Shown("deployment.all"))
def list_all(
    settings: ClientSettings,
    application: Annotated[
        str | None,
        typer.Argument(
            metavar="[APP]",
            help="An appName, name or id; by default all applications.",
            autocompletion=names_of(APPLICATION),
        ),
    ] = None,
    server: OnServer = None,
    limit: Limit = None,
) -> Answer:
    """Show deployments, the newest first: of an application, of a server, or the newest of all."""
    if application and server:
        raise SetupError("an application and --server cannot be combined", remedy="Give one.")
    if application:
        chosen = {"applicationId": find_id(settings, APPLICATION, application)}
        rows = call(settings, "deployment.all", {**chosen, **given(limit=limit)})
    elif server:
        of_server = {"serverId": find_id(settings, SERVER, server)}
        rows = call(settings, "deployment.allByServer", {**of_server, **given(limit=limit)})
    else:
        rows = call(settings, "deployment.allCentralized")[:limit]
    return COLUMNS.of(rows)


@command(app, example="wharf deployments show DEPLOYMENT", shows="deployment.one")
def show(settings: ClientSettings, deployment: Deployment) -> Answer:
    """Show one deployment, and its state on each server."""
    chosen = {"deploymentId": find_deployment_id(settings, deployment)}
    found = call(settings, "deployment.one", chosen)
    names = {server["serverId"]: server["name"] for server in call(settings, "server.all")}
    shown = {
        "deployment": found["deploymentId"],
        "state": f"{found['state']}{error_text(found['error'])}",
        "title": found["title"],
        "image": found["reference"],
        "build": found["buildId"],
        "created": found["createdAt"],
        "finished": found["finishedAt"],
    }
    for server in found["servers"]:
        name = names.get(server["serverId"], server["serverId"])
        shown[f"server {name}"] = f"{server['state']}{error_text(server['error'])}"
    return fields(found, "deploymentId", shown)


@command(app, example="wharf deployments cancel DEPLOYMENT", shows="deployment.cancel")
def cancel(settings: ClientSettings, deployment: Deployment) -> Answer:
    """Cancel a deployment on all servers where it has not ended, and the build made for it."""
    chosen = {"deploymentId": find_deployment_id(settings, deployment)}
    found = call(settings, "deployment.cancel", chosen)
    return lines(found, [found["deploymentId"]], [found["state"]])


@command(app, example="wharf deployments logs DEPLOYMENT --tail 50", shows="deployment.readLogs")
def logs(
    settings: ClientSettings,
    deployment: Deployment,
    tail: Annotated[int, typer.Option(min=1, help="The number of lines.")] = 100,
) -> Answer:
    """Write the newest lines of a deployment's log, of all its servers and its build."""
    deployment_id = find_deployment_id(settings, deployment)
    text = call(settings, "deployment.readLogs", {"deploymentId": deployment_id, "tail": tail})
    return lines(text, [deployment_id], text.splitlines())
