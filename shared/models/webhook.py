"""Webhooks: endpoints for messages about ended jobs, and each of these messages."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment, one_of
from shared.webhooks import EVENTS

_EVENTS = ", ".join(f"'{event}'" for event in EVENTS)


class Webhook(SQLModel, table=True):
    """``secret`` signs messages; it is sealed for the host of the URL.

    ``disabled_code`` is why it was disabled; null if by request.
    """

    __table_args__ = (
        UniqueConstraint("organization_id", "webhook_id"),
        CheckConstraint(
            f"events <@ ARRAY[{_EVENTS}]::varchar[] AND cardinality(events) > 0",
            name="events_known",
        ),
        CheckConstraint("starts_with(secret, 'v1.')", name="secret_sealed"),
        CheckConstraint(
            "disabled_code IS NULL OR disabled_at IS NOT NULL", name="disabled_has_moment"
        ),
    )

    webhook_id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.organization_id")
    url: str
    events: list[str] = Field(sa_type=ARRAY(String), nullable=False)
    secret: str
    disabled_at: Moment = moment()
    disabled_code: str | None = None
    created_at: Moment = moment(default_now=True)


class WebhookDelivery(SQLModel, table=True):
    """One message to one endpoint: due, delivered or failed.

    A trigger adds it in the statement that ends its subject. ``attempts`` counts begun attempts;
    ``status`` is the last answer's, ``code`` the cause if there was none.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "webhook_id"],
            ["webhook.organization_id", "webhook.webhook_id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("webhook_id", "event", "subject_id"),
        one_of("event", EVENTS),
        CheckConstraint("num_nonnulls(due_at, delivered_at, failed_at) = 1", name="due_or_done"),
        CheckConstraint("attempts >= 0", name="attempts_counted"),
        Index(
            "webhook_delivery_due",
            *("webhook_id", "due_at"),
            postgresql_where=text("due_at IS NOT NULL"),
        ),
        Index("webhook_delivery_of_webhook", "webhook_id", "delivery_id"),
    )

    delivery_id: str = Field(primary_key=True)
    organization_id: str
    webhook_id: str
    event: str
    subject_id: str
    payload: dict[str, Any] = document(nullable=False)
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    due_at: Moment = Field(
        default=None,
        nullable=True,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": text("now()")},
    )
    delivered_at: Moment = moment()
    failed_at: Moment = moment()
    status: int | None = None
    code: str | None = None
    created_at: Moment = moment(default_now=True)
