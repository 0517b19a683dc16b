"""Names of objects that a page shows by their ids."""

from api.console.page import Page


async def name_servers(page: Page) -> dict[str, str]:
    """Return the names of the servers by their ids."""
    return {each["serverId"]: each["name"] for each in await page.call("server.all")}


async def choose_server(page: Page) -> list[tuple[str, str]]:
    """Return the choices of a server for a test: any one, or one that is online."""
    online = [each for each in await page.call("server.all") if each["online"]]
    return [
        ("", "any server that is online"),
        *((each["serverId"], each["name"]) for each in online),
    ]


async def name_applications(page: Page) -> dict[str, str]:
    """Return the names of the applications by their ids."""
    return {each["applicationId"]: each["name"] for each in await page.call("application.all")}
