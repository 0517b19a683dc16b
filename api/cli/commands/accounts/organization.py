"""``wharf organization``: show and change the settings of an organization."""

from typing import Annotated, Any

import typer

from api.cli.arguments import Force, Networks, given, networks_of
from api.cli.client import call
from api.cli.command import command
from api.cli.output.answer import Answer, fields
from api.cli.settings import ClientSettings

app = typer.Typer(help="The settings of the organization: show, change.", no_args_is_help=True)

Days = Annotated[
    int | None,
    typer.Option(min=1, max=3650, help="Days after which a password is due, by default."),
]

ServerNetworks = Annotated[
    list[str] | None,
    typer.Option(metavar="NETWORK", help="A network from which workers may use the API."),
]


@command(app, example="wharf organization show", shows="organization.settings")
def show(settings: ClientSettings) -> Answer:
    """Show the settings."""
    return _answer(call(settings, "organization.settings"))


@command(
    app,
    example="wharf organization update --rotate-after-days 60",
    shows="organization.updateSettings",
)
def update(
    settings: ClientSettings,
    rotate_after_days: Days = None,
    network: Networks = None,
    server_network: ServerNetworks = None,
    *,
    force: Force = False,
) -> Answer:
    """Change the settings that are given; registries may have other days of their own.

    The networks replace the present ones: --network "" removes them.
    """
    changes = given(
        rotateAfterDays=rotate_after_days,
        networks=networks_of(network),
        serverNetworks=networks_of(server_network),
        force=force or None,
    )
    return _answer(call(settings, "organization.updateSettings", changes))


def _answer(found: dict[str, Any]) -> Answer:
    shown = {
        "organization": found["organizationId"],
        "rotate after days": found["rotateAfterDays"],
        "networks": found["networks"],
        "networks of servers": found["serverNetworks"],
    }
    return fields(found, "organizationId", shown)
