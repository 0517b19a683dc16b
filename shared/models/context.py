"""Uploaded build contexts, and tokens with which one attempt can download one."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, moment


class BuildContext(SQLModel, table=True):
    """A tar that the API stores in a file named by the id; ``sha256`` is hexadecimal.

    The row is stored once the file is complete. A file without a row is deleted.
    """

    __tablename__ = "context"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "application_id"],
            ["application.organization_id", "application.application_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint("size_bytes > 0", name="size_positive"),
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_hexadecimal"),
        Index("context_of_application", "application_id", "context_id"),
    )

    context_id: str = Field(primary_key=True)
    organization_id: str
    application_id: str
    size_bytes: int = Field(sa_type=BigInteger)
    sha256: str
    created_at: Moment = moment(default_now=True)


class ContextToken(SQLModel, table=True):
    """The right of one attempt to download a context once; only a hash of the token is stored.

    The context may have been deleted by then, so its id is not a foreign key.
    """

    __tablename__ = "context_token"
    __table_args__ = (UniqueConstraint("token_hash"),)

    job_id: str = Field(primary_key=True, foreign_key="job.job_id", ondelete="CASCADE")
    attempt: int = Field(primary_key=True)
    context_id: str
    token_hash: bytes = Field(sa_type=LargeBinary)
    used_at: Moment = moment()
