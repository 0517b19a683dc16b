"""Submit one job, and follow it if the caller waits."""

from collections.abc import Mapping
from typing import Any

from api.cli.client import call
from api.cli.follow.jobs import follow_job, job_ended, job_summary
from api.cli.follow.outcomes import CODES
from api.cli.output.answer import Answer, lines
from api.cli.output.screen import Screen
from api.cli.settings import ClientSettings


def follow_submitted(
    settings: ClientSettings,
    procedure: str,
    request: Mapping[str, Any],
    *,
    key: str | None,
    wait: bool,
) -> Answer:
    """Return the accepted job, or with ``wait`` the job once it has ended, with its exit code."""
    accepted = call(settings, procedure, request, key=key)
    job_id = accepted["jobId"]
    if not wait:
        return lines(accepted, [job_id], [job_id])
    with Screen() as screen:
        follow_job(settings, job_id, screen, procedure.partition(".")[2])
    ended = job_ended(settings, job_id)
    return lines(ended, [job_id], [job_summary(ended)], code=CODES[ended["state"]])
