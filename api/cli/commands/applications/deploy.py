"""``wharf deploy`` and ``wharf rollback``: request it, follow it, and exit with its outcome."""

from typing import Annotated, Any

import typer

from api.cli.arguments import Application, Key, Wait, given
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.follow.deployments import deployment_summary, follow_deployment
from api.cli.follow.outcomes import CODES
from api.cli.names import APPLICATION, POINT, choose, find_build_id, find_id
from api.cli.output.answer import Answer, lines
from api.cli.output.screen import Screen
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer()

_NO_POINT = (
    "Deploy an earlier build instead: wharf deploy APPLICATION --build BUILD_ID. "
    "wharf rollbacks list shows all points and their errors. A version gets a point when it "
    "has run and its image was verified in the registry of rollbackRegistryId, if "
    "rollbackActive is set."
)


@command(
    app,
    example="wharf deploy my-app --wait",
    shows=Shown("application.deploy", instead="deployment.one"),
)
def deploy(
    settings: ClientSettings,
    application: Application,
    *,
    build_id: Annotated[
        str | None, typer.Option("--build", help="The id of a build to deploy; nothing is built.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="The tag of the built or ready image.")] = None,
    branch: Annotated[str | None, typer.Option(help="The branch to build.")] = None,
    commit: Annotated[str | None, typer.Option(help="The commit to build.")] = None,
    title: Annotated[str | None, typer.Option(help="The title of the deployment.")] = None,
    key: Key = None,
    wait: Wait = False,
) -> Answer:
    """Build an application and run it on its servers, in place of the running version.

    With --wait the exit code is 0 if it succeeded on all servers, 1 failed, 3 cancelled,
    4 superseded, 5 expired; the last line on standard output is the image by its digest.
    """
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    built = _find_build(settings, build_id, chosen)
    fields = given(buildId=built, tag=tag, branch=branch, commit=commit, title=title)
    request = {**chosen, **fields}
    accepted = call(settings, "application.deploy", request, key=key)
    return _follow(settings, accepted, wait=wait)


@command(
    app,
    example="wharf rollback my-app --wait",
    shows=Shown("rollback.rollback", instead="deployment.one"),
)
def rollback(
    settings: ClientSettings,
    application: Application,
    point: Annotated[
        str | None,
        typer.Option("--to", help="A rollback point's id; by default the previous one."),
    ] = None,
    key: Key = None,
    *,
    wait: Wait = False,
) -> Answer:
    """Deploy a rollback point; with --wait the exit codes are those of `wharf deploy`."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    points = call(settings, "rollback.verify", chosen)
    if point is not None:
        try:
            rollback_id = choose(POINT, points, point)["rollbackId"]
        except SetupError:
            raise SetupError(
                f"{application} has no rollback point {point}",
                remedy=f"See: wharf rollbacks list {application}.",
            ) from None
    else:
        offered = [each["rollbackId"] for each in points if _is_offered(each)]
        if not offered:
            raise SetupError(
                f"{application} has no rollback point to roll back to", remedy=_NO_POINT
            )
        rollback_id = offered[0]
    accepted = call(settings, "rollback.rollback", {"rollbackId": rollback_id}, key=key)
    return _follow(settings, accepted, wait=wait)


def _is_offered(point: dict[str, Any]) -> bool:
    return bool(point["offered"] and not point["isRunning"])


def _find_build(settings: ClientSettings, name: str | None, chosen: dict[str, str]) -> str | None:
    return None if name is None else find_build_id(settings, name, chosen["applicationId"])


def _follow(settings: ClientSettings, accepted: dict[str, Any], *, wait: bool) -> Answer:
    deployment_id = accepted["deploymentId"]
    if not wait:
        return lines(accepted, [deployment_id], [deployment_id])
    with Screen() as screen:
        shown = follow_deployment(settings, accepted, screen)
    return lines(shown, [deployment_id], [deployment_summary(shown)], code=CODES[shown["state"]])
