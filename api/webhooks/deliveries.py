"""Deliveries to webhooks: list them with their answers, and redeliver one on request."""

from typing import Annotated, Literal, Self

from pydantic import Field
from sqlmodel import col, func, select, update

from api.fields.shapes import Document, Id, Input, Moment, Output
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.webhooks.procedures import find_webhook
from shared.errors import NotFoundError, UnmetConditionError
from shared.models import WebhookDelivery
from shared.webhooks import EventName

MAX_DELIVERIES = 100

DeliveryState = Literal["pending", "delivered", "failed"]


class DeliveryOutput(Output):
    """A message to an endpoint; its id is sent as `webhook-id`.

    `status` is the HTTP status of the last attempt; without an answer `code` is the cause.
    `dueAt` is the time of the next attempt. `payload` is the body.
    """

    delivery_id: str
    webhook_id: str
    event: EventName
    state: DeliveryState
    attempts: int
    status: int | None
    code: str | None
    payload: Document
    created_at: Moment
    due_at: Moment | None
    delivered_at: Moment | None
    failed_at: Moment | None

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> Self:
        ended = "delivered" if delivery.delivered_at else "failed"
        state = "pending" if delivery.due_at else ended
        return cls.model_validate({**delivery.model_dump(), "state": state})


class ManyDeliveries(Input):
    webhook_id: Id
    limit: Annotated[int, Field(ge=1, le=MAX_DELIVERIES)] = 20


class ChosenDelivery(Input):
    delivery_id: Id


async def deliveries(context: Context, request: ManyDeliveries) -> list[DeliveryOutput]:
    """List a webhook's messages, the newest first.

    Messages are stored as long as the events of jobs.
    """
    query = (
        select(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == request.webhook_id)
        .order_by(col(WebhookDelivery.delivery_id).desc())
        .limit(request.limit)
    )
    async with context.transaction() as session:
        await find_webhook(session, context, request.webhook_id)
        found = (await session.exec(query)).all()
    return [DeliveryOutput.of(delivery) for delivery in found]


async def redeliver(context: Context, request: ChosenDelivery) -> DeliveryOutput:
    """Send a message again now, under its id, with as many attempts as a new one."""
    chosen = select(WebhookDelivery).where(
        WebhookDelivery.organization_id == context.organization_id,
        WebhookDelivery.delivery_id == request.delivery_id,
    )
    async with context.transaction() as session:
        delivery = (await session.exec(chosen.with_for_update())).one_or_none()
        if delivery is None:
            raise NotFoundError("Delivery not found")
        webhook = await find_webhook(session, context, delivery.webhook_id)
        if webhook.disabled_at is not None:
            raise UnmetConditionError(
                "webhook_disabled",
                "the webhook is disabled",
                remedy="Enable it with webhook.update.",
            )
        await session.exec(
            update(WebhookDelivery)
            .where(col(WebhookDelivery.delivery_id) == delivery.delivery_id)
            .values(attempts=0, due_at=func.now(), delivered_at=None, failed_at=None)
        )
        await session.refresh(delivery)
        await session.exec(select(func.send_notification("wharf_webhook", "")))
        session.add(audit_event(context, "webhook.redeliver", delivery.delivery_id))
    return DeliveryOutput.of(delivery)


PROCEDURES = (
    Procedure("webhook.deliveries", "query", ManyDeliveries, list[DeliveryOutput], deliveries),
    Procedure("webhook.redeliver", "mutation", ChosenDelivery, DeliveryOutput, redeliver),
)
