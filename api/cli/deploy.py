"""``wharf deploy``: bring a build to an application's servers, and end as that ended."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.cli.build import LOOK_SECONDS, ask_for, said
from api.cli.client import ClientSettings, ask


@dataclass(frozen=True)
class Wanted:
    """A deployment as it is asked for on the command line; ``key`` is an ``Idempotency-Key``."""

    application: str
    build: str | None = None
    title: str | None = None
    key: str | None = None


def start(settings: ClientSettings, wanted: Wanted) -> dict[str, Any]:
    """Ask for the deployment; gives it as the API shows it.

    Raises:
        SetupError: there is no such application or build, or the API refused.
    """
    given = {"buildId": wanted.build, "title": wanted.title}
    return ask_for(settings, "application.deploy", wanted.application, given, key=wanted.key)


def follow(settings: ClientSettings, deployment: dict[str, Any]) -> Iterator[str]:
    """What becomes of a deployment on each server, line by line, until it has ended."""
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
    state, why = deployment["state"], said(deployment["error"])
    return f"deployment {deployment['deploymentId']} {state}{why}"


def _more(server: dict[str, Any]) -> str:
    gap = server["gapSeconds"]
    return f" (gap {gap} s)" if gap else said(server["error"])
