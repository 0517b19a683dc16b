"""The matrix: each registry tested from each server, and the report of a cell."""

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.registries.reports import read_report
from shared.errors import NotFoundError, WharfError
from shared.jobs.commands import Kind

MAX_ROWS = 100
MAX_COLUMNS = 20
HISTORY = 20
ACTIVE = ("queued", "dispatched", "running")
JOBS = 200


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
    registry_id, server_id = page.param("registry_id"), page.param("server_id")
    registry = await page.call("registry.one", registryId=registry_id)
    server = await page.call("server.one", serverId=server_id)
    found = await page.call(
        "registry.matrix", registryId=registry_id, serverId=server_id, history=HISTORY
    )
    checks = [check for cell in found["cells"] for check in (cell, *cell["history"])]
    chosen = page.query.get("job", "")
    check = next((each for each in checks if chosen in {"", each["jobId"]}), None)
    if check is None and chosen:
        raise NotFoundError("Test not found")
    return page.render(
        "matrix/cell.html",
        registry=registry,
        server=server,
        check=check,
        checks=checks,
        report=await _find_report(page, check["jobId"]) if check else None,
    )


async def _render(page: Page, fault: WharfError | None = None) -> Response:
    registries = _matching(await page.call("registry.all"), "registryName", page.query.get("q"))
    servers = _matching(await page.call("server.all"), "name", page.query.get("server"))
    matrix = await page.call("registry.matrix")
    cells = {(each["registryId"], each["serverId"]): each for each in matrix["cells"]}
    if state := page.query.get("state"):
        found = {pair for pair, cell in cells.items() if cell["state"] == state}
        registries = [each for each in registries if _has(found, 0, each["registryId"])]
        servers = [each for each in servers if _has(found, 1, each["serverId"])]
    row, column = (_offset(page.query.get(name, "")) for name in ("row", "column"))
    return page.render(
        "matrix/all.html",
        error=fault,
        registries=registries[row : row + MAX_ROWS],
        registry_count=len(registries),
        servers=servers[column : column + MAX_COLUMNS],
        server_count=len(servers),
        row=row,
        column=column,
        max_rows=MAX_ROWS,
        max_columns=MAX_COLUMNS,
        cells=cells,
        running=await _find_running(page),
        differences=matrix["differences"],
    )


async def _find_running(page: Page) -> dict[tuple[str, str], str]:
    """Return the states of the tests that have not ended, by registry and server."""
    pages = [
        await page.call("job.all", state=state, kind=Kind.REGISTRY_TEST, limit=JOBS)
        for state in ACTIVE
    ]
    return {
        (job["registryId"], job["serverId"]): job["state"]
        for each in pages
        for job in each["jobs"]
        if job["registryId"]
    }


async def _find_report(page: Page, job_id: str) -> dict[str, Any] | None:
    """Return the report of a test; jobs are deleted after a while, and their reports with them."""
    try:
        return read_report(await page.call("job.one", jobId=job_id))
    except NotFoundError:
        return None


def _matching(found: list[dict[str, Any]], name: str, wanted: str | None) -> list[dict[str, Any]]:
    words = (wanted or "").lower().split()
    return [each for each in found if all(word in each[name].lower() for word in words)]


def _has(pairs: Iterable[tuple[str, str]], position: int, wanted: str) -> bool:
    return any(pair[position] == wanted for pair in pairs)


def _offset(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


ROUTES = (
    PageRoute("/matrix", show),
    PageRoute("/matrix", test_all, "POST"),
    PageRoute("/matrix/{registry_id}/{server_id}", show_cell),
)
