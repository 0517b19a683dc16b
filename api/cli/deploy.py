"""``wharf deploy`` and ``wharf rollback``: change what servers run, and end as that ended."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.cli import build as builds
from api.cli.build import LOOK_SECONDS, error_text, find_application, request_for
from api.cli.client import ClientSettings, ask
from shared.errors import SetupError


@dataclass(frozen=True)
class DeploymentOptions:
    """A deployment as it is asked for on the command line; ``key`` is an ``Idempotency-Key``.

    It is built first, from ``branch`` or ``commit``, unless a ``build`` is named.
    """

    application: str
    build: str | None = None
    tag: str | None = None
    branch: str | None = None
    commit: str | None = None
    title: str | None = None
    key: str | None = None


def start(settings: ClientSettings, wanted: DeploymentOptions) -> dict[str, Any]:
    """Ask for the deployment; gives it as the API shows it.

    Raises:
        SetupError: there is no such application or build, or the API refused.
    """
    given = {
        "buildId": wanted.build,
        "tag": wanted.tag,
        "branch": wanted.branch,
        "commit": wanted.commit,
        "title": wanted.title,
    }
    return request_for(settings, "application.deploy", wanted.application, given, key=wanted.key)


def roll_back(
    settings: ClientSettings, application: str, point: str | None, *, key: str | None
) -> dict[str, Any]:
    """Ask for a rollback to a point, or to the last that is offered and does not run.

    Raises:
        SetupError: there is no such application or point, or the API refused.
    """
    found = find_application(ask(settings, "application.all"), application)
    points = ask(settings, "rollback.verify", {"applicationId": found["applicationId"]})
    offered = [each["rollbackId"] for each in points if each["offered"] and not each["isRunning"]]
    if point is not None and point not in {each["rollbackId"] for each in points}:
        raise SetupError(f"{application} has no rollback point {point}", remedy="See rollback.all.")
    if point is None and not offered:
        raise SetupError(
            f"there is nothing to roll {application} back to", remedy="See rollback.all."
        )
    request: dict[str, Any] = ask(
        settings,
        "rollback.rollback",
        {"rollbackId": point or offered[0]},
        headers={"Idempotency-Key": key} if key else {},
    )
    return request


def follow(settings: ClientSettings, deployment: dict[str, Any]) -> Iterator[str]:
    """Follow a deployment on each server, line by line, until it has ended."""
    if deployment["buildId"] == deployment["deploymentId"]:
        build = ask(settings, "build.one", {"buildId": deployment["buildId"]})
        # What is retained for a rollback is nothing that the servers wait for.
        yield from builds.follow(settings, {**build, "jobIds": build["jobIds"][:2]})
    names = {server["serverId"]: server["name"] for server in ask(settings, "server.all")}
    states: dict[str, str] = {}
    while True:
        shown = one(settings, deployment)
        for server in shown["servers"]:
            server_id, state = server["serverId"], server["state"]
            if states.get(server_id) != state:
                states[server_id] = state
                yield f"{names.get(server_id, server_id)}: {state}{_more(server)}"
        if shown["finishedAt"] is not None:
            return
        time.sleep(LOOK_SECONDS)


def one(settings: ClientSettings, deployment: dict[str, Any]) -> dict[str, Any]:
    """The deployment as it is now."""
    chosen = {"deploymentId": deployment["deploymentId"]}
    shown: dict[str, Any] = ask(settings, "deployment.one", chosen)
    return shown


def summary(deployment: dict[str, Any]) -> str:
    """The image by its digest; or why it does not run everywhere."""
    if deployment["state"] == "succeeded":
        return str(deployment["reference"])
    state, why = deployment["state"], error_text(deployment["error"])
    return f"deployment {deployment['deploymentId']} {state}{why}"


def _more(server: dict[str, Any]) -> str:
    gap = server["gapSeconds"]
    return f" (gap {gap} s)" if gap else error_text(server["error"])
