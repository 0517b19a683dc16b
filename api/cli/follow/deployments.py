"""Follow a deployment on all of its servers until it has ended."""

import time
from functools import partial
from typing import Any

from api.cli.client import ask
from api.cli.follow.builds import follow_build
from api.cli.follow.outcomes import POLL_SECONDS, error_text
from api.cli.follow.waiting import Waits, find_reason
from api.cli.output.screen import Screen
from api.cli.settings import ClientSettings


def follow_deployment(
    settings: ClientSettings, deployment: dict[str, Any], screen: Screen
) -> dict[str, Any]:
    """Show a deployment on each server; return it once it has ended.

    A server whose first job waits for long is named with the reason.
    """
    if deployment["buildId"] == deployment["deploymentId"]:
        build = ask(settings, "build.one", {"buildId": deployment["buildId"]})
        # The servers do not wait for the copy to the rollback registry.
        follow_build(settings, build["jobIds"][:2], screen)
    names = {server["serverId"]: server["name"] for server in ask(settings, "server.all")}
    states: dict[str, str] = {}
    waits = Waits(partial(find_reason, settings))
    while True:
        shown: dict[str, Any] = ask(
            settings, "deployment.one", {"deploymentId": deployment["deploymentId"]}
        )
        for server in shown["servers"]:
            server_id, state = server["serverId"], server["state"]
            if states.get(server_id) != state:
                states[server_id] = state
                screen.line(f"{names.get(server_id, server_id)}: {state}{_more(server)}")
        if shown["finishedAt"] is not None:
            return shown
        first = {
            names.get(server["serverId"], server["serverId"]): (server["state"], job_id)
            for server in shown["servers"]
            for job_id in server["jobIds"][:1]
        }
        waiting = {name: job_id for name, (state, job_id) in first.items() if state == "queued"}
        for line in waits.lines(waiting):
            screen.line(line)
        if screen.has_bars:
            for name, (state, job_id) in first.items():
                if state == "running":
                    job = ask(settings, "job.one", {"jobId": job_id})
                    screen.progress(name, job["progress"])
        time.sleep(POLL_SECONDS)


def deployment_summary(deployment: dict[str, Any]) -> str:
    """Return the image by its digest, or the state and error of the deployment."""
    if deployment["state"] == "succeeded":
        return str(deployment["reference"])
    state, cause = deployment["state"], error_text(deployment["error"])
    return f"deployment {deployment['deploymentId']} {state}{cause}"


def _more(server: dict[str, Any]) -> str:
    gap = server["gapSeconds"]
    return f" (gap {gap} s)" if gap else error_text(server["error"])
