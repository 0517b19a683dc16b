"""``wharf user``: list, invite, change and remove the people of the organization."""

import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from api.cli.arguments import Force, given, networks_of
from api.cli.client import base_url, call
from api.cli.command import command
from api.cli.completion import names_of
from api.cli.confirm import Yes, confirm
from api.cli.names import INVITATION, USER, find
from api.cli.output.answer import Answer, Columns, lines
from api.cli.output.text import write_note
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings

app = typer.Typer(
    help="People: list, invite, change their roles, remove; invitations.", no_args_is_help=True
)


class Role(StrEnum):
    """The role of a person."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


User = Annotated[
    str,
    typer.Argument(
        metavar="USER",
        help="The person's name, e-mail address or id, or the beginning of one.",
        autocompletion=names_of(USER),
    ),
]
COLUMNS = Columns(
    "userId",
    {
        "name": lambda row: row["user"]["name"],
        "e-mail": lambda row: row["user"]["email"],
        "role": "role",
        "networks": "networks",
        "second factor": "hasSecondFactor",
        "signed in": lambda row: show_time(row["signedInAt"]),
        "joined": lambda row: show_time(row["createdAt"]),
    },
)
INVITATIONS = Columns(
    "invitationId",
    {
        "e-mail": "email",
        "role": "role",
        "expires": lambda row: show_time(row["expiresAt"]),
    },
)


@command(app, "list", example="wharf user list", shows="user.all")
def list_all(settings: ClientSettings) -> Answer:
    """Show the people of the organization, the one who joined first at the head."""
    return COLUMNS.of(call(settings, "user.all"))


@command(
    app,
    example="wharf user invite ann@example.com --role viewer",
    shows="organization.inviteMember",
)
def invite(
    settings: ClientSettings,
    email: Annotated[
        str | None, typer.Argument(metavar="[EMAIL]", help="By default anyone who has the link.")
    ] = None,
    role: Annotated[Role | None, typer.Option(help="The role; by default member.")] = None,
) -> Answer:
    """Invite a person; print the link, and nothing else, to standard output. It works once."""
    request = given(email=email, role=role and role.value)
    created = call(settings, "organization.inviteMember", request)
    write_note(f"The link works once, until {created['expiresAt']}.")
    return lines(created, [created["invitationId"]], [f"{base_url(settings)}{created['path']}"])


@command(app, example="wharf user invitations", shows="organization.allInvitations")
def invitations(settings: ClientSettings) -> Answer:
    """Show the invitations that can still be accepted, the oldest first."""
    return INVITATIONS.of(call(settings, "organization.allInvitations"))


@command(
    app,
    example="wharf user uninvite ann@example.com --yes",
    shows="organization.removeInvitation",
)
def uninvite(
    settings: ClientSettings,
    invitation: Annotated[
        str,
        typer.Argument(metavar="INVITATION", help="The e-mail address or id, or its beginning."),
    ],
    *,
    yes: Yes = False,
) -> Answer:
    """Remove an invitation: its link stops working at once."""
    found = find(settings, INVITATION, invitation)
    chosen = {"invitationId": found["invitationId"]}
    confirm(f"Remove the invitation {found['email'] or found['invitationId']}?", yes=yes)
    removed = call(settings, "organization.removeInvitation", chosen)
    return lines(removed, [found["invitationId"]], ["removed"])


@command(app, example="wharf user update Ann --role admin", shows="organization.updateMemberRole")
def update(
    settings: ClientSettings,
    user: User,
    role: Annotated[Role, typer.Option(help="The new role.")],
) -> Answer:
    """Change the role of a person; only an owner makes an owner, or changes the role of one."""
    found = find(settings, USER, user)
    changed = call(
        settings, "organization.updateMemberRole", {"memberId": found["id"], "role": role.value}
    )
    return lines(changed, [found["userId"]], [f"{found['user']['name']}: {role.value}"])


@command(
    app,
    example="wharf user limit Ann --network 10.1.0.0/16",
    shows="organization.updateMemberNetworks",
)
def limit(
    settings: ClientSettings,
    user: User,
    network: Annotated[
        list[str], typer.Option(metavar="NETWORK", help='An address or a CIDR; "" removes all.')
    ],
    *,
    force: Force = False,
) -> Answer:
    """Let a person and its keys in from these networks only; they replace the present ones."""
    found = find(settings, USER, user)
    networks = networks_of(network) or []
    request = {"memberId": found["id"], "networks": networks, "force": force}
    changed = call(settings, "organization.updateMemberNetworks", request)
    return lines(
        changed, [found["userId"]], [f"{found['user']['name']}: {', '.join(networks) or 'all'}"]
    )


@command(app, example="wharf user reset Ann", shows="user.createPasswordReset")
def reset(settings: ClientSettings, user: User) -> Answer:
    """Make a link for a new password; print it, and nothing else, to standard output."""
    found = find(settings, USER, user)
    created = call(settings, "user.createPasswordReset", {"userId": found["userId"]})
    write_note(f"The link works once, until {created['expiresAt']}.")
    return lines(created, [created["resetId"]], [f"{base_url(settings)}{created['path']}"])


@app.command(epilog="Example: wharf user recover ann@example.com")
def recover(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The person's e-mail address.")],
) -> None:
    """Make a link for a new password where wharf control runs, with its WHARF_DATABASE_URL.

    No API key is needed, so the last owner gets in again too.
    """
    argv = (sys.executable, "-m", "api.cli.commands.accounts.recover", email)
    os.execv(sys.executable, argv)  # noqa: S606 - no shell


@command(app, example="wharf user remove Ann --yes", shows="user.remove")
def remove(settings: ClientSettings, user: User, *, yes: Yes = False) -> Answer:
    """Remove a person: sessions and keys of the person end for this organization at once."""
    found = find(settings, USER, user)
    confirm(f"Remove {found['user']['name']}?", yes=yes)
    removed = call(settings, "user.remove", {"userId": found["userId"]})
    return lines(removed, [found["userId"]], [f"removed {found['user']['name']}"])
