"""The installation as Dokploy's clients ask for it: health, version, number of servers."""

from typing import Literal

from api.fields.shapes import NoInput, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.servers.queries import list_servers

DOKPLOY_VERSION = "v0.30.7"
"""The version of Dokploy whose command line and MCP server are tested against this API."""


class Health(Output):
    """The answer of a process that serves requests; ``/readyz`` checks the database too."""

    status: Literal["ok"] = "ok"


async def get_health(_context: Context, _request: NoInput) -> Health:
    """Answer that this process serves requests."""
    return Health()


async def get_version(_context: Context, _request: NoInput) -> str:
    """Return the version of Dokploy whose clients are supported. It is not Wharfinger's."""
    return DOKPLOY_VERSION


async def is_cloud(_context: Context, _request: NoInput) -> bool:
    """Return false: this is not Dokploy's hosted service."""
    return False


async def count_servers(context: Context, _request: NoInput) -> int:
    """Return the number of servers of the organization."""
    return len(await list_servers(context))


PROCEDURES = (
    Procedure("settings.health", "query", NoInput, Health, get_health, role=None),
    Procedure("settings.getDokployVersion", "query", NoInput, str, get_version),
    Procedure("settings.isCloud", "query", NoInput, bool, is_cloud),
    Procedure("server.count", "query", NoInput, int, count_servers),
)
