"""Servers: the list, one server, what is paused, and its removal."""

from collections import Counter

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.servers.facts import (
    Server,
    count_slots,
    describe_engine,
    find_active,
    find_disk,
    state_of,
    warn_of,
)
from api.jobs.wait_reasons import approve_line
from shared.errors import WharfError

SERVERS = f"{ROOT}/servers"
STATES = ("online", "offline", "paused", "drained", "draining", "not_approved", "never_joined")


async def show_all(page: Page) -> Response:
    """List the servers; ``q`` filters by name, address and Engine, ``state`` by state."""
    found = await page.call("server.all")
    words, wanted = page.query.get("q", "").lower().split(), page.query.get("state", "")
    jobs = await find_active(page)
    counts = Counter(job["serverId"] for job in jobs)
    states = {each["serverId"]: state_of(each, counts[each["serverId"]]) for each in found}
    shown = [
        each
        for each in found
        if all(word in _searched(each) for word in words)
        and wanted in {"", states[each["serverId"]]}
    ]
    return page.render(
        "servers/all.html",
        servers=shown,
        states=states,
        all_states=STATES,
        count=len(found),
        engines={each["serverId"]: describe_engine(each) for each in shown},
        disks={each["serverId"]: find_disk(each) for each in shown},
        warnings={each["serverId"]: warn_of(each) for each in shown},
        jobs=counts,
    )


async def show(page: Page) -> Response:
    """Show one server: its presence, its Engine, its slots and what runs there."""
    return await render_one(page)


async def check(page: Page) -> Response:
    """Send a job to the server and back; show which part of the path works."""
    try:
        path = await page.call("server.check", serverId=page.param("server_id"))
    except WharfError as error:
        return await render_one(page, fault=error)
    return await render_one(page, parts=path["parts"])


async def pause(page: Page) -> Response:
    """Send no new jobs of one class, or of all."""
    return await _set_paused(page, "server.pause", "It gets no new {} jobs.")


async def resume(page: Page) -> Response:
    """Send jobs of one class, or of all, again."""
    return await _set_paused(page, "server.resume", "It gets {} jobs again.")


async def drain(page: Page) -> Response:
    """Send no new jobs, and take back the running transfers."""
    try:
        await page.call("server.drain", serverId=page.param("server_id"))
    except WharfError as error:
        return await render_one(page, fault=error)
    path = f"{SERVERS}/{page.param('server_id')}"
    return page.redirect(path, "It is being drained: it gets no new jobs.")


async def confirm_removal(page: Page) -> Response:
    """Show what runs on the server, before it is removed."""
    return await _render_removal(page)


async def remove(page: Page) -> Response:
    """Remove the server: its worker loses its access."""
    try:
        removed = await page.call("server.remove", serverId=page.param("server_id"))
    except WharfError as error:
        return await _render_removal(page, error)
    return page.redirect(SERVERS, f"{removed['name']} is removed.")


async def render_one(
    page: Page, *, fault: WharfError | None = None, parts: list[Server] | None = None
) -> Response:
    """Render a server, with the error of an action or the parts of a check."""
    server = await page.call("server.one", serverId=page.param("server_id"))
    jobs = await find_active(page, serverId=server["serverId"])
    return page.render(
        "servers/one.html",
        error=fault,
        parts=parts,
        server=server,
        state=state_of(server, len(jobs)),
        warnings=warn_of(server),
        approve=approve_line(server["name"]),
        engine=describe_engine(server),
        disk=find_disk(server),
        slots=count_slots(server, jobs),
        jobs=jobs,
        applications=await _find_applications(page, server),
    )


async def _set_paused(page: Page, procedure: str, notice: str) -> Response:
    job_class = page.form.get("class", "")
    chosen = {"jobClass": job_class} if job_class else {}
    try:
        await page.call(procedure, serverId=page.param("server_id"), **chosen)
    except WharfError as error:
        return await render_one(page, fault=error)
    path = f"{SERVERS}/{page.param('server_id')}"
    return page.redirect(path, " ".join(notice.format(job_class).split()))


async def _render_removal(page: Page, fault: WharfError | None = None) -> Response:
    server = await page.call("server.one", serverId=page.param("server_id"))
    return page.render(
        "servers/remove.html",
        fault=fault,
        server=server,
        applications=await _find_applications(page, server),
        jobs=await find_active(page, serverId=server["serverId"]),
    )


async def _find_applications(page: Page, server: Server) -> list[Server]:
    return [
        each
        for each in await page.call("application.all")
        if server["serverId"] in {*each["serverIds"], each["buildServerId"]}
    ]


def _searched(server: Server) -> str:
    engine = describe_engine(server).get("Docker Engine", "")
    texts = (server["name"], server["description"], server["ipAddress"], engine)
    return " ".join(texts).lower()


ROUTES = (
    PageRoute("/servers", show_all),
    PageRoute("/servers/{server_id}", show),
    PageRoute("/servers/{server_id}/check", check, "POST"),
    PageRoute("/servers/{server_id}/pause", pause, "POST"),
    PageRoute("/servers/{server_id}/drain", drain, "POST"),
    PageRoute("/servers/{server_id}/resume", resume, "POST"),
    PageRoute("/servers/{server_id}/remove", confirm_removal),
    PageRoute("/servers/{server_id}/remove", remove, "POST"),
)
