"""Registries: the list, one registry, its test and its removal."""

import asyncio
from typing import Any

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.names import choose_server, name_applications, name_servers
from api.console.pages.registries.reports import read_test
from api.console.rendering import is_past
from shared.errors import WharfError
from shared.jobs.states import State

MAX_CELLS = 50
"""The tests that a registry's page shows; the matrix has all."""

LOGIN_STATES = ("accepted", "untested", "refused", "expired", "due")


async def show_all(page: Page) -> Response:
    """List the registries; ``q`` filters by name, host and username, ``login`` by its state."""
    found, servers = await asyncio.gather(page.call("registry.all"), page.call("server.all"))
    words, state = page.query.get("q", "").lower().split(), page.query.get("login", "")
    states = {each["registryId"]: login_states(each) for each in found}
    shown = [
        each
        for each in found
        if all(word in _searched(each) for word in words)
        and (not state or state in states[each["registryId"]])
    ]
    return page.render(
        "registries/all.html",
        registries=shown,
        states=states,
        all_states=LOGIN_STATES,
        count=len(found),
        servers=name_servers(servers),
    )


async def show(page: Page) -> Response:
    """Show one registry: its login's life, quota, uses, tests and rotation."""
    return await render_one(page)


async def render_one(page: Page, fault: WharfError | None = None) -> Response:
    """Render a registry, and above its content why an action failed."""
    registry_id = page.param("registry_id")
    registry = await page.call("registry.one", registryId=registry_id)
    matrix, servers, applications = await asyncio.gather(
        page.call("registry.matrix", registryId=registry_id),
        page.call("server.all"),
        page.call("application.all"),
    )
    return page.render(
        "registries/one.html",
        error=fault,
        registry=registry,
        states=login_states(registry),
        certificates=_certificates(registry),
        cells=_worst_first(matrix["cells"])[:MAX_CELLS],
        cell_count=len(matrix["cells"]),
        differences=matrix["differences"],
        servers=name_servers(servers),
        server_choices=choose_server(servers),
        applications=name_applications(applications),
    )


async def run_test(page: Page) -> Response:
    """Test the stored login from the chosen server; show the report of that test.

    A script gets the stages of the test, which it follows.
    """
    registry_id = page.param("registry_id")
    chosen = {"serverId": page.form["server"]} if page.form.get("server") else {}
    try:
        if page.is_fragment:
            begun = await page.start("registry.diagnose", registryId=registry_id, **chosen)
            job = await page.call("job.one", jobId=begun["jobId"])
            return page.render("jobs/stages.html", test=read_test(job))
        report = await page.call("registry.diagnose", registryId=registry_id, **chosen)
    except WharfError as error:
        return await render_one(page, error)
    cells = (await page.call("registry.matrix", registryId=registry_id, **chosen))["cells"]
    newest = max(cells, key=lambda cell: cell["checkedAt"] or "", default=None)
    path = f"{ROOT}/registries/{registry_id}"
    if newest is not None:
        path = f"{ROOT}/matrix/{registry_id}/{newest['serverId']}"
    return page.redirect(path, summarize(report))


async def confirm_removal(page: Page) -> Response:
    """Show what uses the registry, before it is removed."""
    return await _render_removal(page)


async def remove(page: Page) -> Response:
    """Remove the registry; one that is used only with ``force``."""
    is_forced = page.form.get("force") == "true"
    try:
        removed = await page.call(
            "registry.remove", registryId=page.param("registry_id"), force=is_forced
        )
    except WharfError as error:
        return await _render_removal(page, error)
    return page.redirect(f"{ROOT}/registries", f"{removed['registryName']} is removed.")


async def _render_removal(page: Page, fault: WharfError | None = None) -> Response:
    registry = await page.call("registry.one", registryId=page.param("registry_id"))
    return page.render("registries/remove.html", fault=fault, registry=registry)


def login_states(registry: dict[str, Any]) -> list[str]:
    """Return the states of a login, the worst first: a login may be refused and due."""
    life = registry["login"]["state"] if registry["login"] else "untested"
    return [
        *(["expired"] if is_past(registry["passwordExpiresAt"]) else []),
        life,
        *(["due"] if is_past(registry["passwordDueAt"]) else []),
    ]


def summarize(report: dict[str, Any]) -> str:
    """Return the outcome of a test as a sentence."""
    failed = [each for each in report["stages"] if each["outcome"] == "failed"]
    if failed:
        return f"The test failed at the stage {failed[0]['stage']}: {failed[0]['code']}."
    warned = [each["stage"] for each in report["stages"] if each["outcome"] == "warning"]
    return f"The test passed, with warnings: {', '.join(warned)}." if warned else "The test passed."


def _certificates(registry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = [("CA", each) for each in registry["caCertificates"]]
    client = registry["clientIdentity"]
    return [*found, ("client", client)] if client else found


def _worst_first(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(cells, key=lambda cell: cell["state"] == State.SUCCEEDED)


def _searched(registry: dict[str, Any]) -> str:
    names = ("registryName", "registryUrl", "username", "provider")
    return " ".join(registry[name] for name in names).lower()


ROUTES = (
    PageRoute("/registries", show_all),
    PageRoute("/registries/{registry_id}", show),
    PageRoute("/registries/{registry_id}/test", run_test, "POST"),
    PageRoute("/registries/{registry_id}/remove", confirm_removal),
    PageRoute("/registries/{registry_id}/remove", remove, "POST"),
)
