"""Deployments: an image of an application by its digest, brought to each of its servers."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment, one_of

OUTCOMES = ("succeeded", "failed", "cancelled", "expired")


class Deployment(SQLModel, table=True):
    """What was asked for and what came of it; it stays when its jobs are pruned.

    ``reference`` is what is run: where the build's image is, by its ``digest`` and no tag.
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
        Index("deployment_open", "deployment_id", postgresql_where=text("outcome IS NULL")),
        Index("deployment_of_application", "application_id", "deployment_id"),
        Index("deployment_of_build", "build_id"),
    )

    deployment_id: str = Field(primary_key=True)
    organization_id: str
    application_id: str
    build_id: str = Field(foreign_key="build.build_id", ondelete="CASCADE")
    title: str = ""
    description: str = ""
    reference: str
    digest: str
    outcome: str | None = None
    error: dict[str, Any] | None = document()
    requested_by: str | None = None
    created_at: Moment = moment(default_now=True)
    finished_at: Moment = moment()


class DeploymentServer(SQLModel, table=True):
    """One server of a deployment: a job that pulls the image, and one that runs it.

    ``container_id`` is what runs there since; ``gap_seconds`` how long nothing answered meanwhile.
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
        one_of("outcome", OUTCOMES),
        CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="outcome_has_end"),
        CheckConstraint("gap_seconds >= 0", name="gap_not_negative"),
        Index("deployment_server_open", "deployment_id", postgresql_where=text("outcome IS NULL")),
        Index("deployment_server_server", "server_id", "deployment_id"),
    )

    deployment_id: str = Field(primary_key=True)
    server_id: str = Field(primary_key=True)
    organization_id: str
    pull_job_id: str
    replace_job_id: str
    outcome: str | None = None
    error: dict[str, Any] | None = document()
    container_id: str | None = None
    gap_seconds: float | None = None
    finished_at: Moment = moment()
