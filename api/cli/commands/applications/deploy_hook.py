"""``wharf deploy-hook``: list, create and remove the deploy hooks of an application."""

from typing import Annotated

import typer

from api.cli.arguments import Application, given
from api.cli.client import call
from api.cli.command import command
from api.cli.confirm import Yes, confirm
from api.cli.names import APPLICATION, HOOK, choose, find_id
from api.cli.output.answer import Answer, Columns, lines
from api.cli.output.text import write_note
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings

app = typer.Typer(
    help="URLs that deploy an application after a push: list, create, remove.",
    no_args_is_help=True,
)

COLUMNS = Columns(
    "hookId",
    {
        "tags": "tagFilter",
        "branch": "branchFilter",
        "paths": "pathFilters",
        "signed": "requireSignature",
        "used": lambda row: show_time(row["lastUsedAt"]),
    },
)


@command(app, "list", example="wharf deploy-hook list my-app", shows="deployHook.all")
def list_all(settings: ClientSettings, application: Application) -> Answer:
    """Show the deploy hooks of an application, the oldest first."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    return COLUMNS.of(call(settings, "deployHook.all", chosen))


@command(app, example="wharf deploy-hook create my-app --tags 'v*'", shows="deployHook.create")
def create(
    settings: ClientSettings,
    application: Application,
    *,
    tags: Annotated[str | None, typer.Option(help="Only tags that match this pattern.")] = None,
    branch: Annotated[str | None, typer.Option(help="Only branches that match this.")] = None,
    path: Annotated[
        list[str] | None, typer.Option(help="Only commits that change such a path.")
    ] = None,
    require_signature: Annotated[
        bool | None, typer.Option(help="Refuse requests that only contain the secret.")
    ] = None,
) -> Answer:
    """Create a deploy hook; print its URL and its secret, which is shown only once."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    filters = given(
        tagFilter=tags,
        branchFilter=branch,
        pathFilters=path or None,
        requireSignature=require_signature,
    )
    created = call(settings, "deployHook.create", {**chosen, **filters})
    write_note("The secret is shown only once.")
    texts = [f"url: {created['url']}", f"secret: {created['secret']}"]
    return lines(created, [created["hookId"]], texts)


@command(app, example="wharf deploy-hook remove my-app HOOK --yes", shows="deployHook.remove")
def remove(
    settings: ClientSettings,
    application: Application,
    hook: Annotated[str, typer.Argument(metavar="HOOK", help="The hook's id, or its beginning.")],
    *,
    yes: Yes = False,
) -> Answer:
    """Remove a deploy hook: its URL stops working."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    found = choose(HOOK, call(settings, "deployHook.all", chosen), hook)
    confirm(f"Remove the deploy hook {found['hookId']}?", yes=yes)
    removed = call(settings, "deployHook.remove", {"hookId": found["hookId"]})
    return lines(removed, [removed["hookId"]], [f"removed {removed['hookId']}"])
