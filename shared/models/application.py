"""Applications: the source of their images, and the settings for building and running them."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, ids, moment, one_of

REGISTRIES = ("registry_id", "build_registry_id", "rollback_registry_id")
SEALED = ("env", "build_secrets", "git_token", "git_ssh_key")


def _within_organization(column: str, table: str) -> ForeignKeyConstraint:
    """Require that the row that a column names belongs to the same organization."""
    return ForeignKeyConstraint(
        ["organization_id", column], [f"{table}.organization_id", f"{table}.{table}_id"]
    )


def _empty(kind: Any, make: Any, default: str) -> Any:
    """Make a column that is empty by default and never null."""
    return Field(
        default_factory=make,
        sa_type=kind,
        nullable=False,
        sa_column_kwargs={"server_default": text(f"'{default}'")},
    )


def _default(*, value: int | str) -> Any:
    default = f"'{value}'" if isinstance(value, str) else str(value).lower()
    return Field(default=value, sa_column_kwargs={"server_default": text(default)})


class Application(SQLModel, table=True):
    """An application; its images are pulled, pushed and retained with three registries.

    ``env`` and ``build_secrets`` are JSON objects of names and values, sealed for the purposes
    ``environment`` and ``build_secrets``; only their names are also stored in clear. ``git_token``
    is sealed for ``git_host`` and ``git_username``, ``git_ssh_key`` for ``git_host`` and the user
    in ``git_url``. ``git_host_key`` has fingerprints, one a line. ``last_version`` is that of the
    newest build. Of members' keys only ``allowed_keys`` may build and deploy it; if empty, all may.
    Without a ``signature_policy`` it has the organization's, and likewise the ``scan_policy``.
    """

    __table_args__ = (
        UniqueConstraint("organization_id", "application_id"),
        Index("application_app_name", "organization_id", text("lower(app_name)"), unique=True),
        *(_within_organization(column, "registry") for column in REGISTRIES),
        _within_organization("build_server_id", "server"),
        one_of("source_type", ("docker", "git", "drop")),
        one_of("build_type", ("dockerfile",)),
        *(
            CheckConstraint(f"starts_with({column}, 'v1.')", name=f"{column}_sealed")
            for column in SEALED
        ),
        CheckConstraint(
            "source_type <> 'docker' OR docker_image IS NOT NULL", name="docker_has_image"
        ),
        CheckConstraint("source_type <> 'git' OR git_url IS NOT NULL", name="git_has_url"),
        CheckConstraint("(git_url IS NULL) = (git_host IS NULL)", name="git_url_has_host"),
        CheckConstraint(
            "git_token IS NULL OR (git_host IS NOT NULL AND git_username IS NOT NULL)",
            name="git_token_bound",
        ),
        CheckConstraint(
            "(git_ssh_key IS NULL) = (git_ssh_public_key IS NULL)", name="git_ssh_key_has_public"
        ),
        CheckConstraint("git_ssh_key IS NULL OR git_host IS NOT NULL", name="git_ssh_key_bound"),
        CheckConstraint("(env IS NULL) = (env_names = '{}')", name="env_named"),
        CheckConstraint(
            "(build_secrets IS NULL) = (build_secret_names = '{}')", name="build_secrets_named"
        ),
        one_of("runtime", ("container", "service", "none")),
        one_of("rollout_on_failure", ("stop", "rollback")),
        CheckConstraint("rollout_batch >= 0", name="rollout_batch_not_negative"),
        CheckConstraint("stop_grace_seconds BETWEEN 1 AND 3600", name="stop_grace_bounded"),
        CheckConstraint(
            "replicas > 0 AND rollbacks_to_keep >= 0 AND last_version >= 0", name="counts_positive"
        ),
    )

    application_id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.organization_id")
    name: str
    app_name: str
    description: str = ""
    source_type: str | None = None
    docker_image: str | None = None
    git_url: str | None = None
    git_host: str | None = None
    git_branch: str | None = None
    git_commit: str | None = None
    git_build_path: str = "/"
    git_username: str | None = None
    git_token: str | None = None
    git_ssh_key: str | None = None
    git_ssh_public_key: str | None = None
    git_host_key: str | None = None
    build_type: str = "dockerfile"
    dockerfile: str = "Dockerfile"
    docker_context_path: str = "."
    docker_build_stage: str | None = None
    build_args: dict[str, str] = _empty(JSONB, dict, "{}")
    build_secrets: str | None = None
    build_secret_names: list[str] = _empty(ARRAY(String), list, "{}")
    env: str | None = None
    env_names: list[str] = _empty(ARRAY(String), list, "{}")
    platform: str | None = None
    registry_id: str | None = None
    build_registry_id: str | None = None
    rollback_registry_id: str | None = None
    rollback_active: bool = _default(value=False)
    build_server_id: str | None = None
    health_check: dict[str, Any] | None = document()
    ports: list[dict[str, Any]] = _empty(JSONB, list, "[]")
    mounts: list[dict[str, Any]] = _empty(JSONB, list, "[]")
    replicas: int = _default(value=1)
    runtime: str = _default(value="container")
    stop_signal: str | None = None
    stop_grace_seconds: int = _default(value=10)
    rollout_batch: int = _default(value=0)
    rollout_on_failure: str = _default(value="stop")
    rollbacks_to_keep: int = _default(value=10)
    latest_wins: bool = _default(value=True)
    last_version: int = _default(value=0)
    allowed_keys: list[str] = ids()
    signature_policy: dict[str, Any] | None = document()
    scan_policy: dict[str, Any] | None = document()
    created_at: Moment = moment(default_now=True)


class ApplicationServer(SQLModel, table=True):
    """A server that an application runs on."""

    __tablename__ = "application_server"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "application_id"],
            ["application.organization_id", "application.application_id"],
            ondelete="CASCADE",
        ),
        _within_organization("server_id", "server"),
        Index("application_server_server", "server_id"),
    )

    application_id: str = Field(primary_key=True)
    server_id: str = Field(primary_key=True)
    organization_id: str
