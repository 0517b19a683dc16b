"""The audit log: its entries, the head of each chain, and what control signs."""

from typing import Any

from pydantic import ConfigDict
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment

ORGANIZATION = "organization.organization_id"


def _number(default: int | None = None, **options: Any) -> Any:
    columns = {} if default is None else {"server_default": text(str(default))}
    return Field(default=default, sa_type=BigInteger, sa_column_kwargs=columns, **options)


class AuditEvent(SQLModel, table=True):
    """A recorded action: caller, action and object; append-only.

    Control gives each entry its place in the organization's chain soon after it was stored; until
    then ``sequence`` and the hashes are null.
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id"], [ORGANIZATION]),
        UniqueConstraint("organization_id", "sequence"),
        CheckConstraint(
            "(sequence IS NULL) = (hash IS NULL) AND (sequence IS NULL) = (previous_hash IS NULL)",
            name="place_is_whole",
        ),
        Index(
            "audit_event_pending",
            *("organization_id", "audit_event_id"),
            postgresql_where=text("sequence IS NULL"),
        ),
    )
    model_config = ConfigDict(arbitrary_types_allowed=True)  # type: ignore[assignment]

    audit_event_id: str = Field(primary_key=True)
    organization_id: str = Field(index=True)
    actor_id: str | None = None
    action: str
    object_id: str | None = None
    data: dict[str, Any] | None = document()
    at: Moment = moment(default_now=True)
    sequence: int | None = _number(nullable=True)
    previous_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    hash: bytes | None = Field(default=None, sa_type=LargeBinary)


class AuditChain(SQLModel, table=True):
    """The newest entry of an organization's chain, and the number of its newest checkpoint."""

    __tablename__ = "audit_chain"

    organization_id: str = Field(primary_key=True, foreign_key=ORGANIZATION)
    sequence: int = _number(0)
    hash: bytes = Field(sa_type=LargeBinary)
    checkpoint: int = _number(0)
    checkpoint_sequence: int = _number(0)
    checkpoint_at: Moment = moment()


class AuditCheckpoint(SQLModel, table=True):
    """A signed statement of the hash of one entry."""

    __tablename__ = "audit_checkpoint"

    organization_id: str = Field(primary_key=True, foreign_key=ORGANIZATION)
    number: int = _number(primary_key=True)
    sequence: int = _number()
    hash: bytes = Field(sa_type=LargeBinary)
    at: str
    key_id: str
    signature: str


class AuditSegment(SQLModel, table=True):
    """A signed statement of entries that were exported and removed."""

    __tablename__ = "audit_segment"

    organization_id: str = Field(primary_key=True, foreign_key=ORGANIZATION)
    first_sequence: int = _number(primary_key=True)
    last_sequence: int = _number()
    previous_hash: bytes = Field(sa_type=LargeBinary)
    last_hash: bytes = Field(sa_type=LargeBinary)
    checkpoint: int = _number()
    file: str
    file_sha256: str
    at: str
    key_id: str
    signature: str


class AuditForwarded(SQLModel, table=True):
    """The last entry of an organization's chain that a destination took; this is its URL.

    A control process sends the next ones until ``claimed_until``.
    """

    __tablename__ = "audit_forwarded"

    destination: str = Field(primary_key=True)
    organization_id: str = Field(primary_key=True, foreign_key=ORGANIZATION)
    sequence: int = _number()
    forwarded_at: Moment = moment(default_now=True)
    claimed_until: Moment = moment()


class AuditKey(SQLModel, table=True):
    """A key that signs checkpoints; ``sealed`` is the private half, sealed to the vault."""

    __tablename__ = "audit_key"

    key_id: str = Field(primary_key=True)
    public_key: str
    sealed: str
    created_at: Moment = moment(default_now=True)
