"""Deploy hooks: URLs that a registry or a git host calls after a push, to deploy it."""

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    text,
)
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, moment


class DeployHook(SQLModel, table=True):
    """A URL that contains a token, of which only a hash is stored.

    Only that token decrypts ``sealed_secret``: the database reveals neither. A push of an image is
    filtered by ``tag_filter``, one of commits by ``branch_filter`` (null: the application's branch)
    and ``path_filters`` (empty: all files).
    """

    __tablename__ = "deploy_hook"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "application_id"],
            ["application.organization_id", "application.application_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint("tag_filter <> ''", name="filter_given"),
        Index("deploy_hook_of_application", "application_id", "hook_id"),
    )

    hook_id: str = Field(primary_key=True)
    organization_id: str
    application_id: str
    token_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    sealed_secret: bytes = Field(sa_type=LargeBinary)
    tag_filter: str
    branch_filter: str | None = None
    path_filters: list[str] = Field(
        default_factory=list,
        sa_type=ARRAY(String),
        sa_column_kwargs={"server_default": text("'{}'")},
    )
    require_signature: bool
    created_at: Moment = moment(default_now=True)
    last_used_at: Moment = moment()


class DeployHookEvent(SQLModel, table=True):
    """A push that was reported with the sender's id, and its deployment."""

    __tablename__ = "deploy_hook_event"

    hook_id: str = Field(primary_key=True, foreign_key="deploy_hook.hook_id", ondelete="CASCADE")
    event_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    deployment_id: str
    created_at: Moment = moment(default_now=True, index=True)
