"""``wharf resume``: resume the jobs that wait since the database was restored."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.output.answer import Answer
from api.cli.output.answer import lines as answer_lines
from api.cli.settings import ClientSettings

app = typer.Typer()


@command(
    app,
    example="wharf resume --list",
    shows=Shown("restore.resume", instead="restore.one", option="--list"),
)
def resume(
    settings: ClientSettings,
    *,
    show_only: Annotated[bool, typer.Option("--list", help="Only show the waiting jobs.")] = False,
) -> Answer:
    """Resume jobs that wait since the database was restored from a backup.

    First cancel jobs that must not run again (wharf resume --list), and remove the keys that were
    removed since the backup was made: they work again.
    """
    found = call(settings, "restore.one")
    job_ids = found["waitingJobIds"]
    texts = lines(found)
    if show_only:
        return answer_lines(found, job_ids, texts)
    resumed = call(settings, "restore.resume", {})
    return answer_lines(resumed, job_ids, [*texts, f"{resumed['resumed']} jobs no longer wait."])


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
