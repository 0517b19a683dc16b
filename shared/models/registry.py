"""Registries, with a sealed password or a source of logins, and the outcomes of their tests."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from shared.ids import make_id
from shared.jobs.states import FINAL
from shared.models.columns import Moment, document, ids, moment, one_of
from shared.providers import Provider, recognise


class Registry(SQLModel, table=True):
    """``host`` is the canonical name of ``registry_url``; the sealed password is bound to it.

    Only ``allowed_servers`` receive its login, for ``allowed_applications``; an empty list allows
    all. ``transfer_limit`` is the limit of concurrent pulls and pushes with it, on all servers.
    ``password_expires_at`` is known of tokens that contain it. A password is due for a change
    ``rotate_after_days`` after the last one; null: those of the organization. A registry with a
    `CredentialSource` has the password that control got last from its provider, and none before the
    first time. ``login_revision`` changes with the password or source that a person gives, not with
    the logins of a source.

    ``ca_certificate`` and ``client_certificate`` are PEM, ``client_key`` is sealed; with
    ``install_ca`` workers store them where their Engines look for them. ``certificates`` describes
    them with ``use`` (``ca`` or ``client``), ``subject``, ``sha256`` and ``not_after``. Our own
    client speaks plain HTTP to the host only with ``plain_http``.
    """

    __table_args__ = (
        UniqueConstraint("organization_id", "registry_id"),
        one_of("registry_type", ("cloud", "selfHosted")),
        CheckConstraint("starts_with(password, 'v1.')", name="password_sealed"),
        CheckConstraint("transfer_limit > 0", name="limit_positive"),
        CheckConstraint("rotate_after_days > 0", name="rotation_positive"),
        CheckConstraint("starts_with(client_key, 'v1.')", name="client_key_sealed"),
        CheckConstraint(
            "(client_certificate IS NULL) = (client_key IS NULL)", name="client_pair_whole"
        ),
    )

    registry_id: str = Field(primary_key=True)
    registry_name: str
    image_prefix: str | None = None
    username: str
    password: str | None = None
    registry_url: str
    created_at: Moment = moment(default_now=True)
    registry_type: str
    organization_id: str = Field(foreign_key="organization.organization_id")
    host: str
    allowed_servers: list[str] = ids()
    allowed_applications: list[str] = ids()
    transfer_limit: int = Field(default=8, sa_column_kwargs={"server_default": text("8")})
    password_changed_at: Moment = moment(default_now=True)
    password_expires_at: Moment = moment()
    rotate_after_days: int | None = None
    login_revision: str = Field(
        default_factory=make_id,
        sa_column_kwargs={"server_default": text("(gen_random_uuid())::text")},
    )
    ca_certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    certificates: list[dict[str, Any]] = Field(
        default_factory=list,
        sa_type=JSONB,
        nullable=False,
        sa_column_kwargs={"server_default": text("'[]'")},
    )
    install_ca: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    plain_http: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})

    @property
    def provider(self) -> Provider:
        return recognise(self.host)

    def password_due_at(self, default_days: int) -> datetime | None:
        """Return when the password is due; ``default_days`` are those of the organization."""
        days = timedelta(days=self.rotate_after_days or default_days)
        return self.password_changed_at + days if self.password_changed_at else None


class CredentialSource(SQLModel, table=True):
    """A sealed source of short-lived logins for a registry, and the state of their renewal.

    ``shown`` are its parts that are no secret. ``revision`` changes with the source: a login that
    an earlier one gave is not stored. Control renews the login at ``renew_at``; ``claimed_until``
    keeps other replicas from doing the same. ``error`` is the fault of the last attempt, and
    ``failures`` the number of failed ones since the last success, at ``minted_at``.
    """

    __tablename__ = "credential_source"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "registry_id"],
            ["registry.organization_id", "registry.registry_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint("starts_with(sealed, 'v1.')", name="source_sealed"),
        Index("credential_source_due", "renew_at"),
    )

    registry_id: str = Field(primary_key=True)
    organization_id: str
    kind: str
    shown: dict[str, Any] = document(nullable=False)
    sealed: str
    revision: str
    renew_at: Moment = moment(default_now=True)
    claimed_until: Moment = moment()
    failures: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    error: dict[str, Any] | None = document()
    minted_at: Moment = moment()


class LoginUse(SQLModel, table=True):
    """The use of a registry's login of this revision, see ``shared/jobs/sql/login_use.sql``.

    ``used_at`` is right to a minute. ``accepted_at`` is the start of the newest attempt in which
    the registry accepted the login; ``refusals`` are those since then, by server.
    """

    __tablename__ = "login_use"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "registry_id"],
            ["registry.organization_id", "registry.registry_id"],
            ondelete="CASCADE",
        ),
    )

    registry_id: str = Field(primary_key=True)
    organization_id: str
    login_revision: str
    used_at: Moment = moment()
    used_job_id: str | None = None
    used_server_id: str | None = None
    accepted_at: Moment = moment()
    refusals: dict[str, Any] = document(nullable=False)


class CredentialNotice(SQLModel, table=True):
    """A webhook event about a registry's login or certificate; each is sent once.

    ``subject`` is the revision of the login, or the SHA-256 fingerprint of the certificate.
    """

    __tablename__ = "credential_notice"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "registry_id"],
            ["registry.organization_id", "registry.registry_id"],
            ondelete="CASCADE",
        ),
    )

    registry_id: str = Field(primary_key=True)
    event: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    organization_id: str
    data: dict[str, Any] = document(nullable=False)
    created_at: Moment = moment(default_now=True)


class RegistryCheck(SQLModel, table=True):
    """The outcome of one test of a registry from a server; stored longer than the job.

    A trigger adds the row when the job ends. ``milliseconds`` is the time of its last attempt.
    """

    __tablename__ = "registry_check"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "registry_id"],
            ["registry.organization_id", "registry.registry_id"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["organization_id", "server_id"], ["server.organization_id", "server.server_id"]
        ),
        one_of("state", sorted(FINAL)),
        Index("registry_check_newest", "registry_id", "server_id", "checked_at"),
    )

    job_id: str = Field(primary_key=True)
    organization_id: str
    registry_id: str
    server_id: str
    state: str
    code: str | None = None
    stage: str | None = None
    milliseconds: float | None = None
    checked_at: Moment = moment(default_now=True, index=True)


class RegistryQuota(SQLModel, table=True):
    """The last known limit of pulls for a ``quota_key`` (see ``quotas.sql``).

    ``source`` is the account or address that the registry counts by, if it says so. After
    ``blocked_until`` one job tries again; ``refusals`` are those since the last success.
    """

    __tablename__ = "registry_quota"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "registry_id"],
            ["registry.organization_id", "registry.registry_id"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["organization_id", "server_id"],
            ["server.organization_id", "server.server_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint(
            "registry_id IS NOT NULL OR server_id IS NOT NULL", name="quota_has_holder"
        ),
        CheckConstraint("pull_limit >= 0 AND remaining >= 0", name="quota_counts_positive"),
        Index("registry_quota_shared", "organization_id", "host", "source"),
        Index("registry_quota_of_registry", "registry_id"),
    )

    quota_key: str = Field(primary_key=True)
    organization_id: str
    host: str
    registry_id: str | None = None
    server_id: str | None = None
    source: str | None = None
    pull_limit: int | None = None
    remaining: int | None = None
    window_seconds: int | None = None
    window_ends_at: Moment = moment()
    observed_at: Moment = Field(default=None, nullable=False, sa_type=DateTime(timezone=True))
    blocked_until: Moment = moment()
    refusals: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
