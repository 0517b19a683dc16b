"""Deployments: an image of an application by its digest, on each of its servers."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment, one_of

OUTCOMES = ("succeeded", "failed", "cancelled", "superseded", "expired")
SERVER_OUTCOMES = ("succeeded", "failed", "cancelled", "expired")


class Deployment(SQLModel, table=True):
    """A requested deployment and its outcome; it stays when its jobs are deleted.

    ``reference`` is the image to run: with its ``digest`` and without a tag once that is known. A
    build with the same id is made for this deployment. ``settings`` are the run settings, without
    secrets. ``retained`` is the image's copy for rollbacks; ``point_due`` until its rollback point
    is stored or found impossible. It may deploy the point ``rollback_id``, or roll back the failed
    deployment ``rolls_back``. ``number`` grows with each deployment of an application, in the order
    of storing: ids depend on the clocks of their makers.
    """

    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "application_id"],
            ["application.organization_id", "application.application_id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("organization_id", "deployment_id"),
        one_of("outcome", OUTCOMES),
        CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="outcome_has_end"),
        CheckConstraint("reference LIKE '%@' || digest", name="reference_pinned"),
        one_of("on_failure", ("stop", "rollback")),
        CheckConstraint(
            "(retained IS NULL) = (retained_registry_id IS NULL)", name="retained_somewhere"
        ),
        Index("deployment_point_due", "deployment_id", postgresql_where=text("point_due")),
        Index(
            "deployment_rolls_back",
            *("rolls_back", "reference"),
            unique=True,
            postgresql_where=text("rolls_back IS NOT NULL"),
        ),
        Index(
            "deployment_failed",
            "finished_at",
            postgresql_where=text(
                "on_failure = 'rollback' AND outcome IN ('failed', 'cancelled', 'expired')"
            ),
        ),
        Index("deployment_digest", "digest", "organization_id"),
        Index("deployment_open", "deployment_id", postgresql_where=text("outcome IS NULL")),
        Index("deployment_of_application", "application_id", "number"),
        Index("deployment_of_build", "build_id"),
    )

    deployment_id: str = Field(primary_key=True)
    number: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), nullable=False)
    )
    organization_id: str
    application_id: str
    build_id: str = Field(foreign_key="build.build_id", ondelete="CASCADE")
    title: str = ""
    description: str = ""
    reference: str
    digest: str | None = None
    registry_id: str | None = None
    settings: dict[str, Any] = document(nullable=False)
    on_failure: str = "stop"
    retained: str | None = None
    retained_registry_id: str | None = None
    point_due: bool = False
    verification_job_id: str | None = None
    rollback_id: str | None = None
    rolls_back: str | None = None
    outcome: str | None = None
    error: dict[str, Any] | None = document()
    requested_by: str | None = None
    created_at: Moment = moment(default_now=True)
    finished_at: Moment = moment()


class DeploymentServer(SQLModel, table=True):
    """One server of a deployment: the job that pulls the image, and the one that runs it, if any.

    ``container_id`` is the new container; no published port answered for ``gap_seconds``.
    ``stopped_at`` is when it was stopped on request, until it is started again.
    """

    __tablename__ = "deployment_server"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "deployment_id"],
            ["deployment.organization_id", "deployment.deployment_id"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["organization_id", "server_id"], ["server.organization_id", "server.server_id"]
        ),
        one_of("outcome", SERVER_OUTCOMES),
        CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="outcome_has_end"),
        CheckConstraint("gap_seconds >= 0", name="gap_not_negative"),
        Index("deployment_server_open", "deployment_id", postgresql_where=text("outcome IS NULL")),
        Index("deployment_server_server", "server_id", "deployment_id"),
    )

    deployment_id: str = Field(primary_key=True)
    server_id: str = Field(primary_key=True)
    organization_id: str
    pull_job_id: str
    replace_job_id: str | None = None
    outcome: str | None = None
    error: dict[str, Any] | None = document()
    container_id: str | None = None
    gap_seconds: float | None = None
    finished_at: Moment = moment()
    stopped_at: Moment = moment()

    @property
    def job_ids(self) -> list[str]:
        """Return the ids of its jobs, in order."""
        return [step for step in (self.pull_job_id, self.replace_job_id) if step]
