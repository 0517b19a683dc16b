"""Endpoints of webhooks: a small web server that says what a test wants, and records requests."""

import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from shared.database import Pool
from shared.ids import make_id
from shared.networks import parse_webhook_networks
from shared.vault import SealContext
from tests.fakes.web import open_fake
from tests.waiting import wait_until
from tests.world import World
from worker.control.webhooks.deliveries import Deliveries
from worker.oci.transport.settings import ConnectionSettings, Deadlines

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
ANYWHERE = parse_webhook_networks("public,private,loopback")
AtOnce = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Message:
    """A request that arrived: its path, headers and body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content

    def signature(self, secret: str = SECRET) -> str:
        """Return the signature that the standard asks for."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = b".".join(
            [self.id.encode(), self.headers["webhook-timestamp"].encode(), self.body]
        )
        return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


@dataclass
class Endpoint:
    """``answers`` are given in their order, the last one for ever; ``begins`` before each."""

    host: str = ""
    answers: list[web.Response] = field(default_factory=list)
    begins: AtOnce | None = None
    messages: list[Message] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook?by=wharf"

    def says(self, *statuses: int, **headers: str) -> None:
        self.answers = [web.Response(status=status, headers=headers) for status in statuses]

    async def wait_for(self, many: int, *, seconds: float = 10) -> list[Message]:
        await wait_until(lambda: len(self.messages) >= many, seconds=seconds)
        return self.messages


@asynccontextmanager
async def open_endpoint(
    *statuses: int, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    endpoint.says(*(statuses or (200,)))

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        message = Message(request.path_qs, headers, await request.read())
        endpoint.messages.append(message)
        if endpoint.begins is not None:
            await endpoint.begins()
        said = endpoint.answers.pop(0) if len(endpoint.answers) > 1 else endpoint.answers[0]
        return web.Response(status=said.status, headers=said.headers)

    async with open_fake(answer, port=port, tls=tls) as fake:
        endpoint.host = fake.host
        yield endpoint


async def add_webhook(
    world: World, url: str, *events: str, organization_id: str | None = None
) -> str:
    """As the API stores one."""
    webhook_id, organization_id = make_id(), organization_id or world.organization_id
    context = SealContext("webhook", organization_id, webhook_id, url.split("/")[2], "")
    await world.owner.execute(
        "INSERT INTO webhook (webhook_id, organization_id, url, events, secret)"
        " VALUES (%s, %s, %s, %s, %s)",
        (
            webhook_id,
            organization_id,
            url,
            list(events or ("job.ended",)),
            world.vault.public.seal(SECRET, context),
        ),
    )
    return webhook_id


async def end_job(world: World, server_id: str) -> str:
    """A job that ends, as the quickest way is: it is cancelled before it began."""
    job_id = make_id()
    await world.api.execute(
        "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class, command,"
        " max_failures, timeout_seconds) VALUES (%s, %s, %s, 'image.tag', 1, 'quick', '{}', 1, 1)",
        (job_id, world.organization_id, server_id),
    )
    await world.api.execute("SELECT job_cancel(%s, %s, '{}')", (job_id, world.organization_id))
    return job_id


def make_deliveries(
    world: World, pool: Pool, deadlines: Deadlines | None = None, **changes: Any
) -> Deliveries:
    settings = ConnectionSettings(ANYWHERE, deadlines=deadlines or Deadlines())
    return Deliveries(pool, world.keys, settings, **changes)


async def deliver(deliveries: Deliveries) -> None:
    """One look, and the end of all that it began to send."""
    await deliveries.send(deliveries.pool)
    await wait_until(lambda: not deliveries._sending)


async def rows(world: World) -> list[dict[str, Any]]:
    return await world.rows("SELECT * FROM webhook_delivery ORDER BY delivery_id")


async def make_due(world: World) -> None:
    """As if the pause until the next attempt had passed."""
    await world.owner.execute("UPDATE webhook_delivery SET due_at = now() WHERE due_at > now()")
