"""``wharf``: starts each role as a separate process, and calls the API for all other commands."""

from typing import Annotated

import typer

from api.cli.lazy import LazyGroup

app = typer.Typer(
    name="wharf",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(epilog="Example: wharf --profile staging registry list")
def wharf(
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="The stored profile to use, whatever the environment says."),
    ] = None,
) -> None:
    """Manage registries, credentials and images for many Docker servers.

    Commands ask the API of WHARF_URL with the key of WHARF_API_KEY, or that of a profile that
    wharf login stored.
    """


if __name__ == "__main__":
    app(prog_name="wharf")
