"""``wharf job``: list, show, watch, cancel and retry jobs, and read their logs."""

from enum import StrEnum
from typing import Annotated

import typer

from api.cli.arguments import Job, OnServer, Wait, given
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.completion import names_of
from api.cli.follow.jobs import follow_job, job_ended, job_summary
from api.cli.follow.outcomes import CODES, error_text
from api.cli.follow.submitted import follow_submitted
from api.cli.follow.waiting import describe
from api.cli.names import APPLICATION, REGISTRY, SERVER, find_id, find_job_id
from api.cli.output.answer import Answer, Columns, Row, fields, lines
from api.cli.output.screen import Screen
from api.cli.output.screen import describe as describe_progress
from api.cli.output.text import write_note
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings

app = typer.Typer(help="Jobs: list, show, watch, cancel, retry, logs.", no_args_is_help=True)


class State(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


def _subject(job: Row) -> object:
    command = job["command"]
    names = ("image", "reference", "source", "target", "host")
    return next((command[one] for one in names if isinstance(command.get(one), str)), None)


COLUMNS = Columns(
    "jobId",
    {
        "kind": "kind",
        "state": "state",
        "of": _subject,
        "attempt": "attempt",
        "created": lambda row: show_time(row["createdAt"]),
        "error": lambda row: (row["error"] or {}).get("code"),
    },
)


@command(app, "list", example="wharf job list --state running", shows="job.all")
def list_all(
    settings: ClientSettings,
    *,
    state: Annotated[State | None, typer.Option(help="Only jobs in this state.")] = None,
    server: OnServer = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, as image.push.")] = None,
    registry: Annotated[
        str | None,
        typer.Option(help="Only jobs with this registry.", autocompletion=names_of(REGISTRY)),
    ] = None,
    application: Annotated[
        str | None,
        typer.Option(
            "--app",
            help="Only jobs of this application.",
            autocompletion=names_of(APPLICATION),
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=200, help="The largest number of rows.")
    ] = 50,
    cursor: Annotated[str | None, typer.Option(help="The nextCursor of the page before.")] = None,
) -> Answer:
    """Show jobs by page, the newest first."""
    request = given(
        state=state and state.value,
        serverId=find_id(settings, SERVER, server) if server else None,
        kind=kind,
        registryId=find_id(settings, REGISTRY, registry) if registry else None,
        applicationId=find_id(settings, APPLICATION, application) if application else None,
        limit=limit,
        cursor=cursor,
    )
    page = call(settings, "job.all", request)
    if page["nextCursor"]:
        write_note(f"there are more: --cursor {page['nextCursor']}")
    return COLUMNS.of(page["jobs"], answer=page)


@command(app, example="wharf job show JOB", shows="job.one")
def show(settings: ClientSettings, job: Job) -> Answer:
    """Show one job: its state, its progress, its error, and why it waits."""
    found = call(settings, "job.one", {"jobId": find_job_id(settings, job)})
    progress = found["progress"] or {}
    shown = {
        "job": found["jobId"],
        "kind": found["kind"],
        "of": _subject(found),
        "state": f"{found['state']}{error_text(found['error'])}",
        "waits": describe(found["waiting"]),
        "progress": describe_progress(progress) if "currentBytes" in progress else None,
        "server": found["serverId"],
        "attempts": found["attempt"],
        "retry of": found["retryOf"],
        "created": found["createdAt"],
        "started": found["startedAt"],
        "finished": found["finishedAt"],
        "result": found["result"],
    }
    return fields(found, "jobId", shown)


@command(app, example="wharf job watch JOB", shows="job.one")
def watch(settings: ClientSettings, job: Job) -> Answer:
    """Follow a job until it has ended, and exit with its outcome.

    Exit code 0: it succeeded, 1 failed, 3 cancelled, 5 expired.
    """
    job_id = find_job_id(settings, job)
    kind = call(settings, "job.one", {"jobId": job_id})["kind"]
    with Screen() as screen:
        follow_job(settings, job_id, screen, kind.partition(".")[2] or kind)
    ended = job_ended(settings, job_id)
    return lines(ended, [job_id], [job_summary(ended)], code=CODES[ended["state"]])


@command(app, example="wharf job cancel JOB", shows="job.cancel")
def cancel(settings: ClientSettings, job: Job) -> Answer:
    """Cancel a job: at once if it has not begun; otherwise its worker stops it."""
    job_id = find_job_id(settings, job)
    cancelled = call(settings, "job.cancel", {"jobId": job_id})
    return lines(cancelled, [job_id], [cancelled["state"]])


@command(
    app,
    example="wharf job retry JOB --wait",
    shows=Shown("job.retry", instead="job.one"),
)
def retry(settings: ClientSettings, job: Job, *, wait: Wait = False) -> Answer:
    """Repeat a failed, cancelled or expired job by a new one with the same command.

    With --wait the exit code is that of the new job: 0 succeeded, 1 failed, 3 cancelled, 5 expired.
    """
    request = {"jobId": find_job_id(settings, job)}
    return follow_submitted(settings, "job.retry", request, key=None, wait=wait)


@command(app, example="wharf job logs JOB", shows="job.one")
def logs(settings: ClientSettings, job: Job) -> Answer:
    """Write the lines of a job's log, the newest thousand events of it."""
    job_id = find_job_id(settings, job)
    found = call(settings, "job.one", {"jobId": job_id})
    texts = [
        line
        for event in found["events"]
        if event["kind"] == "log"
        for line in str((event["data"] or {}).get("text", "")).splitlines()
    ]
    return lines(found, [job_id], texts)
