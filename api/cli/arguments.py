"""Arguments and options that many commands have."""

from typing import Annotated, Any

import typer

from api.cli.completion import names_of
from api.cli.names import APPLICATION, DEPLOYMENT, JOB, KEY, REGISTRY, SERVER, SIGNING_KEY, WEBHOOK

Application = Annotated[
    str,
    typer.Argument(
        metavar="APP",
        help="An appName, name or id, or the beginning of one.",
        autocompletion=names_of(APPLICATION),
    ),
]
Registry = Annotated[
    str,
    typer.Argument(
        metavar="REGISTRY",
        help="The registry's name or id, or the beginning of one.",
        autocompletion=names_of(REGISTRY),
    ),
]
Server = Annotated[
    str,
    typer.Argument(
        metavar="SERVER",
        help="The server's name or id, or the beginning of one.",
        autocompletion=names_of(SERVER),
    ),
]
Webhook = Annotated[
    str,
    typer.Argument(
        metavar="WEBHOOK",
        help="The webhook's URL or id, or the beginning of one.",
        autocompletion=names_of(WEBHOOK),
    ),
]
ApiKey = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="The key's name or id, or the beginning of one; never the key itself.",
        autocompletion=names_of(KEY),
    ),
]
SigningKey = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="The key's name or id, or the beginning of one.",
        autocompletion=names_of(SIGNING_KEY),
    ),
]
Job = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="The job's id, or its beginning.", autocompletion=names_of(JOB)
    ),
]
Build = Annotated[str, typer.Argument(metavar="BUILD", help="The build's id, or its beginning.")]
Deployment = Annotated[
    str,
    typer.Argument(
        metavar="DEPLOYMENT",
        help="The deployment's id, or its beginning.",
        autocompletion=names_of(DEPLOYMENT),
    ),
]
OnServer = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="SERVER",
        help="The name or id of the server; by default any that may.",
        autocompletion=names_of(SERVER),
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="The largest number of rows.")]
Key = Annotated[
    str | None,
    typer.Option("--key", help="An Idempotency-Key: with a repeated one nothing is started again."),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        metavar="NETWORK",
        help='A network of its clients, as 10.1.0.0/16; may be repeated; "" removes all.',
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Change it although your own address is excluded.")
]
Wait = Annotated[bool, typer.Option(help="Follow it, and exit with its outcome.")]


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not `None`."""
    return {name: value for name, value in fields.items() if value is not None}


def networks_of(options: list[str] | None) -> list[str] | None:
    """Return the networks of an option that may be repeated; one empty text removes all."""
    return None if options is None else [each for each in options if each]
