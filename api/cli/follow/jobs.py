"""Follow one job until it has ended: its states, its log, its progress, why it waits."""

import time
from typing import Any

from api.cli.client import call
from api.cli.follow.events import SseEvent, listen
from api.cli.follow.outcomes import POLL_SECONDS, error_text
from api.cli.follow.waiting import describe
from api.cli.output.screen import Screen
from api.cli.settings import ClientSettings

STEPS = {"image.build": "build", "image.pull": "pull", "image.push": "push", "image.copy": "retain"}
"""The steps of a build, by the kind of their jobs."""

ENDS = frozenset({"succeeded", "failed", "cancelled", "expired"})


def follow_job(settings: ClientSettings, job_id: str, screen: Screen, name: str) -> None:
    """Show what happens to a job, from its beginning to its end."""
    import httpx2  # noqa: PLC0415 - takes longer to import than the rest of a command

    last = ""

    def show_why_it_waits() -> None:
        if reason := describe(call(settings, "job.one", {"jobId": job_id})["waiting"]):
            screen.line(f"{name} waits: {reason}")

    while True:
        try:
            for event in listen(settings, job_id, last, show_why_it_waits):
                last = event.id or last
                _show(screen, name, event)
                if event.name == "state" and event.data.get("state") in ENDS:
                    return
        except httpx2.HTTPError as error:
            screen.line(f"the stream broke ({type(error).__name__}), reconnecting")
        else:
            # The stream ended: the job has ended, or this API process stops.
            if call(settings, "job.one", {"jobId": job_id})["finishedAt"] is not None:
                return
        time.sleep(POLL_SECONDS)


def kind_of(settings: ClientSettings, job_id: str) -> str:
    """Return the kind of a job."""
    return str(call(settings, "job.one", {"jobId": job_id})["kind"])


def job_ended(settings: ClientSettings, job_id: str) -> dict[str, Any]:
    """Return the job once it has ended."""
    while True:
        job: dict[str, Any] = call(settings, "job.one", {"jobId": job_id})
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


def _show(screen: Screen, name: str, event: SseEvent) -> None:
    match event.name:
        case "state":
            error = (event.data.get("data") or {}).get("error") or {}
            text = f"{error['code']}: {error['message']}" if error else ""
            cause = f" ({' '.join(text.split())})" if text else ""
            screen.line(f"{name}: {event.data['state']}{cause}")
        case "log":
            for line in str((event.data.get("data") or {}).get("text", "")).splitlines():
                screen.line(line)
        case "snapshot":
            screen.progress(name, event.data.get("progress"))
        case _:
            return
