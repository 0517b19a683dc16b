"""The input and output of servers."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from api.fields.shapes import Document, Id, Input, Moment, Output, Warned, show_document
from shared.jobs.commands import JobClass
from shared.models import Server
from shared.models.server import ROLES
from shared.networks import is_address, is_number

SECOND_WORKER_SHOWN = timedelta(days=7)
"""The time for which a copied state directory is reported."""

ServerType = Literal["deploy", "build"]
RoleOfServer = Literal["deploy", "build"]
Roles = Annotated[list[RoleOfServer], Field(min_length=1, max_length=2)]
MAX_ADDRESS_CHARACTERS = 253
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


def _require_address(text: str | None) -> str | None:
    """Return an IP address or a host name; `None` for the empty text."""
    if not text:
        return None
    if is_address(text) or (_NAME.fullmatch(text) and not is_number(text)):
        return text
    raise ValueError("Invalid string: neither an IP address nor a host name")


ServerAddress = Annotated[
    str | None, Field(max_length=MAX_ADDRESS_CHARACTERS), AfterValidator(_require_address)
]
BOTH_ROLES: Any = Field(default_factory=lambda: list(ROLES))


class ChosenServer(Input):
    server_id: Id


class ServerOutput(Output):
    """A server, and whether its worker is online.

    ``engine`` describes its Docker Engine, at most a minute old; empty while the Engine does not
    answer. ``clockAheadSeconds`` is its clock minus the database's. It gets no new jobs while it is
    ``draining``, none of its ``pausedClasses``, and none before it is approved on a control host:
    ``wharf server approve``. With ``drainRequestedAt`` all classes are paused, running transfers
    are handed back, and it is empty once its other running jobs have ended. ``secondWorkerAt`` is
    the time, in the last week, when two workers used its state directory.

    For clients of Dokploy ``serverType`` is ``build`` for a server that only builds, and
    ``serverStatus`` says whether it is online. ``ipAddress`` is the one that was given, else the
    address from which its worker last registered at PostgreSQL, which may be that of a gateway;
    empty if neither is known. Nothing connects to a server, so it has no ``port`` and no SSH key.
    Its worker joins and fetches uploads only from ``networks``; if it is empty, from all.
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
    drain_requested_at: Moment | None
    engine: Document | None
    second_worker_at: Moment | None
    server_type: ServerType
    server_status: Literal["active", "inactive"]
    ip_address: str
    networks: list[str]
    port: int | None = None
    ssh_key_id: str | None = None

    @classmethod
    def of(cls, server: Server, *, online: bool) -> Self:
        return cls.model_validate(
            {
                **server.model_dump(),
                "ip_address": server.ip_address or server.seen_address or "",
                "online": online,
                "offline_since": None if online else server.seen_at,
                "platform": _platform(server.engine or {}),
                "engine": show_document(server.engine),
                "second_worker_at": find_second_worker(server),
                "server_type": type_of(server.roles),
                "server_status": "active" if online else "inactive",
            }
        )


class ChangedServer(ServerOutput, Warned):
    """A changed server."""


class CreatedServer(ServerOutput, Warned):
    """``joinToken`` is shown only once and is valid for one enrolment within 15 minutes.

    A server that joins pins the internal CA by its ``caSha256``.
    """

    join_token: str
    ca_sha256: str | None


class JoinToken(Output):
    """``joinToken`` is shown only once and is valid for one enrolment within 15 minutes.

    A server that joins pins the internal CA by its ``caSha256``.
    """

    server_id: str
    join_token: str
    ca_sha256: str | None


def type_of(roles: Sequence[str]) -> ServerType:
    """Return Dokploy's type of a server: one that deploys may build too."""
    return "deploy" if "deploy" in roles else "build"


def roles_of(server_type: ServerType) -> list[str]:
    """Return the roles of a type; servers of type ``deploy`` build too, as Dokploy's do."""
    return ["build"] if server_type == "build" else sorted(ROLES)


def find_second_worker(server: Server) -> datetime | None:
    """Return when two workers used the server's state directory, if that is recent."""
    at = server.second_worker_at
    return at if at is not None and datetime.now(UTC) - at < SECOND_WORKER_SHOWN else None


def _platform(engine: Mapping[str, object]) -> str | None:
    """Return the platform in the form of images: ``linux/amd64``."""
    os, architecture = engine.get("os"), engine.get("architecture")
    return f"{os}/{architecture}" if os and architecture else None
