"""The text about a database that was restored from a backup."""

from collections.abc import Iterator
from typing import Any


def lines(found: dict[str, Any]) -> list[str]:
    """Return the lines about waiting jobs and restored keys; none if nothing was restored."""
    return list(_lines(found)) if found.get("heldAt") else []


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"The database was restored from a backup; its jobs wait since {found['heldAt']}."
    for job_id in found["waitingJobIds"]:
        yield f"job {job_id} waits"
    for key in found["apiKeys"]:
        used = key["lastUsedAt"] or "never"
        yield f"key {key['name']} ({key['role']}, {key['apiKeyId']}) works, used {used}"
    for hook in found["deployHooks"]:
        used = hook["lastUsedAt"] or "never"
        yield f"deploy hook {hook['hookId']} of {hook['applicationId']} works, used {used}"
