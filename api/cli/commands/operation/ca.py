"""``wharf ca``: the internal CA, which certifies the API, the database and the broker."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.processes import become

app = typer.Typer(
    no_args_is_help=True,
    help="Make the internal CA, issue its certificates, and keep them valid.",
)

MODULE = "worker.local.tls"

Directory = Annotated[Path, typer.Argument(help="The directory of the CA.")]
Hosts = Annotated[
    list[str],
    typer.Option("--host", help="A name or address at which clients reach it; may be repeated."),
]


@app.command(epilog="Example: wharf ca create /etc/wharf/ca")
def create(directory: Directory) -> None:
    """Make a CA; print the pin with which servers join (WHARF_CA_SHA256).

    The key in ca.key may be moved to another machine: it is needed only to issue certificates.
    """
    become(MODULE, "create", str(directory))


@app.command(epilog="Example: wharf ca show /etc/wharf/ca")
def show(directory: Directory) -> None:
    """Print the pin, and until when each certificate in the directory is valid."""
    become(MODULE, "show", str(directory))


@app.command(epilog="Example: wharf ca issue /etc/wharf/ca api --host wharf.example.com")
def issue(
    directory: Directory,
    name: Annotated[str, typer.Argument(help="The file is NAME.pem, with certificate and key.")],
    host: Hosts,
) -> None:
    """Issue a certificate, valid for WHARF_CERTIFICATE_SECONDS."""
    become(MODULE, "issue", str(directory), name, *_host_words(host))


@app.command(
    epilog="Example: wharf ca serve /etc/wharf/ca --host 10.0.0.5 "
    "--database 10.0.0.5:5432=127.0.0.1:5432 --broker 10.0.0.5:6379=127.0.0.1:6379"
)
def serve(
    directory: Directory,
    host: Hosts,
    *,
    certificates: Annotated[
        Path | None,
        typer.Option(help="Where certificates are written; by default the directory of the CA."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="ADDRESS:PORT=HOST:PORT: where to listen, and the PostgreSQL behind."),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(help="ADDRESS:PORT=HOST:PORT: where to listen, and the broker behind."),
    ] = None,
    flower: Annotated[
        str | None,
        typer.Option(help="ADDRESS:PORT=HOST:PORT: where to listen, and the Flower behind."),
    ] = None,
) -> None:
    """Renew certificates at two thirds of their life; do TLS for a database, a broker and Flower.

    It makes the CA if there is none, and api.pem for the API, which reads it again by itself.
    """
    given = {
        "--certificates": str(certificates) if certificates else None,
        "--database": database,
        "--broker": broker,
        "--flower": flower,
    }
    words = [word for option, text in given.items() if text for word in (option, text)]
    become(MODULE, "serve", str(directory), *_host_words(host), *words)


def _host_words(hosts: list[str]) -> list[str]:
    return [word for host in hosts for word in ("--host", host)]
