"""Servers: create them with a join token, show, change, pause and remove them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from sqlalchemy import Boolean, literal_column
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, func, insert, select
from sqlmodel import update as sql_update
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import AlreadyJoinedError, NameTakenError
from api.fields import dokploy
from api.fields.shapes import (
    Change,
    Document,
    Id,
    Input,
    Moment,
    Name,
    NoInput,
    Output,
    Text,
    Warned,
    show_document,
)
from api.procedure.audit import audit_event
from api.procedure.auth import hash_secret, make_secret
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.sessions import violates
from api.procedure.usage import require_unused_server
from api.servers.enrolment import JOIN_TOKEN_LIFETIME, JOIN_TOKEN_PREFIX
from shared.errors import NotFoundError
from shared.ids import make_id
from shared.jobs.commands import JobClass
from shared.models import Server, ServerEnrolment, ServerToken
from shared.models.server import ROLES

NAME_CONSTRAINT = "server_name"

ONLINE = func.server_is_online(literal_column("server"), type_=Boolean)
"""True if the server's last heartbeat is recent, by PostgreSQL's clock."""


SECOND_WORKER_SHOWN = timedelta(days=7)
"""The time for which a copied state directory is reported."""

RoleOfServer = Literal["deploy", "build"]
Roles = Annotated[list[RoleOfServer], Field(min_length=1, max_length=2)]
BOTH_ROLES: Any = Field(default_factory=lambda: list(ROLES))


class ServerOutput(Output):
    """A server, and whether its worker is online.

    ``engine`` describes its Docker Engine, at most a minute old; empty while the Engine does not
    answer. ``clockAheadSeconds`` is its clock minus the database's. It gets no new jobs while it is
    ``draining``, none of its ``pausedClasses``, and none before it is approved on a control host:
    ``wharf server approve``. ``secondWorkerAt`` is the time, in the last week, when two workers
    used its state directory.
    """

    server_id: str
    name: str
    description: str
    roles: list[RoleOfServer]
    created_at: Moment
    organization_id: str
    online: bool
    approved_at: Moment | None
    seen_at: Moment | None
    offline_since: Moment | None
    worker_version: str | None
    clock_ahead_seconds: float | None
    platform: str | None
    kinds: list[str]
    quick_limit: int
    transfer_limit: int
    build_limit: int
    draining: bool
    paused_at: Moment | None
    paused_classes: list[JobClass]
    engine: Document | None
    second_worker_at: Moment | None

    @classmethod
    def of(cls, server: Server, *, online: bool) -> Self:
        return cls.model_validate(
            {
                **server.model_dump(),
                "online": online,
                "offline_since": None if online else server.seen_at,
                "platform": _platform(server.engine or {}),
                "engine": show_document(server.engine),
                "second_worker_at": find_second_worker(server),
            }
        )


class ChangedServer(ServerOutput, Warned):
    """A changed server."""


class CreatedServer(ServerOutput, Warned):
    """``joinToken`` is shown only once and is valid for one enrolment within 15 minutes."""

    join_token: str


class JoinToken(Output):
    """``joinToken`` is shown only once and is valid for one enrolment within 15 minutes."""

    server_id: str
    join_token: str


class CreateServer(Input):
    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.SERVER

    name: Name
    description: Text = ""
    roles: Roles = BOTH_ROLES


class UpdateServer(Change):
    """The fields to change; fields that are left out do not change."""

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.SERVER
    NEVER_NULL: ClassVar[frozenset[str]] = frozenset({"name"})

    server_id: Id
    name: Name = ""
    description: Text = ""
    roles: Roles = BOTH_ROLES


class ChosenServer(Input):
    server_id: Id


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
        roles=sorted(set(request.roles)),
    )
    async with context.transaction() as session:
        await _store(session, server)
        token = await _make_token(session, server)
        session.add(audit_event(context, "server.create", server.server_id, name=server.name))
        await session.refresh(server)
    shown = ServerOutput.of(server, online=False)
    return CreatedServer(**shown.model_dump(), join_token=token)


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
    return JoinToken(server_id=server.server_id, join_token=token)


async def get_all(context: Context, _request: NoInput) -> list[ServerOutput]:
    """List all servers of the organization, the oldest first."""
    return await _list(context)


async def get_build_servers(context: Context, _request: NoInput) -> list[ServerOutput]:
    """List the servers that build, the oldest first."""
    return [server for server in await _list(context) if "build" in server.roles]


async def one(context: Context, request: ChosenServer) -> ServerOutput:
    """Return one server."""
    async with context.transaction() as session:
        server, online = await find_server(session, context, request.server_id)
    return ServerOutput.of(server, online=online)


async def update(context: Context, request: UpdateServer) -> ChangedServer:
    """Change a server's name, description or roles."""
    given = sorted(request.model_fields_set - {"server_id"})
    async with context.transaction() as session:
        server, online = await find_server(session, context, request.server_id, lock=True)
        for field in given:
            value = getattr(request, field)
            setattr(server, field, sorted(set(value)) if field == "roles" else value)
        await _store(session, server)
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


async def resume(context: Context, request: ChosenQueue) -> ServerOutput:
    """Resume a paused server, for one class of jobs or for all."""
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
            .values(paused_classes=sorted(paused), paused_at=since)
        )
        session.add(audit_event(context, action, server.server_id, classes=sorted(chosen)))
        await session.refresh(server)
    return ServerOutput.of(server, online=online)


async def _list(context: Context) -> list[ServerOutput]:
    query = (
        select(Server, ONLINE)
        .where(Server.organization_id == context.organization_id, col(Server.removed_at).is_(None))
        .order_by(col(Server.created_at), Server.server_id)
    )
    async with context.transaction() as session:
        rows = (await session.exec(query)).all()
    return [ServerOutput.of(server, online=online) for server, online in rows]


async def _store(session: AsyncSession, server: Server) -> None:
    session.add(server)
    name = server.name
    try:
        await session.flush()
    except IntegrityError as error:
        if not violates(error, NAME_CONSTRAINT):
            raise
        raise NameTakenError(
            f"a server named {name} already exists",
            remedy="If it has not joined yet, create a new token: wharf server add NAME --renew.",
        ) from None


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
    server, online = found
    return server, online


def find_second_worker(server: Server) -> datetime | None:
    """Return when two workers used the server's state directory, if that is recent."""
    at = server.second_worker_at
    return at if at is not None and datetime.now(UTC) - at < SECOND_WORKER_SHOWN else None


def _platform(engine: Mapping[str, object]) -> str | None:
    """Return the platform in the form of images: ``linux/amd64``."""
    os, architecture = engine.get("os"), engine.get("architecture")
    return f"{os}/{architecture}" if os and architecture else None


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
    Procedure("server.resume", "mutation", ChosenQueue, ServerOutput, resume, "admin"),
)
