"""Cancel all jobs that match a filter, after a page that lists them."""

import asyncio
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.jobs.overview import chosen_filters, show_row
from api.console.pages.names import read_names
from api.errors import AlreadyEndedError
from api.procedure.auth import require_role
from shared.errors import ForbiddenError, InvalidInputError, NotFoundError
from shared.jobs.states import FINAL, State

MOST = 200
AT_ONCE = 8


async def ask(page: Page) -> Response:
    """List the jobs that would be cancelled."""
    chosen = chosen_filters(page.query)
    jobs = await _read_open(page, chosen)
    return page.render(
        "jobs/cancel.html",
        jobs=[show_row(job) for job in jobs],
        most=MOST,
        chosen=chosen,
        back=_list_address(chosen),
        names=await read_names(page),
    )


async def cancel(page: Page) -> Response:
    """Cancel the jobs that the page has listed, and no others."""
    require_role(page.caller, "member")
    ids = [each for each in page.form.get("jobIds", "").split(",") if each]
    if len(ids) > MOST:
        raise InvalidInputError(f"more than {MOST} jobs are cancelled", remedy="Cancel fewer.")
    room = asyncio.Semaphore(AT_ONCE)

    async def one(job_id: str) -> str:
        async with room:
            try:
                await page.call("job.cancel", jobId=job_id)
            except (AlreadyEndedError, NotFoundError):
                return "had ended already"
            except ForbiddenError:
                return "you may not cancel"
        return "cancelled"

    outcomes = await asyncio.gather(*(one(job_id) for job_id in ids))
    counts = {each: outcomes.count(each) for each in dict.fromkeys(outcomes)}
    notice = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return page.redirect(_list_address(chosen_filters(page.form)), f"Jobs: {notice or 'none'}.")


async def _read_open(page: Page, chosen: dict[str, str]) -> list[dict[str, Any]]:
    """Return the matching jobs that have not ended, the newest first."""
    states = (
        [chosen["state"]] if chosen.get("state") else [each for each in State if not each.is_final]
    )
    found: list[dict[str, Any]] = []
    for state in states:
        if state in FINAL:
            continue
        answer = await page.call("job.all", **{**chosen, "state": str(state), "limit": MOST})
        found += answer["jobs"]
    return sorted(found, key=lambda job: str(job["jobId"]), reverse=True)[:MOST]


def _list_address(chosen: dict[str, str]) -> str:
    return f"{ROOT}/jobs?{urlencode(chosen)}" if chosen else f"{ROOT}/jobs"


ROUTES = (
    PageRoute("/jobs/cancel", ask),
    PageRoute("/jobs/cancel", cancel, "POST"),
)
