"""``wharf up``, ``api``, ``control``, ``worker`` …: start a role as a process of its own."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.processes import DataDirectory, become, data_dir_words

app = typer.Typer()

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="The API's port.")]
Host = Annotated[str, typer.Option("--host", help="The address on which the API listens.")]


@app.command(epilog="Example: wharf up --listen 10.0.0.5")
def up(
    data_dir: DataDirectory = None,
    port: Port = 4747,
    listen: Annotated[
        str | None,
        typer.Option(help="The address at which other servers reach this machine, by TLS only."),
    ] = None,
) -> None:
    """Run everything on this machine, in the foreground; Ctrl-C stops it.

    With --listen other servers may join: API, database and broker are published at that address,
    with TLS by an internal CA.
    """
    words = ("--listen", listen) if listen else ()
    become("worker.local.up", *data_dir_words(data_dir), "--port", str(port), *words)


@app.command(epilog="Example: wharf demo")
def demo() -> None:
    """Show push, pull and cancel on a temporary registry and temporary servers."""
    become("worker.local.demo")


@app.command(epilog="Example: wharf api --host 0.0.0.0")
def api(host: Host = "127.0.0.1", port: Port = 4747) -> None:
    """Run the API."""
    become("api", "--host", host, "--port", str(port))


@app.command(epilog="Example: wharf control")
def control() -> None:
    """Run a control process; several may run at once."""
    become("worker.control.main")


@app.command(epilog="Example: WHARF_URL=https://wharf.example.com WHARF_JOIN_TOKEN=… wharf worker")
def worker() -> None:
    """Run this server's worker; at its first start it enrols with WHARF_JOIN_TOKEN."""
    become("worker.server")


@app.command(epilog="Example: WHARF_DATABASE_URL=postgresql://… wharf migrate")
def migrate() -> None:
    """Migrate the database to the newest schema."""
    become("shared.migrations")


@app.command(epilog="Example: wharf secrets /srv/wharf/secrets")
def secrets(
    directory: Annotated[Path, typer.Argument(help="A directory for the secrets only.")],
) -> None:
    """Create the secrets that compose.yaml needs; existing ones do not change."""
    become("worker.local.compose", str(directory))
