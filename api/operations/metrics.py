"""``/metrics`` for Prometheus: counted on request, at most every five seconds."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version

import psycopg
import structlog
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.responses import PlainTextResponse, Response

from api.operations.http_metrics import HttpMetrics
from api.operations.links import Link, look_at_links, make_link_families
from api.operations.metric_families import make_counter, make_counters, make_gauge
from api.operations.row_counts import count
from api.procedure.context import Resources
from shared.coroutines import within
from shared.ids import uuid7

CACHED = timedelta(seconds=5)
LINKS_CACHED = timedelta(minutes=1)
RECENT = timedelta(hours=1)
_EXPECTED = {("password", "succeeded"), ("password", "refused")}

PATIENCE = timedelta(seconds=5)
"""The time limit of the count, also on an open connection to a frozen PostgreSQL."""

log = structlog.get_logger()


@dataclass
class Metrics:
    """The cached page; ``clock`` is in seconds since the epoch."""

    http: HttpMetrics = field(default_factory=HttpMetrics)
    clock: Callable[[], float] = time.time
    _page: bytes = b""
    _links: Sequence[Link] = ()
    _links_until: float = 0.0
    _until: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, resources: Resources) -> Response:
        """Return the page; 503 if the database does not answer."""
        async with self._turn:
            if self.clock() >= self._until:
                try:
                    families = await within(PATIENCE.total_seconds(), self._count(resources))
                except (psycopg.Error, OSError) as error:
                    log.warning("metrics_missing", error=type(error).__name__)
                    return PlainTextResponse("the database does not answer\n", 503)
                self._page = generate_latest(_Found(families))
                self._until = self.clock() + CACHED.total_seconds()
        return Response(self._page, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def _count(self, resources: Resources) -> list[Metric]:
        if self.clock() >= self._links_until:
            self._links = await look_at_links(resources)
            self._links_until = self.clock() + LINKS_CACHED.total_seconds()
        begun = int((self.clock() - RECENT.total_seconds()) * 1000)
        async with resources.pool.connection() as connection:
            found = [*await count(connection, uuid7(begun, bytes(10)))]
        links = make_link_families(self._links)
        return [*found, *_of_process(resources), *links, *self.http.collect()]


@dataclass(frozen=True)
class _Found:
    """A collector in the form that prometheus_client expects."""

    families: Sequence[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


def _of_process(resources: Resources) -> Iterator[Metric]:
    yield make_gauge(
        "wharf_event_readers", "Open event streams.", [{"value": resources.feeds.reader_count}]
    )
    full = [{"value": resources.disk.is_full()}]
    yield make_gauge(
        "wharf_disk_full", "A disk is full, and something could not be stored: 1, else 0.", full
    )
    free = resources.disk.free_bytes()
    if free is not None:
        room = [{"value": free}]
        yield make_gauge(
            "wharf_uploads_free_bytes", "Free bytes on the disk of WHARF_DATA_DIR.", room
        )
    yield make_counter(
        "wharf_rate_limited", "Requests refused by the rate limit.", resources.limiter.refused
    )
    connections = resources.connections
    yield make_gauge("wharf_connections", "Open connections.", [{"value": connections.count}])
    yield make_counter(
        "wharf_connections_refused", "Connections refused at the limit.", connections.refused
    )
    yield make_counter(
        "wharf_connections_evicted", "Connections closed to make room.", connections.evicted
    )
    yield make_counter(
        "wharf_connections_overdue", "Connections of slow clients closed.", connections.overdue
    )
    for name, limit in (
        ("streams", resources.readers.limit),
        ("waits", resources.waits),
        ("uploads", resources.uploads),
    ):
        yield make_counter(
            f"wharf_{name}_refused",
            f"Requests refused at the limit of {limit.things}.",
            limit.refused,
        )
    yield make_counter(
        "wharf_guesses_refused",
        "Keys refused because their address sent too many wrong ones.",
        resources.guesses.refused,
    )
    counted = resources.sign_in_counts
    yield make_counters(
        "wharf_sign_ins",
        "Attempts to sign in to the console, by way and outcome.",
        {ended: counted[ended] for ended in sorted(_EXPECTED | {*counted})},
        "method",
        "outcome",
    )
    lost = resources.log.lost if resources.log else 0
    yield make_counter("wharf_log_lines_lost", "Log lines that could not be written.", lost)
    build = [{"version": version("wharfinger"), "value": 1}]
    yield make_gauge("wharf_build_info", "The version of this process.", build, "version")
