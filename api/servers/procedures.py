"""Servers: create them with a join token, show, change, pause and remove them."""

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from sqlmodel import col, func, insert, select
from sqlmodel import update as sql_update
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import AlreadyJoinedError
from api.fields import dokploy
from api.fields.effects import NotBeside
from api.fields.networks import Networks
from api.fields.shapes import Change, Id, Input, Name, NoInput, Text
from api.procedure.audit import audit_event
from api.procedure.auth import hash_secret, make_secret
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.usage import require_unused_server
from api.servers.enrolment import JOIN_TOKEN_LIFETIME, JOIN_TOKEN_PREFIX
from api.servers.queries import find_server, list_servers, store_server
from api.servers.schemas import (
    BOTH_ROLES,
    ChangedServer,
    ChosenServer,
    CreatedServer,
    JoinToken,
    Roles,
    ServerAddress,
    ServerOutput,
    ServerType,
    roles_of,
    type_of,
)
from shared.ids import make_id
from shared.jobs.commands import JobClass
from shared.models import Server, ServerEnrolment, ServerToken


class CreateServer(Input):
    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.SERVER

    name: Name
    description: Text = ""
    ip_address: ServerAddress = None
    roles: Roles = BOTH_ROLES
    server_type: Annotated[ServerType | None, NotBeside("roles")] = None
    networks: Networks = Field(default_factory=list)

    @property
    def chosen_roles(self) -> list[str]:
        if "roles" in self.model_fields_set or self.server_type is None:
            return sorted(set(self.roles))
        return roles_of(self.server_type)


class UpdateServer(Change):
    """The fields to change; fields that are left out do not change.

    ``ipAddress`` is only shown; ``null`` or nothing takes it away.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.SERVER
    NEVER_NULL: ClassVar[frozenset[str]] = frozenset({"name", "serverType"})

    server_id: Id
    name: Name = ""
    description: Text = ""
    ip_address: ServerAddress = None
    roles: Roles = BOTH_ROLES
    server_type: Annotated[ServerType | None, NotBeside("roles")] = None
    networks: Networks = Field(default_factory=list)


class ChosenQueue(Input):
    """The jobs of one class of a server, or all of them."""

    server_id: Id
    job_class: Literal["quick", "transfer", "build"] | None = None


async def create(context: Context, request: CreateServer) -> CreatedServer:
    """Create a server, and the join token for its worker."""
    server = Server(
        server_id=make_id(),
        organization_id=context.organization_id,
        name=request.name,
        description=request.description,
        ip_address=request.ip_address,
        roles=request.chosen_roles,
        networks=list(request.networks),
    )
    async with context.transaction() as session:
        await store_server(session, server)
        token = await _make_token(session, server)
        session.add(audit_event(context, "server.create", server.server_id, name=server.name))
        await session.refresh(server)
    shown = ServerOutput.of(server, online=False)
    pin = context.resources.ca_sha256
    return CreatedServer(**shown.model_dump(), join_token=token, ca_sha256=pin)


async def create_join_token(context: Context, request: ChosenServer) -> JoinToken:
    """Create another join token for a server that has not joined yet.

    Raises:
        AlreadyJoinedError: it has joined; its key is never replaced.
    """
    async with context.transaction() as session:
        server, _ = await find_server(session, context, request.server_id, lock=True)
        if await session.get(ServerEnrolment, server.server_id) is not None:
            raise AlreadyJoinedError(
                f"the server {server.name} has already joined",
                remedy="To join it again, remove it first: wharf server remove NAME.",
            )
        token = await _make_token(session, server)
        session.add(audit_event(context, "server.createJoinToken", server.server_id))
    pin = context.resources.ca_sha256
    return JoinToken(server_id=server.server_id, join_token=token, ca_sha256=pin)


async def get_all(context: Context, _request: NoInput) -> list[ServerOutput]:
    """List all servers of the organization, the oldest first."""
    return await list_servers(context)


async def get_build_servers(context: Context, _request: NoInput) -> list[ServerOutput]:
    """List the servers that build, the oldest first."""
    return [server for server in await list_servers(context) if "build" in server.roles]


async def one(context: Context, request: ChosenServer) -> ServerOutput:
    """Return one server."""
    async with context.transaction() as session:
        server, online = await find_server(session, context, request.server_id)
    return ServerOutput.of(server, online=online)


async def update(context: Context, request: UpdateServer) -> ChangedServer:
    """Change a server's name, description, address, roles or networks."""
    given = sorted(request.model_fields_set - {"server_id", "server_type"})
    server_type = request.server_type if "roles" not in given else None
    async with context.transaction() as session:
        server, online = await find_server(session, context, request.server_id, lock=True)
        for field in given:
            value = getattr(request, field)
            setattr(server, field, sorted(set(value)) if field == "roles" else value)
        if server_type is not None and server_type != type_of(server.roles):
            server.roles = roles_of(server_type)
            given.append("roles")
        await store_server(session, server)
        session.add(audit_event(context, "server.update", server.server_id, changed=given))
    return ChangedServer.of(server, online=online)


