"""``wharf app``: stop, start and restart what runs of an application, and read its output."""

import time
from typing import Annotated, Any

import typer

from api.cli.client import ClientSettings, call
from api.cli.commands.build import CODES, POLL_SECONDS, error_text, find_application, request_for
from api.cli.commands.server import client_settings
from api.cli.output.text import write_line, write_note

app = typer.Typer(
    help="What runs of an application: stop, start, restart, logs.", no_args_is_help=True
)

Chosen = Annotated[str, typer.Argument(metavar="APP", help="An appName, name or id.")]
Key = Annotated[str | None, typer.Option(help="A repeated key does nothing again.")]
Wait = Annotated[bool, typer.Option(help="Wait for its end, and exit with its outcome.")]
DONE = {"stop": "stopped", "start": "running", "reload": "running"}
ASYNC = {"prefer": "respond-async"}


@app.command()
def stop(application: Chosen, key: Key = None, *, wait: Wait = False) -> None:
    """Stop what runs on each server; it stays stopped until it is started or deployed.

    With --wait the exit code is 0 if it stopped on all servers, 1 failed, 3 cancelled, 5 expired;
    without, the job of each server is written.
    """
    with client_settings("app stop") as settings:
        _control(settings, "stop", application, key, wait=wait)


@app.command()
def start(application: Chosen, key: Key = None, *, wait: Wait = False) -> None:
    """Start what was stopped; with --wait until it is healthy, exit codes as `wharf app stop`."""
    with client_settings("app start") as settings:
        _control(settings, "start", application, key, wait=wait)


@app.command()
def restart(application: Chosen, key: Key = None, *, wait: Wait = False) -> None:
    """Start what runs anew, as it is; with --wait until it is healthy, as `wharf app start`."""
    with client_settings("app restart") as settings:
        _control(settings, "reload", application, key, wait=wait)


@app.command()
def logs(
    application: Chosen,
    tail: Annotated[int, typer.Option(help="The number of lines of each server.")] = 100,
    since: Annotated[str, typer.Option(help="Only newer lines, for example 10m or 2h.")] = "all",
    search: Annotated[str, typer.Option(help="Only lines of them that contain this.")] = "",
) -> None:
    """Write the newest lines of its output."""
    with client_settings("app logs") as settings:
        found = find_application(call(settings, "application.all"), application)
        request = {
            "applicationId": found["applicationId"],
            "tail": tail,
            "since": since,
            "search": search,
        }
        for line in call(settings, "application.readLogs", request).splitlines():
            write_line(line)


def _control(
    settings: ClientSettings, action: str, application: str, key: str | None, *, wait: bool
) -> None:
    procedure = f"application.{action}"
    accepted = request_for(settings, procedure, application, {}, key=key, headers=ASYNC)
    if not wait:
        for server in accepted["servers"]:
            write_line(server["jobId"])
        return
    names = {server["serverId"]: server["name"] for server in call(settings, "server.all")}
    worst = 0
    for server in accepted["servers"]:
        name, job = names.get(server["serverId"], server["serverId"]), _ended(settings, server)
        if job["state"] == "succeeded":
            already = "" if job["result"].get("changed") else " already"
            write_line(f"{name}: {DONE[action]}{already}")
        else:
            write_note(f"{name}: {job['state']}{error_text(job['error'])}")
        worst = max(worst, CODES[job["state"]])
    raise typer.Exit(worst)


def _ended(settings: ClientSettings, server: dict[str, Any]) -> dict[str, Any]:
    """Return the job of a server once it has ended."""
    while True:
        job: dict[str, Any] = call(settings, "job.one", {"jobId": server["jobId"]})
        if job["finishedAt"] is not None:
            return job
        time.sleep(POLL_SECONDS)
