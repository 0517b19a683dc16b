"""Read the report of a connection test from its job: a worker sent it, so its form is checked."""

from typing import Any

from pydantic import ValidationError

from shared.jobs.diagnosis import ProbeReport


def read_report(job: dict[str, Any]) -> dict[str, Any] | None:
    """Return the report of a test's job; ``None`` if it has none that can be read."""
    document = job["result"] or (job["error"] or {}).get("report")
    try:
        report = ProbeReport.model_validate(document)
    except ValidationError:
        return None
    return report.model_dump(mode="json", by_alias=True)
