"""Organizations, the keys that speak for them, and the record of what was changed."""

from typing import Any

from pydantic import ConfigDict
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, LargeBinary
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment, one_of


class Organization(SQLModel, table=True):
    """The owner of registries, servers and applications.

    ``transfer_limit``: so many transfers at once on all its servers; null for any number. Jobs that
    were stored before ``held_at`` wait: the database was restored then.
    """

    __table_args__ = (CheckConstraint("transfer_limit > 0", name="limit_positive"),)

    organization_id: str = Field(primary_key=True)
    name: str
    created_at: Moment = moment(default_now=True)
    transfer_limit: int | None = None
    held_at: Moment = moment()


class ApiKey(SQLModel, table=True):
    """A key is shown once; ``start`` are its first signs for display.

    ``key_hash`` is the SHA-256 of its SHA-256: the latter proves to the database that it was here.
    """

    __tablename__ = "api_key"
    __table_args__ = (one_of("role", ("admin", "member")),)

    api_key_id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.organization_id", index=True)
    name: str
    role: str
    start: str
    key_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    created_at: Moment = moment(default_now=True)
    expires_at: Moment = moment()
    last_used_at: Moment = moment()


class AuditEvent(SQLModel, table=True):
    """A recorded action: caller, action and object; rows are only ever added."""

    __tablename__ = "audit_event"
    __table_args__ = (ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),)
    model_config = ConfigDict(arbitrary_types_allowed=True)  # type: ignore[assignment]

    audit_event_id: str = Field(primary_key=True)
    organization_id: str = Field(index=True)
    api_key_id: str | None = None
    action: str
    object_id: str | None = None
    data: dict[str, Any] | None = document()
    at: Moment = moment(default_now=True)
