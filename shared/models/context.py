"""Build contexts that were uploaded, and the tokens that let one attempt fetch one."""

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
    """A tar that the API keeps in a file of this name; ``sha256`` is hexadecimal.

    The row is there once the file is whole. A file without a row is nobody's.
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
    """The right of one attempt to fetch a context, once; only the token's SHA-256 is stored.

    The context may be gone by then, so that it is named and not referred to.
    """

    __tablename__ = "context_token"
    __table_args__ = (UniqueConstraint("token_hash"),)

    job_id: str = Field(primary_key=True, foreign_key="job.job_id", ondelete="CASCADE")
    attempt: int = Field(primary_key=True)
    context_id: str
    token_hash: bytes = Field(sa_type=LargeBinary)
    used_at: Moment = moment()
