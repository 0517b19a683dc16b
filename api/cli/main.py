"""``wharf``: starts each role as a separate process, and calls the API for all other commands."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from api.cli.client import ClientSettings, call
from api.cli.commands import application, organization, registry, restored, server
from api.cli.commands import build as builds
from api.cli.commands import deploy as deployments
from api.cli.commands import deploy_key as deploy_keys
from api.cli.commands.doctor import examine, show
from api.cli.output.text import write_line, write_note

app = typer.Typer(
    name="wharf",
    help="Manage registries, credentials and images for many Docker servers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(application.app, name="app")
app.add_typer(organization.app, name="organization")
app.add_typer(registry.app, name="registry")
app.add_typer(server.app, name="server")

DataDirectory = Annotated[Path | None, typer.Option("--data-dir", help="Directory of all data.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="The API's port.")]


@app.command()
def up(data_dir: DataDirectory = None, port: Port = 4747) -> None:
    """Run everything on this machine, in the foreground; Ctrl-C stops it."""
    _become("worker.local.up", *_data_dir(data_dir), "--port", str(port))


@app.command()
def demo() -> None:
    """Show push, pull and cancel on a temporary registry and temporary servers."""
    _become("worker.local.demo")


@app.command()
def api(host: str = "127.0.0.1", port: Port = 4747) -> None:
    """Run the API."""
    _become("api", "--host", host, "--port", str(port))


@app.command()
def control() -> None:
    """Run a control process; several may run at once."""
    _become("worker.control.main")


@app.command()
def worker() -> None:
    """Run this server's worker; at its first start it enrols with WHARF_JOIN_TOKEN."""
    _become("worker.server")


@app.command()
def migrate() -> None:
    """Migrate the database to the newest schema."""
    _become("shared.migrations")


@app.command()
def secrets(
    directory: Annotated[Path, typer.Argument(help="A directory for the secrets only.")],
) -> None:
    """Create the secrets that compose.yaml needs; existing ones do not change."""
    _become("worker.local.compose", str(directory))


@app.command()
def build(
    application: Annotated[str, typer.Argument(metavar="APP", help="An appName, name or id.")],
    tag: Annotated[
        str | None, typer.Option(help="The image's tag; by default the commit or version.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="By default the application's.")] = None,
    commit: Annotated[str | None, typer.Option(help="By default the branch's newest.")] = None,
    key: Annotated[str | None, typer.Option(help="A repeated key starts no second build.")] = None,
    *,
    wait: Annotated[bool, typer.Option(help="Follow it, and exit with its outcome.")] = False,
) -> None:
    """Build an application, push it and retain it for a rollback; nothing is deployed.

    With --wait the exit code is 0 if the build succeeded, 1 failed, 3 cancelled, 4 superseded by a
    newer one, 5 expired; the last line on standard output is the image by its digest.
    """
    options = builds.BuildOptions(application, tag, branch, commit, key)
    with server.client_settings("build") as settings:
        accepted = builds.start(settings, options)
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
    application: Annotated[str, typer.Argument(metavar="APP", help="An appName, name or id.")],
    *,
    build_id: Annotated[
        str | None, typer.Option("--build", help="The id of a build to deploy; nothing is built.")
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(help="The tag of the built or ready image."),
    ] = None,
    branch: Annotated[str | None, typer.Option(help="The branch to build.")] = None,
    commit: Annotated[str | None, typer.Option(help="The commit to build.")] = None,
    title: Annotated[str | None, typer.Option(help="The title of the deployment.")] = None,
    key: Annotated[
        str | None, typer.Option(help="A repeated key starts no second deployment.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Follow it, and exit with its outcome.")] = False,
) -> None:
    """Build an application and run it on its servers, in place of the running version.

    With --wait the exit code is 0 if it succeeded on all servers, 1 failed, 3 cancelled,
    4 superseded, 5 expired; the last line on standard output is the image by its digest.
    """
    options = deployments.DeploymentOptions(application, build_id, tag, branch, commit, title, key)
    with server.client_settings("deploy") as settings:
        _follow(settings, deployments.start(settings, options), wait=wait)


@app.command()
def rollback(
    application: Annotated[str, typer.Argument(metavar="APP", help="An appName, name or id.")],
    point: Annotated[
        str | None,
        typer.Option("--to", help="A rollback point's id; by default the previous one."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="A repeated key starts no second rollback.")
    ] = None,
    *,
    wait: Annotated[bool, typer.Option(help="Follow it, and exit with its outcome.")] = False,
) -> None:
    """Deploy a rollback point; with --wait the exit codes are those of `wharf deploy`."""
    with server.client_settings("rollback") as settings:
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


@app.command(name="deploy-key")
def deploy_key(
    application: Annotated[str, typer.Argument(metavar="APP", help="An appName, name or id.")],
    *,
    show_only: Annotated[
        bool, typer.Option("--show", help="Only show the public key that is stored.")
    ] = False,
) -> None:
    """Make a deploy key for an application's repository behind SSH, and print its public key.

    It takes the place of a former key. The private key is stored sealed and is never shown.
    """
    with server.client_settings("deploy-key") as settings:
        make = deploy_keys.show if show_only else deploy_keys.generate
        write_line(make(settings, application))


@app.command(name="host-key")
def host_key(
    application: Annotated[str, typer.Argument(metavar="APP", help="An appName, name or id.")],
    keys: Annotated[
        str,
        typer.Argument(help="Fingerprints (SHA256:...) or lines of known_hosts; - reads input."),
    ],
) -> None:
    """Store the host keys by which the git host of an application is recognized."""
    text = sys.stdin.read() if keys == "-" else keys
    with server.client_settings("host-key") as settings:
        for fingerprint in deploy_keys.pin(settings, application, text):
            write_line(fingerprint)


@app.command()
def resume(
    *,
    show_only: Annotated[bool, typer.Option("--list", help="Only show the waiting jobs.")] = False,
) -> None:
    """Resume jobs that wait since the database was restored from a backup.

    First cancel jobs that must not run again (wharf resume --list), and remove the keys that were
    removed since the backup was made: they work again.
    """
    with server.client_settings("resume") as settings:
        found = call(settings, "restore.one")
        for line in restored.lines(found):
            write_line(line)
        if not show_only:
            resumed = call(settings, "restore.resume", {})["resumed"]
            sys.stdout.write(f"{resumed} jobs no longer wait.\n")


@app.command()
def doctor() -> None:
    """Check the API (WHARF_URL, WHARF_API_KEY), control and servers; exit with 1 on a fault."""
    with server.client_settings("doctor") as settings:
        is_good = show(examine(settings), Console())
    if not is_good:
        raise typer.Exit(1)


def _data_dir(path: Path | None) -> tuple[str, ...]:
    return ("--data-dir", str(path)) if path else ()


def _become(module: str, *arguments: str) -> None:
    os.execv(sys.executable, (sys.executable, "-m", module, *arguments))  # noqa: S606 - no argument comes from outside


if __name__ == "__main__":
    app()
