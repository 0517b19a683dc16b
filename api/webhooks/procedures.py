"""Webhooks: endpoints of the organization that are notified when something ends."""

from typing import Self

from pydantic import Field
from sqlalchemy import text
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.shapes import Change, Id, Input, Moment, NoInput, Output
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.webhooks.fields import EndpointUrl, Events, hide_path, require_endpoint
from shared.errors import NotFoundError, UnmetConditionError
from shared.ids import make_id
from shared.models import AuditEvent, Webhook
from shared.webhooks import EVENTS, EventName, host_of, make_secret, seal_context

MAX_WEBHOOKS = 20
"""Of an organization: each is a row more in the statement that ends a job."""

ONE_BY_ONE = text("LOCK TABLE webhook IN SHARE ROW EXCLUSIVE MODE")
"""Until the transaction's end nobody else makes one. Messages for it are taken meanwhile."""


class WebhookOutput(Output):
    """An endpoint; `disabledCode` is `gone` where it was disabled by what it answered (410).

    Only administrators see the whole `url`: its path may be a secret of the endpoint's.
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
        url = webhook.url if context.caller.role == "admin" else hide_path(webhook.url)
        shown = {**webhook.model_dump(), "url": url, "enabled": enabled, **more}
        return cls.model_validate(shown)


class CreatedWebhook(WebhookOutput):
    """`secret` is shown this once."""

    secret: str


class ChangedWebhook(WebhookOutput):
    """`secret` is a new one, shown this once, where the URL names another host."""

    secret: str | None


class CreateWebhook(Input):
    """Without `events` the webhook receives all of them."""

    url: EndpointUrl
    events: Events = Field(default_factory=lambda: sorted(EVENTS))


class UpdateWebhook(Change):
    """Only what is given changes."""

    webhook_id: Id
    url: EndpointUrl = ""
    events: Events = Field(default_factory=list)
    enabled: bool = True


class ChosenWebhook(Input):
    webhook_id: Id


async def create(context: Context, request: CreateWebhook) -> CreatedWebhook:
    """Create a webhook, which receives a message when a job, build or deployment has ended.

    Messages are signed as Standard Webhooks has it, with the secret that is shown this once. What
    is not answered with 2xx within ten seconds is sent again, under the same id, for about a day.
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
        await _require_room(session, context)
        session.add(webhook)
        session.add(_audit(context, "webhook.create", webhook))
    return CreatedWebhook.of(context, webhook, secret=secret)


async def get_all(context: Context, _asked: NoInput) -> list[WebhookOutput]:
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

    A secret is for one host: where the URL names another one, a new secret is made and shown.
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
    """Remove a webhook and its messages; return what it was."""
    async with context.transaction() as session:
        webhook = await find_webhook(session, context, request.webhook_id, lock=True)
        await session.delete(webhook)
        session.add(_audit(context, "webhook.remove", webhook))
    return WebhookOutput.of(context, webhook)


async def find_webhook(
    session: AsyncSession, context: Context, webhook_id: str, *, lock: bool = False
) -> Webhook:
    """The row, within the caller's organization; with ``lock`` until the transaction's end.

    Locked, it still takes messages: what ends a job is kept waiting by nobody.

    Raises:
        NotFoundError: no such webhook, or another organization's.
    """
    query = select(Webhook).where(
        Webhook.organization_id == context.organization_id, Webhook.webhook_id == webhook_id
    )
    query = query.with_for_update(key_share=True) if lock else query
    webhook = (await session.exec(query)).one_or_none()
    if webhook is None:
        raise NotFoundError("Webhook not found")
    return webhook


async def _require_room(session: AsyncSession, context: Context) -> None:
    await (await session.connection()).execute(ONE_BY_ONE)
    ours = Webhook.organization_id == context.organization_id
    counted = await session.exec(select(func.count(col(Webhook.webhook_id))).where(ours))
    if counted.one() >= MAX_WEBHOOKS:
        raise UnmetConditionError(
            "too_many_webhooks",
            f"an organization has {MAX_WEBHOOKS} webhooks at the most",
            remedy="Remove one with webhook.remove.",
        )


async def _enable(session: AsyncSession, webhook: Webhook, *, enabled: bool) -> None:
    if enabled == (webhook.disabled_at is None):
        return
    now = select(func.now())
    webhook.disabled_at = None if enabled else (await session.exec(now)).one()
    webhook.disabled_code = None


def _seal_new(context: Context, webhook: Webhook) -> str:
    """A new secret, kept sealed for the host of the webhook's URL; the API cannot read it back."""
    secret = make_secret()
    bound = seal_context(webhook.organization_id, webhook.webhook_id, webhook.url)
    webhook.secret = context.resources.vault.seal(secret, bound)
    return secret


def _audit(
    context: Context, action: str, webhook: Webhook, changed: list[str] | None = None
) -> AuditEvent:
    # The host alone: a path may be a secret of the endpoint's.
    host = host_of(webhook.url)
    return audit_event(context, action, webhook.webhook_id, host=host, changed=changed)


PROCEDURES = (
    Procedure("webhook.create", "mutation", CreateWebhook, CreatedWebhook, create, "admin"),
    Procedure("webhook.all", "query", NoInput, list[WebhookOutput], get_all),
    Procedure("webhook.one", "query", ChosenWebhook, WebhookOutput, one),
    Procedure("webhook.update", "mutation", UpdateWebhook, ChangedWebhook, update, "admin"),
    Procedure("webhook.remove", "mutation", ChosenWebhook, WebhookOutput, remove, "admin"),
)
