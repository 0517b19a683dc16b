"""``wharf build``: request a build, follow it, and exit with its outcome."""

from typing import Annotated

import typer

from api.cli.arguments import Application, Key, Wait, given
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.follow.builds import build_ended, build_summary, follow_build
from api.cli.follow.outcomes import CODES
from api.cli.names import APPLICATION, find_id
from api.cli.output.answer import Answer, lines
from api.cli.output.screen import Screen
from api.cli.settings import ClientSettings

app = typer.Typer()


@command(
    app,
    example="wharf build my-app --tag 1.4.2 --wait",
    shows=Shown("application.build", instead="build.one"),
)
def build(
    settings: ClientSettings,
    application: Application,
    *,
    tag: Annotated[
        str | None, typer.Option(help="The image's tag; by default the commit or version.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="By default the application's.")] = None,
    commit: Annotated[str | None, typer.Option(help="By default the branch's newest.")] = None,
    title: Annotated[str | None, typer.Option(help="The title of the build.")] = None,
    key: Key = None,
    wait: Wait = False,
) -> Answer:
    """Build an application, push it and retain it for a rollback; nothing is deployed.

    With --wait the exit code is 0 if the build succeeded, 1 failed, 3 cancelled, 4 superseded by a
    newer one, 5 expired; the last line on standard output is the image by its digest.
    """
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    request = {**chosen, **given(tag=tag, branch=branch, commit=commit, title=title)}
    accepted = call(settings, "application.build", request, key=key)
    build_id = accepted["buildId"]
    if not wait:
        return lines(accepted, [build_id], [build_id])
    with Screen() as screen:
        follow_build(settings, accepted["jobIds"], screen)
    shown = build_ended(settings, build_id)
    return lines(shown, [build_id], [build_summary(shown)], code=CODES[shown["state"]])
