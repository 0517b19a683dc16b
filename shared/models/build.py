"""Builds: each makes one image of an application; jobs build, push and retain it."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment, one_of

OUTCOMES = ("succeeded", "failed", "cancelled", "superseded", "expired")


class Build(SQLModel, table=True):
    """A requested build and its outcome; it stays when its jobs are deleted.

    ``make_job_id`` is the job that builds the image, or pulls a ready one. Without the registries
    there is no push, or no retained copy; without a scan policy there is no scan. ``reference`` is
    the image to pull, once it exists, until ``image_deleted_at``; ``retained`` is the copy for
    rollbacks, if there is one.
    """

    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "application_id"],
            ["application.organization_id", "application.application_id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("application_id", "version"),
        one_of("outcome", OUTCOMES),
        CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="outcome_has_end"),
        CheckConstraint("version > 0", name="version_counted"),
        Index("build_open", "build_id", postgresql_where=text("outcome IS NULL")),
        Index("build_of_application", "application_id", "build_id"),
        Index("build_digest", "digest"),
    )

    build_id: str = Field(primary_key=True)
    organization_id: str
    application_id: str
    version: int
    title: str = ""
    reference: str
    retained: str | None = None
    make_job_id: str
    push_job_id: str | None = None
    retain_job_id: str | None = None
    scan_job_id: str | None = None
    outcome: str | None = None
    digest: str | None = None
    revision: str | None = None
    error: dict[str, Any] | None = document()
    requested_by: str | None = None
    created_at: Moment = moment(default_now=True)
    finished_at: Moment = moment()
    image_deleted_at: Moment = moment()

    @property
    def job_ids(self) -> list[str]:
        """Return the ids of its jobs, in order."""
        steps = (self.make_job_id, self.push_job_id, self.retain_job_id, self.scan_job_id)
        return [step for step in steps if step]
