"""The list of jobs: filters in the address, one page at a time, and why queued ones wait."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from api.console.page import Page, PageRoute
from api.console.pages.jobs.progress import read_progress
from api.console.pages.names import read_names
from shared.jobs.commands import Kind
from shared.jobs.states import State

FILTERS = ("state", "kind", "serverId", "registryId", "applicationId")
LIMIT = 50


async def show_all(page: Page) -> Response:
    """List a page of jobs that match the filter, the newest first."""
    chosen = chosen_filters(page.query)
    cursor = {"cursor": page.query["cursor"]} if page.query.get("cursor") else {}
    found = await page.call("job.all", limit=LIMIT, **chosen, **cursor)
    return page.render(
        "jobs/all.html",
        jobs=[show_row(job) for job in found["jobs"]],
        next_cursor=found["nextCursor"],
        chosen=chosen,
        names=await read_names(page),
        states=[str(state) for state in State],
        kinds=sorted(str(kind) for kind in Kind),
    )


def chosen_filters(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the filters that are set."""
    return {name: fields[name] for name in FILTERS if fields.get(name)}


def show_row(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job with a line that says on what it works, and with its progress."""
    return {**job, "target": describe(job), "transfer": read_progress(job["progress"])}


def describe(job: dict[str, Any]) -> str:
    """Return on what a job works: an image, a registry or an application."""
    command = job["command"]
    return str(
        next((command[key] for key in ("reference", "host", "name") if command.get(key)), "")
    )


ROUTES = (PageRoute("/jobs", show_all),)
