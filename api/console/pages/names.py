"""Names of objects that a page shows by their ids."""

import asyncio
from dataclasses import dataclass
from typing import Any

from api.console.page import Page
from shared.errors import WharfError

Options = list[tuple[str, str]]
Servers = list[dict[str, Any]]


@dataclass(frozen=True)
class Names:
    """Names by id; an id whose object was removed is its own name."""

    servers: dict[str, str]
    registries: dict[str, str]
    applications: dict[str, str]

    def options(self, kind: str, first: str = "") -> Options:
        """Return values and texts for a select, in order of the names; ``first`` is for none."""
        names: dict[str, str] = getattr(self, kind)
        chosen = sorted(names.items(), key=lambda item: item[1].lower())
        return [("", first), *chosen] if first else chosen


async def read_names(page: Page) -> Names:
    """Read the names of everything that a job or an application refers to."""
    servers, registries, applications = await asyncio.gather(
        page.call("server.all"), page.call("registry.all"), page.call("application.all")
    )
    return Names(
        servers={each["serverId"]: each["name"] for each in servers},
        registries={each["registryId"]: each["registryName"] for each in registries},
        applications={each["applicationId"]: each["name"] for each in applications},
    )


async def name_parts(page: Page, job: dict[str, Any]) -> Names:
    """Read the names of what one job refers to."""
    ids = {
        "servers": ("server.one", "serverId", job["serverId"], "name"),
        "registries": ("registry.one", "registryId", job["registryId"], "registryName"),
        "applications": (
            "application.one",
            "applicationId",
            job["command"].get("applicationId"),
            "name",
        ),
    }
    found = await asyncio.gather(*(_name(page, *each) for each in ids.values()))
    return Names(*found)


async def _name(
    page: Page, procedure: str, field: str, value: str | None, name: str
) -> dict[str, str]:
    if not value:
        return {}
    try:
        return {value: (await page.call(procedure, **{field: value}))[name]}
    except WharfError:
        return {}


def name_servers(servers: Servers) -> dict[str, str]:
    """Return the names of the servers by their ids."""
    return {each["serverId"]: each["name"] for each in servers}


def choose_server(servers: Servers) -> Options:
    """Return the choices of a server for a test: any one, or one that is online."""
    online = [(each["serverId"], each["name"]) for each in servers if each["online"]]
    return [("", "any server that is online"), *online]


def name_applications(applications: list[dict[str, Any]]) -> dict[str, str]:
    """Return the names of the applications by their ids."""
    return {each["applicationId"]: each["name"] for each in applications}
