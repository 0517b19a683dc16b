"""Follow one job until it has ended: its states, its log, its progress, why it waits."""

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from api.cli.client import ask, listen
from api.cli.follow.outcomes import POLL_SECONDS, error_text
from api.cli.follow.waiting import Waits, find_reason
from api.cli.output.screen import Screen
from api.cli.settings import ClientSettings

if TYPE_CHECKING:
    from wharfinger.following import Event

STEPS = {"image.build": "build", "image.pull": "pull", "image.push": "push", "image.copy": "retain"}
"""The steps of a build, by the kind of their jobs."""


def follow_job(settings: ClientSettings, job_id: str, screen: Screen, name: str) -> None:
    """Show what happens to a job, from its beginning to its end; a broken stream is resumed."""
    waits = Waits(partial(find_reason, settings))

    def show_why_it_waits() -> None:
        for line in waits.lines({name: job_id}):
            screen.line(line)

    for event in listen(settings, job_id, show_why_it_waits):
        _show(screen, name, event)


def kind_of(settings: ClientSettings, job_id: str) -> str:
    """Return the kind of a job."""
    return str(ask(settings, "job.one", {"jobId": job_id})["kind"])


def job_ended(settings: ClientSettings, job_id: str) -> dict[str, Any]:
    """Return the job once it has ended."""
    while True:
        job: dict[str, Any] = ask(settings, "job.one", {"jobId": job_id})
        if job["finishedAt"] is not None:
            return job
        time.sleep(POLL_SECONDS)


def job_summary(job: dict[str, Any]) -> str:
    """Return the image of a finished transfer by its digest, or the state and error of a job."""
    result = job["result"] or {}
    if job["state"] == "succeeded" and result.get("reference"):
        reference, digest = str(result["reference"]), str(result.get("digest") or "")
        return reference if "@" in reference or not digest else f"{reference}@{digest}"
    return f"job {job['jobId']} {job['state']}{error_text(job['error'])}"


def _show(screen: Screen, name: str, event: "Event") -> None:
    match event.kind:
        case "state":
            data = event.data if isinstance(event.data, dict) else {}
            error = data.get("error")
            cause = ""
            if isinstance(error, dict):
                text = f"{error.get('code')}: {error.get('message')}"
                cause = f" ({' '.join(text.split())})"
            screen.line(f"{name}: {event.state}{cause}")
        case "log":
            for line in event.text.splitlines():
                screen.line(line)
        case "snapshot":
            screen.progress(name, event.progress)
        case _:
            return
