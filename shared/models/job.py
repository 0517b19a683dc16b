"""Jobs with their attempts, secrets, events and needs."""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from shared.jobs.commands import DedupeUntil, JobClass, Kind
from shared.jobs.states import FINAL, Outcome, State
from shared.models.columns import Moment, document, ids, moment, one_of


class DigestOutcome(StrEnum):
    """``missing``: the registry does not have the digest; ``not_reached``: it did not answer."""

    VERIFIED = "verified"
    MISSING = "missing"
    NOT_REACHED = "not_reached"


_FINAL = ", ".join(f"'{state}'" for state in sorted(FINAL))
_HELD = "'dispatched', 'running'"


def _zero() -> Any:
    return Field(default=0, sa_column_kwargs={"server_default": text("0")})


class Job(SQLModel, table=True):
    """One accepted piece of work; its state changes only in ``shared/jobs/store`` and in SQL.

    ``fair_key`` is the application; those of an organization share its capacity evenly.
    ``quota_keys`` are those of `RegistryQuota` that it uses, one for each pull.
    """

    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "server_id"], ["server.organization_id", "server.server_id"]
        ),
        one_of("state", State),
        one_of("kind", Kind),
        one_of("job_class", JobClass),
        CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL AND incarnation IS NOT NULL)",
            name="running_has_lease",
        ),
        CheckConstraint(f"(state IN ({_FINAL})) = (finished_at IS NOT NULL)", name="final_has_end"),
        CheckConstraint("(state = 'succeeded') = (result IS NOT NULL)", name="success_has_result"),
        CheckConstraint(
            "state NOT IN ('failed', 'expired') OR error IS NOT NULL", name="failure_has_error"
        ),
        CheckConstraint(f"state NOT IN ({_HELD}) OR attempt > 0", name="active_has_attempt"),
        CheckConstraint(
            "failures BETWEEN 0 AND attempt AND failures <= max_failures", name="failures_bounded"
        ),
        CheckConstraint("timeout_seconds > 0 AND max_failures > 0", name="bounds_positive"),
        one_of("dedupe_until", DedupeUntil),
        CheckConstraint("(dedupe_key IS NULL) = (dedupe_until IS NULL)", name="dedupe_has_end"),
        Index(
            "job_due",
            *("server_id", "job_class", "fair_key", text("priority DESC"), "run_at", "job_id"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "job_active_of_server",
            "server_id",
            "job_class",
            postgresql_where=text(f"state IN ({_HELD})"),
        ),
        Index("job_needing", "job_id", postgresql_where=text("state = 'queued' AND has_needs")),
        Index(
            "job_active_of_organization",
            *("organization_id", "job_class", "fair_key"),
            postgresql_where=text(f"state IN ({_HELD})"),
        ),
        Index(
            "job_active_of_registry",
            "registry_id",
            postgresql_where=text(f"state IN ({_HELD}) AND job_class = 'transfer'"),
        ),
        Index("job_published", "published_at", postgresql_where=text("state = 'dispatched'")),
        Index(
            "job_deadline",
            "deadline_at",
            postgresql_where=text("state IN ('queued', 'dispatched') AND deadline_at IS NOT NULL"),
        ),
        Index(
            "job_exclusive",
            "exclusive_key",
            unique=True,
            postgresql_where=text(f"state IN ({_HELD})"),
        ),
        Index(
            "job_control_open",
            "exclusive_key",
            postgresql_where=text(
                f"kind = 'application.control' AND state IN ('queued', {_HELD})",
            ),
        ),
        Index(
            "job_dedupe",
            *("organization_id", "kind", "dedupe_key"),
            unique=True,
            postgresql_where=text(
                f"dedupe_key IS NOT NULL AND state IN ('queued', {_HELD})",
            ),
        ),
        Index(
            "job_without_repository",
            "registry_id",
            postgresql_where=text("state = 'queued' AND error->>'code' = 'repo_missing'"),
        ),
        Index(
            "job_without_check",
            "job_id",
            postgresql_where=text("state = 'queued' AND command->>'control_check' = 'due'"),
        ),
        Index("job_recent", "organization_id", "job_id"),
        Index("job_in_state", "organization_id", "state", "job_id"),
        Index("job_of_server", "server_id", "job_id"),
        Index(
            "job_pushed",
            "finished_at",
            postgresql_where=text(
                "kind IN ('image.push', 'image.copy') AND state = 'succeeded'",
            ),
        ),
    )

    job_id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.organization_id")
    server_id: str
    kind: str
    version: int
    job_class: str
    state: str = Field(default="queued", sa_column_kwargs={"server_default": text("'queued'")})
    priority: int = _zero()
    command: dict[str, Any] = document(nullable=False)
    registry_id: str | None = None
    quota_keys: list[str] = ids()
    exclusive_key: str | None = None
    fair_key: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    attempt: int = _zero()
    failures: int = _zero()
    max_failures: int
    timeout_seconds: int
    run_at: Moment = moment(default_now=True)
    deadline_at: Moment = moment()
    lease_until: Moment = moment()
    incarnation: str | None = None
    cancel_requested_at: Moment = moment()
    progress: dict[str, Any] | None = document()
    result: dict[str, Any] | None = document()
    error: dict[str, Any] | None = document()
    dedupe_key: str | None = None
    dedupe_until: str | None = None
    has_needs: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    deployment_id: str | None = None
    requested_by: str | None = None
    retry_of: str | None = None
    event_seq: int = _zero()
    created_at: Moment = moment(default_now=True)
    dispatched_at: Moment = moment()
    published_at: Moment = moment()
    started_at: Moment = moment()
    finished_at: Moment = moment()


