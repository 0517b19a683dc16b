"""``wharf api``: the application, its routes and its resources."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.accounts.bootstrap import (
    found_organization,
    open_provider,
    require_provider_known,
    require_strong,
)
from api.builds.context_upload import UPLOAD
from api.console.site import add_console
from api.docs.site import add_docs
from api.events.feed import Feeds
from api.events.readers import Readers
from api.events.waiter import Waiter
from api.http.deploy_hooks import add_deploy_hooks
from api.http.dialect import answer_in_dialect
from api.http.openapi.document import make_document
from api.http.perform import CallerGoneError
from api.http.plain import dump
from api.http.rate_headers import RateHeaders
from api.http.request_id import RequestId
from api.http.rest import add_events, add_procedure, add_upload, answer_unknown
from api.http.sse import answer_events
from api.http.uploads import answer_context
from api.jobs.event_access import EVENTS
from api.limits.concurrency_limit import ConcurrencyLimit
from api.limits.disk import DiskWatch
from api.limits.guess_limit import GuessLimit
from api.limits.quotas import Quotas
from api.limits.rate_limit import RateLimiter
from api.limits.reports import Reports
from api.operations.authority import answer_ca
from api.operations.health import answer_alive, answer_ready
from api.operations.http_metrics import CountRequests, HttpMetrics
from api.operations.metrics import Metrics
from api.procedure.context import Resources
from api.procedure.sealing import SealingKey
from api.procedure.sessions import open_sessions
from api.routers import PROCEDURES
from api.sockets.connections import Connections, bound_connections
from api.sockets.open_files import allow_open_files
from api.sockets.strict_transport import StrictTransport
from api.uploads.cleanup import cleaning_up
from api.uploads.store import ContextStore
from shared.database import NotificationHandler, Pool, listening, open_pool
from shared.errors import SetupError
from shared.logs import LogStream
from shared.networks import parse_networks, parse_webhook_networks
from shared.settings import ApiSettings
from shared.tls import fingerprint_of
from shared.vault import PublicKey
from shared.versions.broker import require_broker
from shared.versions.oldest import require_postgres

if TYPE_CHECKING:
    from api.accounts.oidc import Provider

CHANNELS = ("wharf_job", "wharf_progress")
POOL_CONNECTIONS = 8
POOL_QUEUE = 256
POOL_SECONDS = 5.0
"""A request is answered with 503 if it gets no connection in this time, or the queue is full."""

PATIENCE = timedelta(seconds=30)
MAX_READERS = 1000
MAX_UPLOADS = 64
UPLOADS_EACH = 8
LARGE_BODIES = 256
"""Limit of bodies over 64 KiB that are received concurrently; a quarter for one address."""

WRONG_KEYS_PER_MINUTE = 20
WRONG_PASSWORDS_PER_MINUTE = 10
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CLIENT_CLOSED_REQUEST = 499


def create_app(
    settings: ApiSettings,
    *,
    patience: timedelta = PATIENCE,
    log: LogStream | None = None,
    vault_key_file: Path | None = None,
) -> Starlette:
    """Make the application; ``patience`` is the longest wait of a request for a job.

    The vault's public key is read again from ``vault_key_file`` when that changes.

    Raises:
        SetupError: the vault's public key, the networks or the CA are invalid, or the admin key is
            weak. At the start of its lifespan: the database does not answer or is not migrated,
            PostgreSQL or the broker is too old, the sign-in provider is unknown, or uploads cannot
            be stored.
    """
    require_strong(settings.admin_key)
    vault = SealingKey(PublicKey.parse(settings.vault_public_key), vault_key_file)
    networks = parse_networks(settings.registry_networks)
    webhook_networks = parse_webhook_networks(settings.webhook_networks)

    provider = open_provider(settings)
    ca = _read_ca(settings.ca_certificate)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(
                open_pool(
                    settings.url, size=POOL_CONNECTIONS, queue=POOL_QUEUE, seconds=POOL_SECONDS
                )
            )
            await _begin(pool, settings)
            contexts = _open_contexts(settings)
            if contexts is not None:
                await stack.enter_async_context(cleaning_up(contexts, pool))
            sessions = await stack.enter_async_context(open_sessions(settings.url))
            broker_url = _broker_url(settings)
            if broker_url is not None:
                await require_broker(broker_url)
            waiter, feeds, connections = Waiter(), Feeds(pool), _bound(settings)
            readers = Readers(
                ConcurrencyLimit.share(
                    "open event streams",
                    min(MAX_READERS, connections.limit // 2),
                    per_owner=settings.quota_streams,
                )
            )
            await stack.enter_async_context(readers.checking(pool))
            limiter = RateLimiter(
                broker_url,
                settings.api_rate_per_minute,
                per_organization=settings.api_rate_per_organization,
                per_address=settings.api_rate_per_address,
            )
            await stack.enter_async_context(limiter.running())
            handle = _pass_on(waiter, feeds)
            await stack.enter_async_context(listening(settings.direct_url, CHANNELS, handle))
            app.state.resources = Resources(
                pool=pool,
                sessions=sessions,
                waiter=waiter,
                feeds=feeds,
                readers=readers,
                waits=ConcurrencyLimit.share(
                    "requests that wait for a job", connections.limit // 4
                ),
                uploads=ConcurrencyLimit(
                    "running uploads", MAX_UPLOADS, UPLOADS_EACH, UPLOADS_EACH
                ),
                bodies=ConcurrencyLimit(
                    "large requests",
                    LARGE_BODIES,
                    LARGE_BODIES // 4,
                    LARGE_BODIES,
                    owner="this address",
                ),
                guesses=GuessLimit(WRONG_KEYS_PER_MINUTE),
                sign_ins=GuessLimit(WRONG_PASSWORDS_PER_MINUTE),
                reports=Reports(),
                limiter=limiter,
                connections=connections,
                vault=vault,
                networks=networks,
                webhook_networks=webhook_networks,
                server_database_url=settings.server_database_url,
                server_broker_url=settings.server_broker_url,
                contexts=contexts,
                quotas=Quotas.of(settings),
                flower_url=settings.flower_url,
                patience=patience,
                disk=DiskWatch(settings.data_dir),
                procedure_names=frozenset((*PROCEDURES, EVENTS.name, UPLOAD.name)),
                log=log,
                ca=ca,
            )
            yield

    app = Starlette(
        lifespan=lifespan,
        exception_handlers={CallerGoneError: _answer_nobody, ClientDisconnect: _answer_nobody},
    )
    http_metrics = HttpMetrics()
    app.add_middleware(RequestId)
    app.add_middleware(RateHeaders)
    app.add_middleware(CountRequests, metrics=http_metrics)
    app.add_middleware(StrictTransport)
    _add_routes(app, http_metrics, provider)
    return app


def leave(app: Starlette, patience: timedelta) -> None:
    """End event streams now, and waits for a job after ``patience``."""
    resources: Resources = app.state.resources
    resources.feeds.leave()
    resources.waiter.leave(patience)


def _broker_url(settings: ApiSettings) -> str | None:
    return settings.broker_url.get_secret_value() if settings.broker_url else None


def _bound(settings: ApiSettings) -> Connections:
    limit = bound_connections(settings.connections, allow_open_files(settings.connections * 2))
    return Connections(limit, min(settings.connections_per_address or limit // 2, limit))


def _open_contexts(settings: ApiSettings) -> ContextStore | None:
    if settings.data_dir is None:
        return None
    return ContextStore.open(settings.data_dir, settings.context_max_bytes)


def _read_ca(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text()
        fingerprint_of(text)
    except (OSError, ValueError) as error:
        raise SetupError(
            f"WHARF_CA_CERTIFICATE is not the file of a certificate: {path}",
            remedy="Give the certificate of the internal CA in PEM: wharf ca show DIRECTORY.",
        ) from error
    return text


def _pass_on(waiter: Waiter, feeds: Feeds) -> NotificationHandler:
    def handle(channel: str, payload: str) -> None:
        feeds.on_notification(channel, payload)
        if channel != "wharf_progress":
            waiter.on_notification(channel, payload)

    return handle


async def _begin(pool: Pool, settings: ApiSettings) -> None:
    try:
        async with pool.connection() as connection:
            require_postgres(connection)
        await found_organization(pool, settings.admin_key)
        async with pool.connection() as connection:
            await connection.execute("SELECT FROM organization LIMIT 1")
        await require_provider_known(pool, settings)
    except psycopg.OperationalError as error:
        raise SetupError(
            "the database does not answer",
            remedy="Check WHARF_DATABASE_URL, and that PostgreSQL runs.",
        ) from error
    except psycopg.errors.UndefinedTable as error:
        raise SetupError(
            "the database is not migrated", remedy="Run wharf migrate first."
        ) from error


def _add_routes(app: Starlette, http_metrics: HttpMetrics, provider: "Provider | None") -> None:
    def resources() -> Resources:
        held: Resources = app.state.resources
        return held

    _add_watching(app, resources, http_metrics)
    add_docs(app, lambda: json.loads(_document()))
    add_console(app, resources, PROCEDURES, provider)

    async def events(request: Request) -> Response:
        return await answer_events(resources(), request)

    app.add_route("/api/trpc/job.events", events, methods=["GET"])
    add_events(app, resources)
    add_upload(app, resources)
    add_deploy_hooks(app, resources, METHODS)

    async def context(request: Request) -> Response:
        return await answer_context(resources(), request.path_params["context_id"], request)

    async def trpc(request: Request) -> Response:
        path = request.path_params["path"]
        return await answer_in_dialect(resources(), PROCEDURES, path, request)

    app.add_route("/api/contexts/{context_id}", context, methods=["GET"])
    app.add_route("/api/trpc/{path:path}", trpc, methods=METHODS)
    for procedure in PROCEDURES.values():
        add_procedure(app, procedure, resources)

    async def unknown(request: Request) -> Response:
        return await answer_unknown(resources(), request.path_params["path"], request)

    app.add_route("/api/{path:path}", unknown, methods=METHODS)


def _add_watching(
    app: Starlette, resources: Callable[[], Resources], http_metrics: HttpMetrics
) -> None:
    """Add the routes without a key: health, metrics, the OpenAPI document."""

    async def healthz(_request: Request) -> Response:
        return answer_alive()

    async def readyz(_request: Request) -> Response:
        return await answer_ready(resources().pool, resources().disk)

    making, made = asyncio.Lock(), list[bytes]()

    async def openapi(_request: Request) -> Response:
        if not made:
            async with making:
                made[:] = [await asyncio.to_thread(_document)]
        return Response(made[0], media_type="application/json")

    metrics = Metrics(http_metrics)

    async def answer_metrics(_request: Request) -> Response:
        return await metrics.answer(resources())

    async def ca(_request: Request) -> Response:
        return answer_ca(resources().ca)

    app.add_route("/ca.pem", ca, methods=["GET"])
    app.add_route("/healthz", healthz, methods=["GET"])
    app.add_route("/readyz", readyz, methods=["GET"])
    app.add_route("/openapi.json", openapi, methods=["GET"])
    app.add_route("/metrics", answer_metrics, methods=["GET"])


@cache
def _document() -> bytes:
    """Write the OpenAPI document once, because it is large."""
    return dump(make_document(PROCEDURES.values()))


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)
