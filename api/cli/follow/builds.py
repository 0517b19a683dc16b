"""Follow a build until it has ended."""

import time
from collections.abc import Sequence
from typing import Any

from api.cli.client import ask
from api.cli.follow.jobs import STEPS, follow_job, kind_of
from api.cli.follow.outcomes import POLL_SECONDS, error_text
from api.cli.output.screen import Screen
from api.cli.settings import ClientSettings


def follow_build(settings: ClientSettings, job_ids: Sequence[str], screen: Screen) -> None:
    """Show each step of a build, one after the other."""
    for job_id in job_ids:
        follow_job(settings, job_id, screen, STEPS.get(kind_of(settings, job_id), "job"))


def build_ended(settings: ClientSettings, build_id: str) -> dict[str, Any]:
    """Return the build once it has ended: within two seconds after its last job."""
    while True:
        shown: dict[str, Any] = ask(settings, "build.one", {"buildId": build_id})
        if shown["finishedAt"] is not None:
            return shown
        time.sleep(POLL_SECONDS)


def build_summary(build: dict[str, Any]) -> str:
    """Return the image by its digest, or why there is none."""
    if build["state"] == "succeeded":
        return f"{build['reference']}@{build['digest']}" if build["digest"] else build["reference"]
    return f"build {build['version']} {build['state']}{error_text(build['error'])}"
