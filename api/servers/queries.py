"""Find, list and store the servers of an organization."""

from sqlalchemy import Boolean, literal_column
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import NameTakenError
from api.procedure.context import Context
from api.procedure.sessions import violates
from api.servers.schemas import ServerOutput
from shared.errors import NotFoundError
from shared.models import Server

NAME_CONSTRAINT = "server_name"

ONLINE = func.server_is_online(literal_column("server"), type_=Boolean)
"""True if the server's last heartbeat is recent, by PostgreSQL's clock."""


async def find_server(
    session: AsyncSession, context: Context, server_id: str, *, lock: bool = False
) -> tuple[Server, bool]:
    """Return the row, within the caller's organization, and whether its worker is online.

    Raises:
        NotFoundError: no such server in the organization.
    """
    query = select(Server, ONLINE).where(
        Server.organization_id == context.organization_id,
        Server.server_id == server_id,
        col(Server.removed_at).is_(None),
    )
    found = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if found is None:
        raise NotFoundError("Server not found")
    if lock:
        await context.require_expected(session, server_id)
    server, online = found
    return server, online


async def list_servers(context: Context) -> list[ServerOutput]:
    query = (
        select(Server, ONLINE)
        .where(Server.organization_id == context.organization_id, col(Server.removed_at).is_(None))
        .order_by(col(Server.created_at), Server.server_id)
    )
    async with context.transaction() as session:
        rows = (await session.exec(query)).all()
    return [ServerOutput.of(server, online=online) for server, online in rows]


async def store_server(session: AsyncSession, server: Server) -> None:
    session.add(server)
    name = server.name
    try:
        await session.flush()
    except IntegrityError as error:
        if not violates(error, NAME_CONSTRAINT):
            raise
        raise NameTakenError(
            f"a server named {name} already exists",
            remedy="Choose another name. If the server of this name has not joined yet, you can "
            "also create a new token for it: wharf server create NAME --renew.",
        ) from None
