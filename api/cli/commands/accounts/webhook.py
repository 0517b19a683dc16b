"""``wharf webhook``: list, show, create, change and remove webhooks, and their deliveries."""

from typing import Annotated, Any

import typer

from api.cli.arguments import Limit, Webhook, given
from api.cli.client import call
from api.cli.command import command
from api.cli.confirm import Yes, confirm
from api.cli.names import WEBHOOK, find, find_delivery_id, find_id
from api.cli.output.answer import Answer, Columns, Row, fields, lines
from api.cli.output.text import write_note
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings

app = typer.Typer(
    help="Webhooks: list, show, create, change, remove; their deliveries.", no_args_is_help=True
)

Events = Annotated[
    list[str] | None,
    typer.Option("--event", help="An event to send, for example job.ended; by default all."),
]


def _state(webhook: Row) -> str:
    if webhook["enabled"]:
        return "enabled"
    code = webhook["disabledCode"]
    return f"disabled: {code}" if code else "disabled"


COLUMNS = Columns("webhookId", {"URL": "url", "state": _state, "events": "events"})
DELIVERIES = Columns(
    "deliveryId",
    {
        "event": "event",
        "state": "state",
        "attempts": "attempts",
        "status": "status",
        "code": "code",
        "created": lambda row: show_time(row["createdAt"]),
    },
)


@command(app, "list", example="wharf webhook list", shows="webhook.all")
def list_all(settings: ClientSettings) -> Answer:
    """Show all webhooks, the oldest first."""
    return COLUMNS.of(call(settings, "webhook.all"))


@command(app, example="wharf webhook show https://ci.example.com/hook", shows="webhook.one")
def show(settings: ClientSettings, webhook: Webhook) -> Answer:
    """Show one webhook."""
    found = call(settings, "webhook.one", {"webhookId": find_id(settings, WEBHOOK, webhook)})
    shown = {
        "webhook": found["webhookId"],
        "URL": found["url"],
        "state": _state(found),
        "events": found["events"],
        "created": found["createdAt"],
    }
    return fields(found, "webhookId", shown)


@command(
    app,
    example="wharf webhook create https://ci.example.com/hook --event deployment.ended",
    shows="webhook.create",
)
def create(
    settings: ClientSettings,
    url: Annotated[str, typer.Argument(help="The URL that receives the messages.")],
    event: Events = None,
) -> Answer:
    """Create a webhook; print the secret that signs its messages, which is shown only once."""
    created = call(settings, "webhook.create", {"url": url, **given(events=event or None)})
    return _with_secret(created, created["secret"])


@command(
    app,
    example="wharf webhook update https://ci.example.com/hook --disable",
    shows="webhook.update",
)
def update(
    settings: ClientSettings,
    webhook: Webhook,
    url: Annotated[
        str | None, typer.Option(help="The new URL; with another host there is a new secret.")
    ] = None,
    event: Events = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Send messages, or send none.")
    ] = None,
) -> Answer:
    """Change a webhook's URL or events, or enable or disable it."""
    chosen = {"webhookId": find_id(settings, WEBHOOK, webhook)}
    changes = given(url=url, events=event or None, enabled=enabled)
    changed = call(settings, "webhook.update", {**chosen, **changes})
    if changed["secret"]:
        return _with_secret(changed, changed["secret"])
    return lines(changed, [changed["webhookId"]], [f"changed; {_state(changed)}"])


@command(
    app, example="wharf webhook remove https://ci.example.com/hook --yes", shows="webhook.remove"
)
def remove(settings: ClientSettings, webhook: Webhook, *, yes: Yes = False) -> Answer:
    """Remove a webhook and its messages."""
    found = find(settings, WEBHOOK, webhook)
    confirm(f"Remove the webhook {found['url']}?", yes=yes)
    removed = call(settings, "webhook.remove", {"webhookId": found["webhookId"]})
    return lines(removed, [removed["webhookId"]], [f"removed {removed['url']}"])


@command(
    app, example="wharf webhook deliveries https://ci.example.com/hook", shows="webhook.deliveries"
)
def deliveries(settings: ClientSettings, webhook: Webhook, limit: Limit = None) -> Answer:
    """Show a webhook's messages, the newest first."""
    chosen = {"webhookId": find_id(settings, WEBHOOK, webhook)}
    return DELIVERIES.of(call(settings, "webhook.deliveries", {**chosen, **given(limit=limit)}))


@command(
    app,
    example="wharf webhook redeliver https://ci.example.com/hook DELIVERY",
    shows="webhook.redeliver",
)
def redeliver(
    settings: ClientSettings,
    webhook: Webhook,
    delivery: Annotated[
        str, typer.Argument(metavar="DELIVERY", help="The delivery's id, or its beginning.")
    ],
) -> Answer:
    """Send a message again now, under its id; wharf webhook deliveries lists them."""
    webhook_id = find_id(settings, WEBHOOK, webhook)
    chosen = find_delivery_id(settings, webhook_id, delivery)
    found = call(settings, "webhook.redeliver", {"deliveryId": chosen})
    return lines(found, [found["deliveryId"]], [found["state"]])


def _with_secret(webhook: dict[str, Any], secret: str) -> Answer:
    write_note("The secret is shown only once.")
    texts = [f"webhook: {webhook['webhookId']}", f"secret: {secret}"]
    return lines(webhook, [webhook["webhookId"]], texts)
