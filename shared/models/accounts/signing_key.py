"""Keys that sign images, or only check signatures."""

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, moment


class SigningKey(SQLModel, table=True):
    """``public_key`` is PEM; ``private_key`` is sealed, and null if it is somebody else's.

    A retired key signs no more; what it signed is still accepted.
    """

    __tablename__ = "signing_key"
    __table_args__ = (
        UniqueConstraint("organization_id", "signing_key_id"),
        UniqueConstraint("organization_id", "fingerprint"),
        Index("signing_key_name", "organization_id", text("lower(name)"), unique=True),
        CheckConstraint("starts_with(private_key, 'v1.')", name="private_key_sealed"),
    )

    signing_key_id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.organization_id", ondelete="CASCADE")
    name: str
    fingerprint: str
    public_key: str
    private_key: str | None = None
    created_at: Moment = moment(default_now=True)
    retired_at: Moment = moment()
