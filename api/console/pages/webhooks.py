"""Webhooks: add one with its secret, see its deliveries, send one again, remove it."""

from typing import Any

from starlette.responses import Response

from api.console.guard import require_unchanged, write_seen
from api.console.page import ROOT, Page, PageRoute
from api.procedure.auth import require_role
from shared.errors import WharfError
from shared.webhooks import EVENTS, host_of

WEBHOOKS = f"{ROOT}/webhooks"
MAX_DELIVERIES = 100
FIELD = "event:"


async def show_all(page: Page) -> Response:
    """List the webhooks."""
    return page.render("webhooks/all.html", webhooks=await page.call("webhook.all"))


async def show_new(page: Page) -> Response:
    """Show the empty form."""
    require_role(page.caller, "admin")
    return _render_form(page, None)


async def create(page: Page) -> Response:
    """Create the webhook; show its secret, once."""
    try:
        created = await page.call("webhook.create", **_read(page))
    except WharfError as error:
        return _render_form(page, None, error)
    return page.render("webhooks/secret.html", webhook=created)


async def show(page: Page) -> Response:
    """Show one webhook and its newest deliveries."""
    return await _render_one(page)


async def redeliver(page: Page) -> Response:
    """Send a message again."""
    delivery_id = page.param("delivery_id")
    try:
        await page.call("webhook.redeliver", deliveryId=delivery_id)
    except WharfError as error:
        return await _render_one(page, error)
    return page.redirect(_path(page), "The message is sent again.")


async def enable(page: Page) -> Response:
    """Send messages again."""
    await _update(page, enabled=True)
    return page.redirect(_path(page), "The webhook is enabled.")


async def disable(page: Page) -> Response:
    """Send no more messages."""
    await _update(page, enabled=False)
    return page.redirect(_path(page), "The webhook is disabled.")


async def show_stored(page: Page) -> Response:
    """Show the form of a stored webhook."""
    webhook = await _find(page)
    require_role(page.caller, "admin")
    return _render_form(page, webhook)


async def update(page: Page) -> Response:
    """Change the URL or the events; a URL with another host gets another secret."""
    webhook_id = page.param("webhook_id")
    version = await page.read_version("webhook", webhook_id)
    webhook = await _find(page)
    changes = {name: value for name, value in _read(page).items() if value != webhook[name]}
    try:
        require_unchanged(page.form, _stored(webhook))
        changed = await page.call_if_unchanged(
            version, "webhook.update", webhookId=webhook_id, **changes
        )
    except WharfError as error:
        return _render_form(page, webhook, error)
    if changed["secret"]:
        return page.render("webhooks/secret.html", webhook=changed)
    return page.redirect(_path(page), "The webhook is changed.")


async def confirm_removal(page: Page) -> Response:
    """Ask before a webhook is removed."""
    webhook = await _find(page)
    return page.render("webhooks/remove.html", webhook=webhook, host=host_of(webhook["url"]))


async def remove(page: Page) -> Response:
    """Remove the webhook and its deliveries."""
    removed = await page.call("webhook.remove", webhookId=page.param("webhook_id"))
    return page.redirect(WEBHOOKS, f"The webhook of {host_of(removed['url'])} is removed.")


async def _render_one(page: Page, fault: WharfError | None = None) -> Response:
    webhook = await _find(page)
    deliveries = await page.call(
        "webhook.deliveries", webhookId=webhook["webhookId"], limit=MAX_DELIVERIES
    )
    state = page.query.get("state", "")
    return page.render(
        "webhooks/one.html",
        error=fault,
        webhook=webhook,
        host=host_of(webhook["url"]),
        deliveries=[each for each in deliveries if state in {"", each["state"]}],
        count=len(deliveries),
        max_count=MAX_DELIVERIES,
    )


def _render_form(
    page: Page, webhook: dict[str, Any] | None, fault: WharfError | None = None
) -> Response:
    stored = _stored(webhook) if webhook else _checked(EVENTS)
    return page.render(
        "webhooks/form.html",
        fault=fault,
        webhook=webhook,
        seen=write_seen(stored) if webhook else "",
        values=page.form or stored,
        events=EVENTS,
        field=FIELD,
    )


def _read(page: Page) -> dict[str, Any]:
    events = [name.removeprefix(FIELD) for name in page.form if name.startswith(FIELD)]
    return {"url": page.form.get("url", "").strip(), "events": sorted(events)}


def _stored(webhook: dict[str, Any]) -> dict[str, str]:
    return {"url": webhook["url"], **_checked(webhook["events"])}


def _checked(events: Any) -> dict[str, str]:
    return {f"{FIELD}{event}": "true" for event in events}


async def _update(page: Page, **changes: Any) -> dict[str, Any]:
    changed: dict[str, Any] = await page.call(
        "webhook.update", webhookId=page.param("webhook_id"), **changes
    )
    return changed


async def _find(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.call("webhook.one", webhookId=page.param("webhook_id"))
    return found


def _path(page: Page) -> str:
    return f"{WEBHOOKS}/{page.param('webhook_id')}"


ROUTES = (
    PageRoute("/webhooks", show_all),
    PageRoute("/webhooks/new", show_new),
    PageRoute("/webhooks/new", create, "POST"),
    PageRoute("/webhooks/{webhook_id}", show),
    PageRoute("/webhooks/{webhook_id}/edit", show_stored),
    PageRoute("/webhooks/{webhook_id}/edit", update, "POST"),
    PageRoute("/webhooks/{webhook_id}/enable", enable, "POST"),
    PageRoute("/webhooks/{webhook_id}/disable", disable, "POST"),
    PageRoute("/webhooks/{webhook_id}/remove", confirm_removal),
    PageRoute("/webhooks/{webhook_id}/remove", remove, "POST"),
    PageRoute("/webhooks/{webhook_id}/deliveries/{delivery_id}", redeliver, "POST"),
)
