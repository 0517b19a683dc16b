"""Rollback points: images that an application ran, and that are complete at a registry."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment


class Rollback(SQLModel, table=True):
    """One image of an application, by its digest at a registry, and its run settings.

    It is stored once the image was verified there, and verified again periodically:
    ``verification_job_id`` is a requested verification, ``checked_at`` the end of the last one,
    ``verification_error`` its error, if it failed. ``used_at`` is the time of its last deployment.
    After ``dropped_at`` it is no longer offered; the job ``delete_job_id`` deletes its bytes, then
    the row is deleted.
    """

    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "application_id"],
            ["application.organization_id", "application.application_id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("organization_id", "rollback_id"),
        CheckConstraint("reference LIKE '%@' || digest", name="reference_pinned"),
        Index(
            "rollback_of_application",
            *("application_id", "digest", "settings_hash"),
            unique=True,
            postgresql_where=text("dropped_at IS NULL"),
        ),
        Index("rollback_checked", "checked_at", postgresql_where=text("dropped_at IS NULL")),
        Index("rollback_dropped", "dropped_at", postgresql_where=text("dropped_at IS NOT NULL")),
        Index("rollback_at", "reference"),
    )

    rollback_id: str = Field(primary_key=True)
    organization_id: str
    application_id: str
    deployment_id: str
    build_id: str = Field(foreign_key="build.build_id", ondelete="CASCADE")
    version: int
    reference: str
    digest: str
    registry_id: str | None = Field(
        default=None, foreign_key="registry.registry_id", ondelete="SET NULL"
    )
    settings: dict[str, Any] = document(nullable=False)
    settings_hash: str
    verification_job_id: str | None = None
    verification_error: dict[str, Any] | None = document()
    verified_at: Moment = moment(default_now=True)
    checked_at: Moment = moment(default_now=True)
    delete_job_id: str | None = None
    created_at: Moment = moment(default_now=True)
    used_at: Moment = moment(default_now=True)
    dropped_at: Moment = moment()
