"""Columns and constraints that the tables share."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, DateTime, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field


def moment(*, default_now: bool = False, index: bool = False) -> Any:
    """A ``timestamptz`` by Postgres's clock; required where it defaults to now."""
    options: dict[str, Any] = {"server_default": text("now()")} if default_now else {}
    return Field(
        default=None,
        index=index,
        nullable=not default_now,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs=options,
    )


def document(*, nullable: bool = True) -> Any:
    """A JSON document; none is SQL's null."""
    return Field(default=None, sa_type=JSONB(none_as_null=True), nullable=nullable)


def ids() -> Any:
    """A list of ids, empty at first."""
    return Field(
        default_factory=list,
        sa_type=ARRAY(String),
        nullable=False,
        sa_column_kwargs={"server_default": text("'{}'")},
    )


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """A column that holds one of the values; a new member needs a migration."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


Moment = datetime | None
