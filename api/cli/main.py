"""``wharf``: starts each role as a process of its own, and asks the API for everything else."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from api.cli import build as builds
from api.cli import deploy as deployments
from api.cli import restored, server
from api.cli.client import ClientSettings, ask
from api.cli.doctor import examine, show
from api.cli.output import write_line, write_note
from shared.errors import SetupError
from shared.settings import load

app = typer.Typer(
    name="wharf",
    help="Keeps registries, credentials and images for a fleet of Docker servers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(server.app, name="server")

DataDirectory = Annotated[Path | None, typer.Option("--data-dir", help="Where everything is kept.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="The API's port.")]


@app.command()
def up(data_dir: DataDirectory = None, port: Port = 4747) -> None:
    """Run everything on this machine, in the foreground; Ctrl-C stops all of it."""
    _become("worker.local.up", *_data_dir(data_dir), "--port", str(port))


@app.command()
def demo() -> None:
    """Show the main job on parts of its own: registry, servers, push, pull, cancel."""
    _become("worker.local.demo")


@app.command()
def api(host: str = "127.0.0.1", port: Port = 4747) -> None:
    """Run the API."""
    _become("api", "--host", host, "--port", str(port))


@app.command()
def control() -> None:
    """Run a control process; any number may run at once."""
    _become("worker.control.main")


@app.command()
def worker() -> None:
    """Run this server's worker; enrols at the first start with WHARF_JOIN_TOKEN."""
    _become("worker.server")


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    _become("shared.migrations")


@app.command()
def secrets(
    directory: Annotated[Path, typer.Argument(help="A directory for nothing else.")],
) -> None:
    """Make the secrets that compose.yaml asks for; what is there already stays."""
    _become("worker.local.compose", str(directory))


@app.command()
def build(
    application: Annotated[str, typer.Argument(metavar="APP", help="Its appName, name or id.")],
    tag: Annotated[
        str | None, typer.Option(help="Of the image; by default the commit or version.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="In place of the application's.")] = None,
    commit: Annotated[str | None, typer.Option(help="In place of the branch's newest.")] = None,
    key: Annotated[str | None, typer.Option(help="The same key twice is one build.")] = None,
    *,
    wait: Annotated[bool, typer.Option(help="Follow it, and end as it ended.")] = False,
) -> None:
    """Build an application, push it, keep it for a rollback; nothing is deployed.

    With --wait it ends with 0 where the build succeeded, 1 failed, 3 cancelled, 4 superseded by a
    newer one, 5 expired; and the image by its digest is the last line on standard output.
    """
    wanted = builds.BuildOptions(application, tag, branch, commit, key)
    with server.speaking("build") as settings:
        accepted = builds.start(settings, wanted)
        if not wait:
            write_line(accepted["buildId"])
            return
        for line in builds.follow(settings, accepted):
            write_note(line)
        shown = builds.ended(settings, accepted)
    write_line(builds.summary(shown))
    raise typer.Exit(builds.CODES[shown["state"]])


@app.command()
def deploy(
    application: Annotated[str, typer.Argument(metavar="APP", help="Its appName, name or id.")],
    *,
    build_id: Annotated[
        str | None, typer.Option("--build", help="The id of a build to deploy, instead of one.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="What to call the image; of a ready one, which to deploy.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="Of its repository.")] = None,
    commit: Annotated[str | None, typer.Option(help="Of its repository.")] = None,
    title: Annotated[str | None, typer.Option(help="What to call the deployment.")] = None,
    key: Annotated[str | None, typer.Option(help="The same key twice is one deployment.")] = None,
    wait: Annotated[bool, typer.Option(help="Follow it, and end as it ended.")] = False,
) -> None:
    """Build an application and run it on its servers, in place of what runs there.

    With --wait it ends with 0 where it succeeded on all servers, 1 failed, 3 cancelled,
    4 superseded, 5 expired; and the image by its digest is the last line on standard output.
    """
    wanted = deployments.DeploymentOptions(application, build_id, tag, branch, commit, title, key)
    with server.speaking("deploy") as settings:
        _follow(settings, deployments.start(settings, wanted), wait=wait)


@app.command()
def rollback(
    application: Annotated[str, typer.Argument(metavar="APP", help="Its appName, name or id.")],
    point: Annotated[
        str | None, typer.Option("--to", help="The id of a point; else the last that ran before.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The same key twice is one rollback.")] = None,
    *,
    wait: Annotated[bool, typer.Option(help="Follow it, and end as it ended.")] = False,
) -> None:
    """Run again what an application ran before; with --wait it ends as `wharf deploy` does."""
    with server.speaking("rollback") as settings:
        accepted = deployments.roll_back(settings, application, point, key=key)
        _follow(settings, accepted, wait=wait)


def _follow(settings: ClientSettings, accepted: dict[str, Any], *, wait: bool) -> None:
    if not wait:
        write_line(accepted["deploymentId"])
        return
    for line in deployments.follow(settings, accepted):
        write_note(line)
    shown = deployments.one(settings, accepted)
    write_line(deployments.summary(shown))
    raise typer.Exit(builds.CODES[shown["state"]])


@app.command()
def resume(
    *,
    show_only: Annotated[bool, typer.Option("--list", help="Only show what waits.")] = False,
) -> None:
    """Let jobs run that wait since the database was restored from an older copy.

    Cancel first what must not run again (wharf resume --list), and remove the keys that were
    removed since the copy was made: they work again.
    """
    with server.speaking("resume") as settings:
        found = ask(settings, "restore.one")
        for line in restored.lines(found):
            write_line(line)
        if not show_only:
            resumed = ask(settings, "restore.resume", {})["resumed"]
            sys.stdout.write(f"{resumed} jobs no longer wait.\n")


@app.command()
def doctor() -> None:
    """Ask the API (WHARF_URL, WHARF_API_KEY) whether all is well; ends with 1 where it is not."""
    try:
        settings = load(ClientSettings, os.environ)
    except SetupError as error:
        sys.exit(f"wharf doctor: {error.message}. {error.remedy}")
    if not show(examine(settings), Console()):
        raise typer.Exit(1)


def _data_dir(path: Path | None) -> tuple[str, ...]:
    return ("--data-dir", str(path)) if path else ()


def _become(module: str, *arguments: str) -> None:
    os.execv(sys.executable, (sys.executable, "-m", module, *arguments))  # noqa: S606 - argv is ours


if __name__ == "__main__":
    app()
