"""Rotations: the second slot of a registry's login, and how it came to be the first."""

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment, one_of


class RotationState(StrEnum):
    """``testing``: the new login is not in use yet; ``switched``: the old one is kept.

    The others are ends: of the two logins only the registry's own is left.
    """

    TESTING = "testing"
    SWITCHED = "switched"
    DROPPED = "dropped"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    CANCELLED = "cancelled"


WITH_SLOT = "'testing', 'switched'"


class Rotation(SQLModel, table=True):
    """One change of a registry's login; ``slot`` is the login that is not in use.

    While the rotation is ``testing`` that is the new login, and once it has ``switched`` the old
    one, until ``kept_until``; both are sealed, bound to the registry's host and to their username.
    ``command`` is the test, and ``tests`` are its outcomes by server; they are null before the
    servers are chosen. ``forced``: a failed test does not refuse it. From ``settled_at`` on, no job
    is released with the login that was in use before. ``error`` is why it was refused.
    """

    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "registry_id"],
            ["registry.organization_id", "registry.registry_id"],
            ondelete="CASCADE",
        ),
        one_of("state", RotationState),
        CheckConstraint(f"(state IN ({WITH_SLOT})) = (slot IS NOT NULL)", name="slot_while_needed"),
        CheckConstraint("starts_with(slot->>'password', 'v1.')", name="slot_sealed"),
        CheckConstraint("(state = 'refused') = (error IS NOT NULL)", name="refusal_has_error"),
        CheckConstraint(f"(state IN ({WITH_SLOT})) = (finished_at IS NULL)", name="end_has_time"),
        CheckConstraint("state <> 'switched' OR kept_until IS NOT NULL", name="kept_has_end"),
        CheckConstraint("keep_hours >= 0", name="keep_not_negative"),
        # At most one of each: a registry has two slots.
        Index(
            "rotation_testing",
            "registry_id",
            unique=True,
            postgresql_where=text("state = 'testing'"),
        ),
        Index(
            "rotation_kept", "registry_id", unique=True, postgresql_where=text("state = 'switched'")
        ),
        Index("rotation_of_registry", "registry_id", "created_at"),
    )

    rotation_id: str = Field(primary_key=True)
    organization_id: str
    registry_id: str
    state: str
    slot: dict[str, Any] | None = document()
    command: dict[str, Any] | None = document()
    tests: list[dict[str, Any]] | None = document()
    forced: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    keep_hours: int = Field(default=24, sa_column_kwargs={"server_default": text("24")})
    error: dict[str, Any] | None = document()
    requested_by: str | None = None
    created_at: Moment = moment(default_now=True)
    switched_at: Moment = moment()
    settled_at: Moment = moment()
    kept_until: Moment = moment()
    finished_at: Moment = moment(index=True)
