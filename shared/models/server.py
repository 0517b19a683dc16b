"""Deployment servers, their enrolment, and control processes."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    Index,
    LargeBinary,
    String,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from shared.jobs.commands import JobClass
from shared.models.columns import Moment, document, moment

ROLES = ("deploy", "build")
"""The roles of a server: run deployments, build, or both."""

_CLASSES = ", ".join(f"'{job_class}'" for job_class in JobClass)
_ROLES = ", ".join(f"'{role}'" for role in ROLES)


def _names(*default: str) -> Any:
    return Field(
        default_factory=lambda: list(default),
        sa_type=ARRAY(String),
        sa_column_kwargs={"server_default": text(f"'{{{','.join(default)}}}'")},
    )


class Server(SQLModel, table=True):
    """A server; ``incarnation`` is its current worker process.

    Before it is approved (``approved_at``) it gets no jobs, and so no stored login. It gets no new
    jobs while it is ``draining``, and none of its paused classes. While a drain is requested its
    worker hands back running transfers. ``engine`` is the last report
    of its Docker Engine, empty while that does not answer; ``clock_ahead_seconds`` is its clock
    minus PostgreSQL's. ``predecessor`` is the previous worker process, assumed dead; if it sends a
    heartbeat, at ``second_worker_at``, two workers use one state directory. ``ip_address`` is what
    an administrator said, ``seen_address`` the address from which the worker last registered at
    PostgreSQL; if that is a loopback address, as behind a relay, the one from which it joined at
    the API. Its worker uses the API from ``networks`` only; empty: from all.
    """

    __table_args__ = (
        UniqueConstraint("organization_id", "server_id"),
        Index(
            "server_name",
            "organization_id",
            "name",
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
        CheckConstraint(
            "quick_limit >= 0 AND transfer_limit >= 0 AND build_limit >= 0",
            name="limits_not_negative",
        ),
        CheckConstraint(
            f"paused_classes <@ ARRAY[{_CLASSES}]::varchar[]", name="paused_classes_known"
        ),
        CheckConstraint(
            f"roles <@ ARRAY[{_ROLES}]::varchar[] AND roles <> '{{}}'", name="roles_known"
        ),
        CheckConstraint("(paused_classes = '{}') = (paused_at IS NULL)", name="pause_has_start"),
    )

    server_id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.organization_id")
    name: str
    description: str = ""
    networks: list[str] = _names()
    ip_address: str | None = None
    seen_address: str | None = None
    created_at: Moment = moment(default_now=True)
    removed_at: Moment = moment()
    approved_at: Moment = moment()
    role_ready_at: Moment = moment()
    incarnation: str | None = None
    registered_at: Moment = moment()
    seen_at: Moment = moment()
    wire_version: int | None = None
    worker_version: str | None = None
    kinds: list[str] = _names()
    quick_limit: int = Field(default=16, sa_column_kwargs={"server_default": text("16")})
    transfer_limit: int = Field(default=4, sa_column_kwargs={"server_default": text("4")})
    build_limit: int = Field(default=2, sa_column_kwargs={"server_default": text("2")})
    engine: dict[str, Any] | None = document()
    draining: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    paused_at: Moment = moment()
    paused_classes: list[str] = _names()
    drain_requested_at: Moment = moment()
    roles: list[str] = _names(*ROLES)
    clock_ahead_seconds: float | None = None
    predecessor: str | None = None
    second_worker_at: Moment = moment()


class ServerToken(SQLModel, table=True):
    """A single-use token to enrol one server; stored as a hash, like an `ApiKey`."""

    __tablename__ = "server_token"

    token_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    server_id: str = Field(foreign_key="server.server_id", index=True)
    expires_at: Moment = moment(default_now=True)
    used_at: Moment = moment()


class ServerEnrolment(SQLModel, table=True):
    """The key and the password hashes of a server; one row for each server, never changed.

    ``broker_hash`` is the SHA-256 of its password at the broker, as hexadecimal digits.
    """

    __tablename__ = "server_enrolment"
    __table_args__ = (
        CheckConstraint("starts_with(role_verifier, 'SCRAM-SHA-256$')", name="verifier_is_scram"),
        CheckConstraint("broker_hash ~ '^[0-9a-f]{64}$'", name="broker_hash_is_sha256"),
    )

    server_id: str = Field(primary_key=True, foreign_key="server.server_id")
    public_key: str
    role_verifier: str
    broker_hash: str | None = None
    enrolled_at: Moment = moment(default_now=True)


class Control(SQLModel, table=True):
    """A control process and the time of its last heartbeat.

    ``broker_error`` is ``away`` or ``full``, of its last check; ``broker_memory`` is the used part
    of the broker's memory limit, 0 to 1, if known. ``services`` holds runs, failures and seconds of
    each service since the start.
    """

    control_id: str = Field(primary_key=True)
    version: str
    started_at: Moment = moment(default_now=True)
    seen_at: Moment = moment(default_now=True)
    broker_error: str | None = None
    broker_memory: float | None = None
    services: dict[str, Any] | None = document()


class SetAside(SQLModel, table=True):
    """A row that a service of control could not handle, and why; it is retried at ``next_at``.

    ``row_id`` is empty if the service itself failed. ``message`` contains no values of the row.
    """

    __tablename__ = "set_aside"

    service: str = Field(primary_key=True)
    row_id: str = Field(primary_key=True)
    code: str
    message: str
    failures: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    since: Moment = moment(default_now=True)
    next_at: Moment = Field(
        default=None,
        nullable=False,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": text("now() + interval '1 second'")},
    )


class DatabaseEpoch(SQLModel, table=True):
    """The time from one restore of the database to the next; the current epoch has no end.

    Control raises its ``counter``. ``secret`` authenticates the worker's copy of epoch and counter.
    """

    __tablename__ = "database_epoch"

    epoch_id: str = Field(primary_key=True)
    secret: bytes = Field(sa_type=LargeBinary)
    counter: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})
    raised_at: Moment = moment(default_now=True)
    begun_at: Moment = moment(default_now=True)
    ended_at: Moment = moment()


class ReleaseGate(SQLModel, table=True):
    """One row, locked while active jobs are counted and jobs dispatched: one replica at a time."""

    __tablename__ = "release_gate"
    __table_args__ = (CheckConstraint("gate = 1", name="one_row"),)

    gate: int = Field(primary_key=True)
