"""The registry table: the seed document's fields, the password sealed."""

from sqlalchemy import CheckConstraint, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, moment, one_of


class Registry(SQLModel, table=True):
    """``host`` is the canonical name of ``registry_url``; the sealed password is bound to it.

    ``transfer_limit``: so many pulls and pushes with it at once, on whatever servers.
    """

    __table_args__ = (
        UniqueConstraint("organization_id", "registry_id"),
        one_of("registry_type", ("cloud", "selfHosted")),
        CheckConstraint("starts_with(password, 'v1.')", name="password_sealed"),
        CheckConstraint("transfer_limit > 0", name="limit_positive"),
    )

    registry_id: str = Field(primary_key=True)
    registry_name: str
    image_prefix: str | None = None
    username: str
    password: str
    registry_url: str
    created_at: Moment = moment(default_now=True)
    registry_type: str
    organization_id: str = Field(foreign_key="organization.organization_id")
    host: str
    transfer_limit: int = Field(default=8, sa_column_kwargs={"server_default": text("8")})
