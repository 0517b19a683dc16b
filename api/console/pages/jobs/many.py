"""Cancel or retry all jobs that match a filter, after a page that lists them."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.jobs.overview import chosen_filters, show_row
from api.console.pages.names import read_names
from api.errors import AlreadyEndedError, NotRepeatableError
from api.images.retry import PROCEDURES_OF
from api.procedure.auth import require_role
from shared.errors import ForbiddenError, InvalidInputError, NotFoundError, WharfError
from shared.jobs.commands import Kind
from shared.jobs.states import FINAL, State

MOST = 200
AT_ONCE = 8


@dataclass(frozen=True)
class Many:
    """An action on many jobs: its procedure, and the states and kinds of the jobs that have it."""

    name: str
    procedure: str
    done: str
    states: tuple[State, ...]
    kinds: frozenset[Kind]

    async def ask(self, page: Page) -> Response:
        """List the jobs that would be concerned."""
        chosen = chosen_filters(page.query)
        jobs = await self._find(page, chosen)
        return page.render(
            "jobs/many.html",
            action=self.name,
            jobs=[show_row(job) for job in jobs],
            most=MOST,
            chosen=chosen,
            back=_list_address(chosen),
            names=await read_names(page),
        )

    async def act(self, page: Page) -> Response:
        """Do it to the jobs that the page has listed, and to no others."""
        require_role(page.caller, "member")
        ids = [each for each in page.form.get("jobIds", "").split(",") if each]
        if len(ids) > MOST:
            raise InvalidInputError(f"more than {MOST} jobs are chosen", remedy="Choose fewer.")
        room = asyncio.Semaphore(AT_ONCE)

        async def one(job_id: str) -> str:
            async with room:
                return await self._do(page, job_id)

        counts = Counter(await asyncio.gather(*(one(job_id) for job_id in ids)))
        notice = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        return page.redirect(_list_address(chosen_filters(page.form)), f"Jobs: {notice or 'none'}.")

    async def _do(self, page: Page, job_id: str) -> str:
        """Return what became of a job, as words after a number of such jobs."""
        try:
            await page.call(self.procedure, jobId=job_id)
        except (AlreadyEndedError, NotFoundError):
            return "had ended already"
        except ForbiddenError:
            return f"you may not {self.name}"
        except NotRepeatableError:
            return "cannot be repeated"
        except WharfError as error:
            return f"failed ({error.code})"
        return self.done

    async def _find(self, page: Page, chosen: dict[str, str]) -> list[dict[str, Any]]:
        """Return the matching jobs that have the action, the newest first."""
        found: list[dict[str, Any]] = []
        for state in self.states:
            if chosen.get("state") in {None, state}:
                wanted = {**chosen, "state": str(state), "limit": MOST}
                found += (await page.call("job.all", **wanted))["jobs"]
        fitting = [job for job in found if job["kind"] in self.kinds]
        return sorted(fitting, key=lambda job: str(job["jobId"]), reverse=True)[:MOST]


CANCEL = Many(
    "cancel",
    "job.cancel",
    "cancelled",
    states=tuple(state for state in State if not state.is_final),
    kinds=frozenset(Kind),
)
RETRY = Many(
    "retry",
    "job.retry",
    "repeated",
    states=tuple(state for state in State if state in FINAL - {State.SUCCEEDED}),
    kinds=frozenset(PROCEDURES_OF),
)


def _list_address(chosen: dict[str, str]) -> str:
    return f"{ROOT}/jobs?{urlencode(chosen)}" if chosen else f"{ROOT}/jobs"


ROUTES = (
    *(PageRoute(f"/jobs/{each.name}", each.ask) for each in (CANCEL, RETRY)),
    *(PageRoute(f"/jobs/{each.name}", each.act, "POST") for each in (CANCEL, RETRY)),
)
