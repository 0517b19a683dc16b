"""``wharf deploy`` and ``wharf rollback``: request it, follow it, and exit with its outcome."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from api.cli.client import ClientSettings, call
from api.cli.commands import build as builds
from api.cli.commands.build import POLL_SECONDS, error_text, find_application, request_for
from api.cli.follow.waiting import Waits, ask
from shared.errors import SetupError

_NO_POINT = (
    "Deploy an earlier build instead: wharf deploy APPLICATION --build BUILD_ID. "
    "rollback.all shows all points and their errors. A version gets a point when it "
    "has run and its image was verified in the registry of rollbackRegistryId, if "
    "rollbackActive is set."
)


@dataclass(frozen=True)
class DeploymentOptions:
    """The options of the command; ``key`` is an ``Idempotency-Key``.

    Without ``build`` the application is built first, from ``branch`` or ``commit``.
    """

    application: str
    build: str | None = None
    tag: str | None = None
    branch: str | None = None
    commit: str | None = None
    title: str | None = None
    key: str | None = None


def start(settings: ClientSettings, options: DeploymentOptions) -> dict[str, Any]:
    """Request the deployment; return it as the API shows it.

    Raises:
        SetupError: there is no such application or build, or the API refused the request.
    """
    fields = {
        "buildId": options.build,
        "tag": options.tag,
        "branch": options.branch,
        "commit": options.commit,
        "title": options.title,
    }
    return request_for(settings, "application.deploy", options.application, fields, key=options.key)


def roll_back(
    settings: ClientSettings, application: str, point: str | None, *, key: str | None
) -> dict[str, Any]:
    """Request a rollback to a point, by default to the newest one that is offered and not running.

    Raises:
        SetupError: there is no such application or point, or the API refused the request.
    """
    found = find_application(call(settings, "application.all"), application)
    points = call(settings, "rollback.verify", {"applicationId": found["applicationId"]})
    offered = [each["rollbackId"] for each in points if each["offered"] and not each["isRunning"]]
    if point is not None and point not in {each["rollbackId"] for each in points}:
        raise SetupError(
            f"{application} has no rollback point {point}",
            remedy="Choose a rollbackId from rollback.all.",
        )
    if point is None and not offered:
        raise SetupError(f"{application} has no rollback point to roll back to", remedy=_NO_POINT)
    request: dict[str, Any] = call(
        settings,
        "rollback.rollback",
        {"rollbackId": point or offered[0]},
        headers={"Idempotency-Key": key} if key else {},
    )
    return request


def follow(settings: ClientSettings, deployment: dict[str, Any]) -> Iterator[str]:
    """Follow a deployment on each server, line by line, until it has ended.

    A server whose first job waits for long is named with the reason.
    """
    if deployment["buildId"] == deployment["deploymentId"]:
        build = call(settings, "build.one", {"buildId": deployment["buildId"]})
        # The servers do not wait for the copy to the rollback registry.
        yield from builds.follow(settings, {**build, "jobIds": build["jobIds"][:2]})
    names = {server["serverId"]: server["name"] for server in call(settings, "server.all")}
    states: dict[str, str] = {}
    waits = Waits(partial(ask, settings))
    while True:
        shown = one(settings, deployment)
        for server in shown["servers"]:
            server_id, state = server["serverId"], server["state"]
            if states.get(server_id) != state:
                states[server_id] = state
                yield f"{names.get(server_id, server_id)}: {state}{_more(server)}"
        if shown["finishedAt"] is not None:
            return
        queued = [server for server in shown["servers"] if server["state"] == "queued"]
        yield from waits.lines(
            {
                names.get(server["serverId"], server["serverId"]): server["jobIds"][0]
                for server in queued
                if server["jobIds"]
            }
        )
        time.sleep(POLL_SECONDS)


def one(settings: ClientSettings, deployment: dict[str, Any]) -> dict[str, Any]:
    """Return the current state of the deployment."""
    chosen = {"deploymentId": deployment["deploymentId"]}
    shown: dict[str, Any] = call(settings, "deployment.one", chosen)
    return shown


def summary(deployment: dict[str, Any]) -> str:
    """Return the image by its digest, or the state and error of the deployment."""
    if deployment["state"] == "succeeded":
        return str(deployment["reference"])
    state, cause = deployment["state"], error_text(deployment["error"])
    return f"deployment {deployment['deploymentId']} {state}{cause}"


def _more(server: dict[str, Any]) -> str:
    gap = server["gapSeconds"]
    return f" (gap {gap} s)" if gap else error_text(server["error"])
