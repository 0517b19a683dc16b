"""The matrix: each registry tested from each server, and the report of a cell."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.registries.reports import ShownTest, read_report, read_test
from shared.errors import NotFoundError, WharfError
from shared.jobs.commands import Kind

MAX_ROWS = 50
MAX_COLUMNS = 12
MAX_CELLS = 2000
"""A larger matrix is read only for the servers that are shown."""

HISTORY = 20
ACTIVE = ("queued", "dispatched", "running")
JOBS = 200
CELL = {"registryId": "registry_id", "serverId": "server_id"}
"""The fields that name a cell, and the parts of its address."""


async def show(page: Page) -> Response:
    """Show the matrix; ``q`` filters registries, ``server`` servers, ``state`` cells."""
    return await _render(page)


async def test_all(page: Page) -> Response:
    """Start the tests of all registries from all servers, or of those that are named."""
    named = {
        field: [page.form[name]]
        for name, field in (("registry", "registryIds"), ("server", "serverIds"))
        if page.form.get(name)
    }
    try:
        begun = await page.start("registry.testOnServers", **named)
    except WharfError as error:
        return await _render(page, error)
    count = len(begun["cells"])
    notice = f"{count} tests have begun." if count else "No test has begun: no server is online."
    return page.redirect(f"{ROOT}/matrix", notice)


async def show_cell(page: Page) -> Response:
    """Show the stages of the newest test of a registry from a server, or of ``job``."""
    return await _render_cell(page)


async def test_cell(page: Page) -> Response:
    """Start the test of a registry from a server; its stages appear in the cell."""
    chosen = {name: page.param(key) for name, key in CELL.items()}
    try:
        await page.start("registry.diagnose", **chosen)
    except NotFoundError:
        raise
    except WharfError as error:
        return await _render_cell(page, error)
    return page.redirect(f"{ROOT}/matrix/{chosen['registryId']}/{chosen['serverId']}")


async def _render_cell(page: Page, fault: WharfError | None = None) -> Response:
    chosen = {name: page.param(key) for name, key in CELL.items()}
    registry, server = await asyncio.gather(
        page.call("registry.one", registryId=chosen["registryId"]),
        page.call("server.one", serverId=chosen["serverId"]),
    )
    found, running = await asyncio.gather(
        page.call("registry.matrix", **chosen, history=HISTORY), _find_running_test(page, chosen)
    )
    checks = [check for cell in found["cells"] for check in (cell, *cell["history"])]
    job_id = page.query.get("job", "")
    check = next((each for each in checks if job_id in {"", each["jobId"]}), None)
    if check is None and job_id:
        raise NotFoundError("Test not found")
    return page.render(
        "matrix/cell.html",
        error=fault,
        running=running,
        registry=registry,
        server=server,
        check=check,
        checks=checks,
        report=await _find_report(page, check["jobId"]) if check else None,
    )


async def _render(page: Page, fault: WharfError | None = None) -> Response:
    all_registries, all_servers, running = await asyncio.gather(
        page.call("registry.all"), page.call("server.all"), _find_running(page)
    )
    registries = _matching(all_registries, "registryName", page.query.get("q"))
    servers = _matching(all_servers, "name", page.query.get("server"))
    row, column = (_offset(page.query.get(name, "")) for name in ("row", "column"))
    is_whole = len(all_registries) * len(all_servers) <= MAX_CELLS
    matrices = await _read_matrices(page, None if is_whole else servers[column:][:MAX_COLUMNS])
    cells = {
        (cell["registryId"], cell["serverId"]): cell for each in matrices for cell in each["cells"]
    }
    if state := page.query.get("state"):
        found = {pair for pair, cell in cells.items() if cell["state"] == state}
        rows, columns = {pair[0] for pair in found}, {pair[1] for pair in found}
        registries = [each for each in registries if each["registryId"] in rows]
        servers = [each for each in servers if not is_whole or each["serverId"] in columns]
    return page.render(
        "matrix/all.html",
        error=fault,
        registries=registries[row:][:MAX_ROWS],
        registry_count=len(registries),
        servers=servers[column:][:MAX_COLUMNS],
        server_count=len(servers),
        row=row,
        column=column,
        max_rows=MAX_ROWS,
        max_columns=MAX_COLUMNS,
        is_whole=is_whole,
        cells=cells,
        running=running,
        differences=[text for each in matrices for text in each["differences"]],
    )


async def _read_matrices(
    page: Page, servers: Sequence[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """Read the cells of these servers, one by one; without them the whole matrix."""
    if servers is None:
        return [await page.call("registry.matrix")]
    chosen = [each["serverId"] for each in servers]
    found = await asyncio.gather(*(page.call("registry.matrix", serverId=one) for one in chosen))
    return list(found)


async def _find_running(page: Page) -> dict[tuple[str, str], str]:
    """Return the states of the tests that have not ended, by registry and server."""
    pages = await asyncio.gather(
        *(
            page.call("job.all", state=state, kind=Kind.REGISTRY_TEST, limit=JOBS)
            for state in ACTIVE
        )
    )
    return {
        (job["registryId"], job["serverId"]): job["state"]
        for each in pages
        for job in each["jobs"]
        if job["registryId"]
    }


async def _find_running_test(page: Page, chosen: dict[str, str]) -> ShownTest | None:
    """Return the newest test of a cell that has not ended."""
    jobs = await asyncio.gather(
        *(
            page.call("job.all", state=state, kind=Kind.REGISTRY_TEST, limit=1, **chosen)
            for state in ACTIVE
        )
    )
    found = max((job["jobId"] for each in jobs for job in each["jobs"]), default=None)
    return read_test(await page.call("job.one", jobId=found)) if found else None


async def _find_report(page: Page, job_id: str) -> dict[str, Any] | None:
    """Return the report of a test; jobs are deleted after a while, and their reports with them."""
    try:
        return read_report(await page.call("job.one", jobId=job_id))
    except NotFoundError:
        return None


def _matching(found: list[dict[str, Any]], name: str, wanted: str | None) -> list[dict[str, Any]]:
    words = (wanted or "").lower().split()
    return [each for each in found if all(word in each[name].lower() for word in words)]


def _offset(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


ROUTES = (
    PageRoute("/matrix", show),
    PageRoute("/matrix", test_all, "POST"),
    PageRoute("/matrix/{registry_id}/{server_id}", show_cell),
    PageRoute("/matrix/{registry_id}/{server_id}", test_cell, "POST"),
)