async def remove(context: Context, request: ChosenServer) -> ServerOutput:
    """Remove a server: its worker loses access, and the jobs that wait for it are cancelled.

    A server that an application uses is not removed.
    """
    async with context.transaction() as session:
        server, _ = await find_server(session, context, request.server_id, lock=True)
        await require_unused_server(session, server)
        await session.exec(
            sql_update(Server)
            .where(col(Server.server_id) == server.server_id)
            .values(removed_at=func.now())
        )
        session.add(audit_event(context, "server.remove", server.server_id, name=server.name))
    return ServerOutput.of(server, online=False)


async def pause(context: Context, request: ChosenQueue) -> ServerOutput:
    """Send a server no new jobs, of one class or of all. Its running jobs continue."""
    return await _set_paused(context, request, "server.pause", set.union)


async def drain(context: Context, request: ChosenServer) -> ServerOutput:
    """Empty a server: it gets no new jobs, and its running transfers go back to the queue.

    Other running jobs, as builds and deployments, continue to their end. What is queued waits for
    `server.resume`. A worker that is older finishes its transfers too.
    """
    async with context.transaction() as session:
        server, online = await find_server(session, context, request.server_id, lock=True)
        await session.exec(
            sql_update(Server)
            .where(col(Server.server_id) == server.server_id)
            .values(
                paused_classes=sorted(JobClass),
                paused_at=func.coalesce(Server.paused_at, func.now()),
                drain_requested_at=func.coalesce(Server.drain_requested_at, func.now()),
            )
        )
        await session.exec(select(func.send_notification("wharf_heartbeat", server.server_id)))
        session.add(audit_event(context, "server.drain", server.server_id))
        await session.refresh(server)
    return ServerOutput.of(server, online=online)


async def resume(context: Context, request: ChosenQueue) -> ServerOutput:
    """Resume a paused or drained server, for one class of jobs or for all."""
    return await _set_paused(context, request, "server.resume", set.difference)


async def _set_paused(
    context: Context,
    request: ChosenQueue,
    action: str,
    change: Callable[[set[str], set[str]], set[str]],
) -> ServerOutput:
    chosen = {request.job_class} if request.job_class else {*JobClass}
    async with context.transaction() as session:
        server, online = await find_server(session, context, request.server_id, lock=True)
        paused = change(set(server.paused_classes), set(chosen))
        since = func.coalesce(Server.paused_at, func.now()) if paused else None
        await session.exec(
            sql_update(Server)
            .where(col(Server.server_id) == server.server_id)
            .values(
                paused_classes=sorted(paused),
                paused_at=since,
                drain_requested_at=Server.drain_requested_at
                if len(paused) == len(JobClass)
                else None,
            )
        )
        session.add(audit_event(context, action, server.server_id, classes=sorted(chosen)))
        await session.refresh(server)
    return ServerOutput.of(server, online=online)


async def _make_token(session: AsyncSession, server: Server) -> str:
    token = make_secret(JOIN_TOKEN_PREFIX)
    await session.exec(
        insert(ServerToken).values(
            token_hash=hash_secret(token),
            server_id=server.server_id,
            expires_at=func.now() + JOIN_TOKEN_LIFETIME,
        )
    )
    return token


PROCEDURES = (
    Procedure("server.create", "mutation", CreateServer, CreatedServer, create, "admin"),
    Procedure(
        "server.createJoinToken", "mutation", ChosenServer, JoinToken, create_join_token, "admin"
    ),
    Procedure("server.all", "query", NoInput, list[ServerOutput], get_all),
    Procedure("server.buildServers", "query", NoInput, list[ServerOutput], get_build_servers),
    Procedure("server.one", "query", ChosenServer, ServerOutput, one),
    Procedure("server.update", "mutation", UpdateServer, ChangedServer, update, "admin"),
    Procedure("server.remove", "mutation", ChosenServer, ServerOutput, remove, "admin"),
    Procedure("server.pause", "mutation", ChosenQueue, ServerOutput, pause, "admin"),
    Procedure("server.drain", "mutation", ChosenServer, ServerOutput, drain, "admin"),
    Procedure("server.resume", "mutation", ChosenQueue, ServerOutput, resume, "admin"),
)
