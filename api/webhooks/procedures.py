"""Webhooks: endpoints of the organization for messages about ended jobs."""

from typing import Self

from pydantic import Field
from sqlmodel import func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.shapes import Change, Id, Input, Moment, NoInput, Output
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.quotas import require_room
from api.webhooks.fields import EndpointUrl, Events, hide_path, require_endpoint
from shared.errors import NotFoundError
from shared.ids import make_id
from shared.models import AuditEvent, Webhook
from shared.webhooks import EVENTS, EventName, host_of, make_secret, seal_context


class WebhookOutput(Output):
    """An endpoint; `disabledCode` is `gone` if its answer (410) disabled it.

    Only administrators see the whole `url`: its path may be a secret of the endpoint.
    """

    webhook_id: str
    url: str
    events: list[EventName]
    enabled: bool
    disabled_at: Moment | None
    disabled_code: str | None
    created_at: Moment

    @classmethod
    def of(cls, context: Context, webhook: Webhook, **more: str | None) -> Self:
        enabled = webhook.disabled_at is None
        url = webhook.url if context.caller.is_admin else hide_path(webhook.url)
        shown = {**webhook.model_dump(), "url": url, "enabled": enabled, **more}
        return cls.model_validate(shown)


class CreatedWebhook(WebhookOutput):
    """A new webhook; `secret` is shown only once."""

    secret: str


class ChangedWebhook(WebhookOutput):
    """A changed webhook; `secret` is new, and shown only once, if the URL has a new host."""

    secret: str | None


class CreateWebhook(Input):
    """A new webhook; without `events` it receives all of them."""

    url: EndpointUrl
    events: Events = Field(default_factory=lambda: sorted(EVENTS))


class UpdateWebhook(Change):
    """Only given fields change."""

    webhook_id: Id
    url: EndpointUrl = ""
    events: Events = Field(default_factory=list)
    enabled: bool = True


class ChosenWebhook(Input):
    webhook_id: Id


async def create(context: Context, request: CreateWebhook) -> CreatedWebhook:
    """Create a webhook, which receives a message when a job, build or deployment has ended.

    Messages are signed as in Standard Webhooks, with the secret that is shown only once. A message
    without a 2xx answer within ten seconds is sent again, with the same id, for about a day.
    """
    require_endpoint(request.url, context.resources.webhook_networks)
    webhook = Webhook(
        webhook_id=make_id(),
        organization_id=context.organization_id,
        url=request.url,
        events=list(request.events),
        secret="",
    )
    secret = _seal_new(context, webhook)
    async with context.transaction() as session:
        await require_room(session, context, "webhooks")
        session.add(webhook)
        session.add(_audit(context, "webhook.create", webhook))
    return CreatedWebhook.of(context, webhook, secret=secret)


async def get_all(context: Context, _request: NoInput) -> list[WebhookOutput]:
    """List all webhooks of the organization, the oldest first."""
    query = select(Webhook).where(Webhook.organization_id == context.organization_id)
    async with context.transaction() as session:
        found = (await session.exec(query.order_by(Webhook.webhook_id))).all()
    return [WebhookOutput.of(context, webhook) for webhook in found]


async def one(context: Context, request: ChosenWebhook) -> WebhookOutput:
    """Return one webhook."""
    async with context.transaction() as session:
        return WebhookOutput.of(context, await find_webhook(session, context, request.webhook_id))


async def update(context: Context, request: UpdateWebhook) -> ChangedWebhook:
    """Change a webhook's URL or events, or enable or disable it.

    A secret is valid for one host: for a URL with another host a new secret is made and shown.
    """
    given = request.model_fields_set
    secret = None
    if "url" in given:
        require_endpoint(request.url, context.resources.webhook_networks)
    async with context.transaction() as session:
        webhook = await find_webhook(session, context, request.webhook_id, lock=True)
        if "url" in given:
            is_moved = host_of(request.url) != host_of(webhook.url)
            webhook.url = request.url
            secret = _seal_new(context, webhook) if is_moved else None
        if "events" in given:
            webhook.events = list(request.events)
        if "enabled" in given:
            await _enable(session, webhook, enabled=request.enabled)
        session.add(_audit(context, "webhook.update", webhook, sorted(given - {"webhook_id"})))
        await session.flush()
        await session.refresh(webhook)
    return ChangedWebhook.of(context, webhook, secret=secret)


async def remove(context: Context, request: ChosenWebhook) -> WebhookOutput:
    """Remove a webhook and its messages; return the removed webhook."""
    async with context.transaction() as session:
        webhook = await find_webhook(session, context, request.webhook_id, lock=True)
        await session.delete(webhook)
        session.add(_audit(context, "webhook.remove", webhook))
    return WebhookOutput.of(context, webhook)


async def find_webhook(
    session: AsyncSession, context: Context, webhook_id: str, *, lock: bool = False
) -> Webhook:
    """Return the row, within the caller's organization; ``lock`` it until the transaction's end.

    Messages can be stored for a locked webhook, so ending a job never waits.

    Raises:
        NotFoundError: no such webhook in the organization.
    """
    query = select(Webhook).where(
        Webhook.organization_id == context.organization_id, Webhook.webhook_id == webhook_id
    )
    query = query.with_for_update(key_share=True) if lock else query
    webhook = (await session.exec(query)).one_or_none()
    if webhook is None:
        raise NotFoundError("Webhook not found")
    if lock:
        await context.require_expected(session, webhook_id)
    return webhook


async def _enable(session: AsyncSession, webhook: Webhook, *, enabled: bool) -> None:
    if enabled == (webhook.disabled_at is None):
        return
    now = select(func.now())
    webhook.disabled_at = None if enabled else (await session.exec(now)).one()
    webhook.disabled_code = None


def _seal_new(context: Context, webhook: Webhook) -> str:
    """Make a secret, sealed for the host of the webhook's URL; the API cannot open it."""
    secret = make_secret()
    bound = seal_context(webhook.organization_id, webhook.webhook_id, webhook.url)
    webhook.secret = context.resources.vault.seal(secret, bound)
    return secret


def _audit(
    context: Context, action: str, webhook: Webhook, changed: list[str] | None = None
) -> AuditEvent:
    # Only the host: the path may be a secret of the endpoint.
    host = host_of(webhook.url)
    return audit_event(context, action, webhook.webhook_id, host=host, changed=changed)


PROCEDURES = (
    Procedure("webhook.create", "mutation", CreateWebhook, CreatedWebhook, create, "admin"),
    Procedure("webhook.all", "query", NoInput, list[WebhookOutput], get_all),
    Procedure("webhook.one", "query", ChosenWebhook, WebhookOutput, one),
    Procedure("webhook.update", "mutation", UpdateWebhook, ChangedWebhook, update, "admin"),
    Procedure("webhook.remove", "mutation", ChosenWebhook, WebhookOutput, remove, "admin"),
)
