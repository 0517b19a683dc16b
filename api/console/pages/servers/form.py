"""Add a server with the command that joins it, and change a server."""

import shlex
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

from api.console.guard import require_unchanged, write_seen
from api.console.page import Page, PageRoute
from api.console.pages.servers.one import SERVERS, render_one
from api.jobs.wait_reasons import approve_line
from api.procedure.auth import require_role
from shared.errors import WharfError
from shared.networks import is_address

ROLES = (("deploy", "deploys applications"), ("build", "builds images"))


async def show_new(page: Page) -> Response:
    """Show the empty form."""
    require_role(page.caller, "admin")
    return _render(page, None, values=dict.fromkeys(("role:deploy", "role:build"), "true"))


async def create(page: Page) -> Response:
    """Create the server; show its join command, once."""
    try:
        created = await page.call("server.create", **_read(page))
    except WharfError as error:
        return _render(page, None, error)
    return _show_command(page, created, created["name"])


async def renew(page: Page) -> Response:
    """Show another join command for a server that has not joined."""
    server_id = page.param("server_id")
    try:
        made = await page.call("server.createJoinToken", serverId=server_id)
    except WharfError as error:
        return await render_one(page, fault=error)
    server = await page.call("server.one", serverId=server_id)
    return _show_command(page, made, server["name"])


async def show_stored(page: Page) -> Response:
    """Show the form of a stored server."""
    server = await page.call("server.one", serverId=page.param("server_id"))
    require_role(page.caller, "admin")
    return _render(page, server)


async def update(page: Page) -> Response:
    """Change the fields that differ from the stored ones."""
    server_id = page.param("server_id")
    version = await page.read_version("server", server_id)
    server = await page.call("server.one", serverId=server_id)
    changes = {name: value for name, value in _read(page).items() if value != server[name]}
    try:
        require_unchanged(page.form, _show(server))
        await page.call_if_unchanged(version, "server.update", serverId=server_id, **changes)
    except WharfError as error:
        return _render(page, server, error)
    return page.redirect(f"{SERVERS}/{server_id}", page.with_warnings("The server is changed."))


def make_join_command(url: str, token: str, ca_sha256: str | None) -> str:
    """Return the command to run on a new server; it pins the internal CA, if there is one."""
    pin = f"WHARF_CA_SHA256={shlex.quote(ca_sha256)} " if ca_sha256 else ""
    return f"WHARF_URL={shlex.quote(url)} {pin}WHARF_JOIN_TOKEN={shlex.quote(token)} wharf worker"


def _read(page: Page) -> dict[str, Any]:
    form = page.form
    return {
        "name": form.get("name", "").strip(),
        "description": form.get("description", "").strip(),
        "ipAddress": form.get("ipAddress", "").strip(),
        "roles": sorted(role for role, _ in ROLES if form.get(f"role:{role}") == "true"),
    }


def _render(
    page: Page,
    server: dict[str, Any] | None,
    fault: WharfError | None = None,
    values: dict[str, str] | None = None,
) -> Response:
    stored = _show(server) if server else values or {}
    return page.render(
        "servers/form.html",
        fault=fault,
        server=server,
        seen=write_seen(stored) if server else "",
        values=page.form or stored,
        roles=ROLES,
    )


def _show(server: dict[str, Any]) -> dict[str, str]:
    texts = {name: server[name] for name in ("name", "description", "ipAddress")}
    return texts | {f"role:{role}": "true" for role in server["roles"]}


def _show_command(page: Page, made: dict[str, Any], name: str) -> Response:
    url = str(page.request.base_url).rstrip("/")
    return page.render(
        "servers/join.html",
        server_id=made["serverId"],
        name=name,
        command=make_join_command(url, made["joinToken"], made["caSha256"]),
        approve=approve_line(name),
        url=url,
        is_local=_is_local(url),
    )


def _is_local(url: str) -> bool:
    """Return whether only this machine can reach the address."""
    host = urlsplit(url).hostname or ""
    return host == "localhost" or (is_address(host) and host.startswith(("127.", "::1")))


ROUTES = (
    PageRoute("/servers/new", show_new),
    PageRoute("/servers/new", create, "POST"),
    PageRoute("/servers/{server_id}/edit", show_stored),
    PageRoute("/servers/{server_id}/edit", update, "POST"),
    PageRoute("/servers/{server_id}/token", renew, "POST"),
)
