"""Follow the connection test of a registry until it has ended."""

from collections.abc import Mapping
from typing import Any

from api.cli.client import call
from api.cli.follow.jobs import follow_job, job_ended, job_summary
from api.cli.output.screen import Screen
from api.cli.settings import ClientSettings
from shared.errors import SetupError

ASYNC = {"prefer": "respond-async"}


def follow_test(settings: ClientSettings, request: Mapping[str, Any]) -> dict[str, Any]:
    """Start the test, show its stages while it runs, and return its report.

    Raises:
        SetupError: the test ended without a report.
    """
    accepted = call(settings, "registry.diagnose", request, headers=ASYNC)
    with Screen() as screen:
        follow_job(settings, accepted["jobId"], screen, "test")
    ended = job_ended(settings, accepted["jobId"])
    return _read_report(ended)


def _read_report(job: dict[str, Any]) -> dict[str, Any]:
    # It takes a while to import.
    from pydantic import ValidationError  # noqa: PLC0415

    from shared.jobs.diagnosis import ProbeReport  # noqa: PLC0415

    try:
        report = ProbeReport.model_validate(job["result"] or (job["error"] or {}).get("report"))
    except ValidationError:
        raise SetupError(job_summary(job)) from None
    return report.model_dump(mode="json", by_alias=True)
