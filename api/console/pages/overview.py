"""The first page: what needs attention, and what happened in the last day."""

from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from api.console.charts import draw_hours
from api.console.page import Page, PageRoute

WARN_SECONDS = 14 * 86400


async def show(page: Page) -> Response:
    """Show the state of the fleet."""
    registries = await page.call("registry.all")
    servers = await page.call("server.all")
    statistics = await page.call("job.statistics")
    now = datetime.now(UTC)
    return page.render(
        "overview.html",
        servers=servers,
        away=[each for each in servers if not each["online"]],
        registries=registries,
        troubled=[found for each in registries if (found := find_trouble(each, now))],
        applications=await page.call("application.all"),
        statistics=statistics,
        chart=draw_hours(statistics["hours"]),
    )


def find_trouble(registry: dict[str, Any], now: datetime) -> dict[str, Any] | None:
    """Return what is wrong with a registry's login, or soon will be; ``None`` if it is well."""
    found = {"id": registry["registryId"], "name": registry["registryName"], "at": None}
    expires = registry["passwordExpiresAt"]
    due = registry["passwordDueAt"]
    if registry["credentialError"]:
        return {
            **found,
            "state": "error",
            "why": registry["credentialError"]["message"],
            "at": None,
        }
    if registry["login"] and registry["login"]["state"] == "refused":
        return {**found, "state": "refused", "why": "the registry refuses the login"}
    if expires and datetime.fromisoformat(expires) <= now:
        return {**found, "state": "expired", "why": "the login has expired", "at": expires}
    if due and (datetime.fromisoformat(due) - now).total_seconds() < WARN_SECONDS:
        return {**found, "state": "due", "why": "the password is due for a change", "at": due}
    return None


ROUTES = (PageRoute("", show),)
