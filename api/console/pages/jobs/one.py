"""One job: its states, attempts, bytes, log and error, and the stream that follows it."""

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.jobs.overview import describe
from api.console.pages.jobs.progress import read_progress
from api.console.pages.names import name_parts
from api.console.pages.registries.reports import read_test
from api.http.sse import LAST_EVENT_ID, answer_events
from api.images.retry import PROCEDURES_OF
from shared.errors import NotFoundError, WharfError
from shared.jobs.commands import Kind
from shared.jobs.states import State

AGAIN = {
    "image.pull": ("pull", {"image": "reference", "registryId": "registryId"}),
    "image.push": ("push", {"image": "source", "registryId": "registryId"}),
    "image.copy": (
        "copy",
        {
            "image": "source",
            "registryId": "registryId",
            "sourceRegistryId": "sourceRegistryId",
        },
    ),
}
"""The form by which a job is requested again, and the fields of the command that fill it."""


async def show(page: Page, error: WharfError | None = None) -> Response:
    """Show a job."""
    job = await page.call("job.one", jobId=page.param("job_id"))
    events = job["events"]
    progress = read_progress(job["progress"])
    return page.render(
        "jobs/one.html",
        error=error,
        job=job,
        target=describe(job),
        is_over=State(job["state"]).is_final,
        states=[each for each in events if each["state"]],
        log=[] if page.is_fragment else _read_log(events),
        last=events[-1]["seq"] if events else 0,
        is_cut=bool(events) and events[0]["seq"] > 1,
        progress=progress,
        rate=progress.mean_rate(job["startedAt"]) if progress else None,
        again=_again(job),
        may_retry=_may_retry(job),
        test=read_test(job) if job["kind"] == Kind.REGISTRY_TEST else None,
        names=await name_parts(page, job),
    )


async def show_stages(page: Page) -> Response:
    """Show the stages of a connection test, as far as it has come."""
    job = await page.call("job.one", jobId=page.param("job_id"))
    if job["kind"] != Kind.REGISTRY_TEST:
        raise NotFoundError("Test not found")
    return page.render("jobs/stages.html", test=read_test(job))


async def cancel(page: Page) -> Response:
    """Cancel the job."""
    job_id = page.param("job_id")
    try:
        answer = await page.call("job.cancel", jobId=job_id)
    except WharfError as error:
        return await show(page, error)
    is_over = State(answer["state"]).is_final
    notice = "The job is cancelled." if is_over else "Its worker was asked to stop the job."
    return page.redirect(f"{ROOT}/jobs/{job_id}", notice)


async def retry(page: Page) -> Response:
    """Repeat the job, and show the new one."""
    try:
        begun = await page.call("job.retry", jobId=page.param("job_id"))
    except WharfError as error:
        return await show(page, error)
    return page.redirect(f"{ROOT}/jobs/{begun['jobId']}", "The job is repeated by this one.")


async def stream(page: Page) -> Response:
    """Send the job's events to the member's browser, after the last one that it has."""
    last = page.request.headers.get(LAST_EVENT_ID) or page.query.get("lastEventId") or "0"
    query = urlencode({"jobId": page.param("job_id"), "lastEventId": last})
    request = Request({**page.request.scope, "query_string": query.encode()}, page.request.receive)
    return await answer_events(page.resources, request, page.caller)


def _read_log(events: list[dict[str, Any]]) -> list[str]:
    return [text for each in events if (text := _text(each)) is not None]


def _text(event: dict[str, Any]) -> str | None:
    data = event["data"]
    text = data.get("text") if event["kind"] == "log" and isinstance(data, dict) else None
    return text if isinstance(text, str) else None


def _again(job: dict[str, Any]) -> str | None:
    """Return the address of the form that requests the same again."""
    if job["kind"] not in AGAIN or not State(job["state"]).is_final:
        return None
    form, fields = AGAIN[job["kind"]]
    command = job["command"]
    filled = {name: command[key] for name, key in fields.items() if command.get(key)}
    return f"{ROOT}/images/{form}?{urlencode({**filled, 'serverId': job['serverId']})}"


def _may_retry(job: dict[str, Any]) -> bool:
    """Return whether it is worth offering; the procedure decides."""
    state = State(job["state"])
    is_open = not state.is_final or state is State.SUCCEEDED
    is_unnamed_test = job["kind"] == Kind.REGISTRY_TEST and not job["registryId"]
    return job["kind"] in PROCEDURES_OF and not (is_open or is_unnamed_test)


ROUTES = (
    PageRoute("/jobs/{job_id}", show),
    PageRoute("/jobs/{job_id}/stages", show_stages),
    PageRoute("/jobs/{job_id}/cancel", cancel, "POST"),
    PageRoute("/jobs/{job_id}/retry", retry, "POST"),
    PageRoute("/jobs/{job_id}/events", stream),
)
