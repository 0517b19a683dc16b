"""``wharf app``: list, show and remove applications; stop, start, restart and read what runs."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from api.cli.arguments import Application, Key, Wait
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.confirm import Yes, confirm
from api.cli.follow.jobs import job_ended
from api.cli.follow.outcomes import CODES, error_text
from api.cli.names import APPLICATION, REGISTRY, SERVER, find, find_id
from api.cli.output.answer import Answer, Columns, Row, fields, lines
from api.cli.output.text import write_line, write_note
from api.cli.settings import ClientSettings

app = typer.Typer(
    help="Applications: list, show, create, change, remove; stop, start, restart, logs.",
    no_args_is_help=True,
)

DONE = {"stop": "stopped", "start": "running", "reload": "running"}
ASYNC = {"prefer": "respond-async"}


def _source(application: Row) -> Any:
    return application["dockerImage"] or application["customGitUrl"] or application["sourceType"]


COLUMNS = Columns(
    "applicationId",
    {
        "name": "appName",
        "status": "applicationStatus",
        "source": _source,
        "runs as": "runtime",
        "servers": lambda row: len(row["serverIds"]),
        "version": "lastVersion",
    },
)


@command(app, "list", example="wharf app list", shows="application.all")
def list_all(settings: ClientSettings) -> Answer:
    """Show all applications, the oldest first."""
    return COLUMNS.of(call(settings, "application.all"))


@command(app, example="wharf app show my-app", shows="application.one")
def show(settings: ClientSettings, application: Application) -> Answer:
    """Show one application: its source, where it runs, its registries."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    found = call(settings, "application.one", chosen)
    return fields(found, "applicationId", dict(_fields(settings, found)))


def _fields(settings: ClientSettings, found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    servers = {each["serverId"]: each["name"] for each in call(settings, SERVER.all)}
    registries = {each["registryId"]: each["registryName"] for each in call(settings, REGISTRY.all)}
    yield "application", f"{found['appName']} ({found['applicationId']})"
    yield "description", found["description"]
    yield "status", found["applicationStatus"]
    yield "source", _source(found)
    yield "branch", found["customGitBranch"]
    yield "runs as", f"{found['runtime']}, {found['replicas']} replicas"
    yield "servers", [servers.get(one, one) for one in found["serverIds"]]
    for name in ("registry", "buildRegistry", "rollbackRegistry"):
        chosen = found[f"{name}Id"]
        yield name.replace("Registry", " registry"), registries.get(chosen, chosen)
    yield (
        "ports",
        [f"{one['publishedPort']}:{one['targetPort']}/{one['protocol']}" for one in found["ports"]],
    )
    yield (
        "mounts",
        [
            f"{one['hostPath'] or one['volumeName']}:{one['mountPath']}"
            f"{':ro' if one['readOnly'] else ''}"
            for one in found["mounts"]
        ],
    )
    yield "variables", found["envNames"]
    yield "last version", found["lastVersion"]
    yield "created", found["createdAt"]


@command(app, example="wharf app remove my-app --yes", shows="application.remove")
def remove(settings: ClientSettings, application: Application, *, yes: Yes = False) -> Answer:
    """Remove an application and its secrets; its containers keep running."""
    found = find(settings, APPLICATION, application)
    confirm(f"Remove the application {found['appName']}?", yes=yes)
    removed = call(settings, "application.remove", {"applicationId": found["applicationId"]})
    return lines(removed, [removed["applicationId"]], [f"removed {removed['appName']}"])


@command(
    app,
    example="wharf app stop my-app --wait",
    shows=Shown("application.stop", instead="job.one", many=True),
)
def stop(
    settings: ClientSettings, application: Application, key: Key = None, *, wait: Wait = False
) -> Answer:
    """Stop what runs on each server; it stays stopped until it is started or deployed.

    With --wait the exit code is 0 if it stopped on all servers, 1 failed, 3 cancelled, 5 expired;
    without, the job of each server is written.
    """
    return _control(settings, "stop", application, key, wait=wait)


@command(
    app,
    example="wharf app start my-app --wait",
    shows=Shown("application.start", instead="job.one", many=True),
)
def start(
    settings: ClientSettings, application: Application, key: Key = None, *, wait: Wait = False
) -> Answer:
    """Start what was stopped; with --wait until it is healthy, exit codes as `wharf app stop`."""
    return _control(settings, "start", application, key, wait=wait)


@command(
    app,
    example="wharf app restart my-app --wait",
    shows=Shown("application.reload", instead="job.one", many=True),
)
def restart(
    settings: ClientSettings, application: Application, key: Key = None, *, wait: Wait = False
) -> Answer:
    """Start what runs anew, as it is; with --wait until it is healthy, as `wharf app start`."""
    return _control(settings, "reload", application, key, wait=wait)


@command(app, example="wharf app logs my-app --tail 20 --since 10m", shows="application.readLogs")
def logs(
    settings: ClientSettings,
    application: Application,
    tail: Annotated[int, typer.Option(help="The number of lines of each server.")] = 100,
    since: Annotated[str, typer.Option(help="Only newer lines, for example 10m or 2h.")] = "all",
    search: Annotated[str, typer.Option(help="Only lines of them that contain this.")] = "",
) -> Answer:
    """Write the newest lines of its output."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    request = {**chosen, "tail": tail, "since": since, "search": search}
    text = call(settings, "application.readLogs", request)
    return lines(text, [chosen["applicationId"]], text.splitlines())


def _control(
    settings: ClientSettings, action: str, application: str, key: str | None, *, wait: bool
) -> Answer:
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    accepted = call(settings, f"application.{action}", chosen, key=key, headers=ASYNC)
    job_ids = [server["jobId"] for server in accepted["servers"]]
    if not wait:
        return lines(accepted, job_ids, job_ids)
    names = {server["serverId"]: server["name"] for server in call(settings, SERVER.all)}
    jobs = [job_ended(settings, job_id) for job_id in job_ids]
    worst = max((CODES[job["state"]] for job in jobs), default=0)
    return Answer(jobs, job_ids, lambda: _write_ends(action, jobs, names), worst)


def _write_ends(action: str, jobs: list[dict[str, Any]], names: dict[str, str]) -> None:
    for job in jobs:
        name = names.get(job["serverId"], job["serverId"])
        if job["state"] == "succeeded":
            already = "" if job["result"].get("changed") else " already"
            write_line(f"{name}: {DONE[action]}{already}")
        else:
            write_note(f"{name}: {job['state']}{error_text(job['error'])}")
