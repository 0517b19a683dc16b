"""Organizations and their API keys."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, LargeBinary, text
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, ids, moment, one_of

ROLES = ("owner", "admin", "member", "viewer")
"""The roles of members, each with all rights of the next one."""

KEY_ROLES = ROLES[1:]


class Organization(SQLModel, table=True):
    """The owner of registries, servers and applications.

    ``transfer_limit`` is the limit of concurrent transfers on all its servers; null: no limit. Jobs
    that were stored before ``held_at``, when the database was restored, wait. A registry without
    ``rotate_after_days`` of its own has these; so with an application's
    ``signature_policy`` and ``scan_policy``.
    The quotas are null where the API's settings count; 0 is no limit.
    People and keys use it from ``networks``, workers the API from ``server_networks``; empty: all.
    """

    __table_args__ = (
        CheckConstraint("transfer_limit > 0", name="limit_positive"),
        CheckConstraint("rotate_after_days > 0", name="rotation_positive"),
        CheckConstraint(
            "least(application_quota, queued_job_quota, upload_quota_bytes, webhook_quota) >= 0",
            name="quotas_not_negative",
        ),
    )

    organization_id: str = Field(primary_key=True)
    name: str
    created_at: Moment = moment(default_now=True)
    transfer_limit: int | None = None
    held_at: Moment = moment()
    rotate_after_days: int = Field(default=90, sa_column_kwargs={"server_default": text("90")})
    signature_policy: dict[str, Any] | None = document()
    networks: list[str] = ids()
    server_networks: list[str] = ids()
    scan_policy: dict[str, Any] | None = document()
    application_quota: int | None = None
    queued_job_quota: int | None = None
    upload_quota_bytes: int | None = Field(default=None, sa_type=BigInteger)
    webhook_quota: int | None = None


class ApiKey(SQLModel, table=True):
    """An API key, shown once; ``start`` are its first characters for display.

    ``key_hash`` is the SHA-256 of the key's proof, which is its SHA-256. A ``viewer`` reads only, a
    ``member`` also submits work, an ``admin`` also changes what is stored. If there are any, it may
    call only these ``procedures`` (``registry.all``, ``registry.*``), from these ``networks``, for
    these ``application_ids``. That of a member (``member_id``) has no more rights than the member,
    and ends with the membership.
    """

    __tablename__ = "api_key"
    __table_args__ = (one_of("role", KEY_ROLES),)

    api_key_id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.organization_id", index=True)
    name: str
    role: str
    member_id: str | None = Field(
        default=None, foreign_key="member.member_id", ondelete="CASCADE", index=True
    )
    procedures: list[str] = ids()
    networks: list[str] = ids()
    application_ids: list[str] = ids()
    start: str
    key_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    created_at: Moment = moment(default_now=True)
    expires_at: Moment = moment()
    last_used_at: Moment = moment()
