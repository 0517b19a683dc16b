"""Columns and constraints that the tables share."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, DateTime, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field


def moment(*, default_now: bool = False, index: bool = False) -> Any:
    """Make a ``timestamptz`` column by PostgreSQL's clock; required if it defaults to now."""
    options: dict[str, Any] = {"server_default": text("now()")} if default_now else {}
    return Field(
        default=None,
        index=index,
        nullable=not default_now,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs=options,
    )


def document(*, nullable: bool = True) -> Any:
    """Make a column for a JSON document; ``None`` is SQL's null."""
    return Field(default=None, sa_type=JSONB(none_as_null=True), nullable=nullable)


def ids() -> Any:
    """Make a column for a list of ids, empty by default."""
    return Field(
        default_factory=list,
        sa_type=ARRAY(String),
        nullable=False,
        sa_column_kwargs={"server_default": text("'{}'")},
    )


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """Constrain a column to the values; a new one needs a migration."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


Moment = datetime | None