class JobAttempt(SQLModel, table=True):
    """An attempt; ``incarnation`` names its worker, ``last_event_number`` its last stored event.

    ``login_expires_at`` is the end of the first of its short-lived logins, if it has any.
    ``login_revisions`` are the revisions of its logins, by the ids of their registries.
    """

    __tablename__ = "job_attempt"
    __table_args__ = (
        CheckConstraint(
            "outcome IS NULL OR outcome IN ({})".format(", ".join(f"'{o}'" for o in Outcome)),
            name="outcome_known",
        ),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="outcome_has_end"),
        Index("job_attempt_open", "job_id", unique=True, postgresql_where=text("outcome IS NULL")),
    )

    job_id: str = Field(primary_key=True, foreign_key="job.job_id", ondelete="CASCADE")
    attempt: int = Field(primary_key=True)
    server_id: str
    incarnation: str | None = None
    dispatched_at: Moment = moment(default_now=True)
    started_at: Moment = moment()
    ended_at: Moment = moment()
    login_expires_at: Moment = moment()
    login_revisions: dict[str, Any] | None = document()
    outcome: str | None = None
    error: dict[str, Any] | None = document()
    last_event_number: int = _zero()


class DigestCheck(SQLModel, table=True):
    """The result of control's check that the registry has the digest that a worker pushed.

    ``code`` is the cause if the registry did not answer; ``retryable``: control retries.
    """

    __tablename__ = "digest_check"
    __table_args__ = (
        one_of("outcome", DigestOutcome),
        CheckConstraint("(outcome = 'not_reached') = (code IS NOT NULL)", name="code_of_failure"),
    )

    job_id: str = Field(primary_key=True, foreign_key="job.job_id", ondelete="CASCADE")
    outcome: str
    code: str | None = None
    retryable: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    checked_at: Moment = moment(default_now=True)


class ApplicationTurn(SQLModel, table=True):
    """The time when an application was last served, so that an organization's take turns."""

    __tablename__ = "application_turn"

    organization_id: str = Field(
        primary_key=True, foreign_key="organization.organization_id", ondelete="CASCADE"
    )
    job_class: str = Field(primary_key=True)
    fair_key: str = Field(primary_key=True)
    served_at: Moment = Field(
        default=None,
        nullable=False,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": text("clock_timestamp()")},
    )


class JobSecret(SQLModel, table=True):
    """A sealed secret: given with its job, until the job ends, or a ``login`` for one attempt.

    ``number`` counts the logins of an attempt: control renews them while it runs. ``expires_at`` is
    the end of a renewed one; that of the first is in `JobAttempt`.
    """

    __tablename__ = "job_secret"
    __table_args__ = (
        CheckConstraint(
            "(purpose IN ('password', 'client_key', 'git_token', 'git_ssh_key', 'build_secrets',"
            " 'environment', 'credential_source', 'signing_key') AND attempt = 0)"
            " OR (purpose = 'login' AND attempt > 0)",
            name="purpose_known",
        ),
        CheckConstraint("starts_with(sealed, 'v1.')", name="sealed"),
        Index(
            "job_secret_source",
            "job_id",
            postgresql_where=text("purpose = 'credential_source'"),
        ),
    )

    job_id: str = Field(primary_key=True, foreign_key="job.job_id", ondelete="CASCADE")
    purpose: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    sealed: str
    number: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    expires_at: Moment = moment()


class JobEvent(SQLModel, table=True):
    """A dated event of a job, numbered without gaps; at most one holds the final state."""

    __tablename__ = "job_event"
    __table_args__ = (
        one_of("kind", ("state", "progress", "log")),
        CheckConstraint("(kind = 'state') = (state IS NOT NULL)", name="state_event_has_state"),
        Index(
            "job_event_end", "job_id", unique=True, postgresql_where=text(f"state IN ({_FINAL})")
        ),
    )

    job_id: str = Field(primary_key=True, foreign_key="job.job_id", ondelete="CASCADE")
    seq: int = Field(primary_key=True)
    attempt: int
    kind: str
    state: str | None = None
    data: dict[str, Any] | None = document()
    at: Moment = moment(default_now=True)


class JobNeed(SQLModel, table=True):
    """``job_id`` waits until ``needs_job_id`` has ended with ``on_state``."""

    __tablename__ = "job_need"
    __table_args__ = (
        one_of("on_state", ("succeeded", "failed", "ended")),
        CheckConstraint("job_id <> needs_job_id", name="not_itself"),
        UniqueConstraint("needs_job_id", "job_id"),
    )

    job_id: str = Field(primary_key=True, foreign_key="job.job_id", ondelete="CASCADE")
    needs_job_id: str = Field(primary_key=True, foreign_key="job.job_id", ondelete="CASCADE")
    on_state: str = Field(
        default="succeeded", sa_column_kwargs={"server_default": text("'succeeded'")}
    )
