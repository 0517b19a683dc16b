"""``/metrics`` for Prometheus: counted by SQL on request, at most every five seconds.

No query scans old, finished jobs. Ended jobs count if they were submitted within the last hour (ids
begin with the time, so the primary key finds them); all unfinished jobs count. Names of
organizations, servers, registries and images are not shown.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import psycopg
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.responses import PlainTextResponse, Response

from api.procedure.context import Resources
from shared.database import Connection
from shared.ids import uuid7

CACHED = timedelta(seconds=5)
RECENT = timedelta(hours=1)
PATIENCE = timedelta(seconds=5)
CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")
MAX_CODES = 100
OTHER = "other"
"""Workers may report any error code, so the number of different codes is limited."""

QUEUE_AGE = """
SELECT kind, extract(epoch FROM now() - min(run_at))::float AS value
  FROM job WHERE state = 'queued' AND run_at <= now() GROUP BY kind
"""
UNDER_WAY = """
SELECT kind, state, count(*) AS value, count(*) FILTER (WHERE failures > 0) AS failed FROM (
  SELECT kind, state, failures FROM job WHERE state = 'queued'
  UNION ALL SELECT kind, state, failures FROM job WHERE state IN ('dispatched', 'running')
) AS job GROUP BY kind, state
"""
ENDED = """
SELECT kind, state, coalesce(error->>'code', '') AS code, count(*) AS value
  FROM job WHERE job_id >= %(since)s AND finished_at IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 4 DESC
"""
ATTEMPTS = """
WITH counted AS (
  SELECT job_id FROM job WHERE job_id >= %(since)s
  UNION SELECT job_id FROM job WHERE state = 'queued' AND attempt > 0
  UNION SELECT job_id FROM job WHERE state IN ('dispatched', 'running')
)
SELECT coalesce(outcome, 'open') AS outcome, count(*) AS value,
       count(*) FILTER (WHERE job_attempt.attempt > 1) AS again
  FROM counted CROSS JOIN LATERAL (
    SELECT outcome, attempt FROM job_attempt WHERE job_id = counted.job_id OFFSET 0) AS job_attempt
 GROUP BY 1
"""
TRANSFERS = """
SELECT kind, sum(extract(epoch FROM finished_at - started_at))::float AS seconds,
       sum(CASE WHEN jsonb_typeof(progress->'current_bytes') = 'number'
                THEN least(greatest((progress->>'current_bytes')::numeric, 0), 1e18)
                ELSE 0 END)::float AS bytes
  FROM job WHERE job_id >= %(since)s AND state = 'succeeded' AND job_class = 'transfer'
 GROUP BY kind
"""
DIGEST_CHECKS = """
SELECT outcome, coalesce(code, '') AS code, count(*) AS value
  FROM digest_check WHERE job_id >= %(since)s GROUP BY 1, 2
"""
SERVERS = """
SELECT CASE WHEN seen_at IS NULL THEN 'new'
            WHEN server_is_online(server) THEN 'online'
            ELSE 'away' END AS state, count(*) AS value
  FROM server WHERE removed_at IS NULL GROUP BY 1
"""
NOTIFICATIONS = "SELECT pg_notification_queue_usage() AS value"
BROKER = """
SELECT max(broker_memory) AS memory, bool_or(broker_error IS NOT NULL)::integer AS bad
  FROM control WHERE seen_at > now() - interval '10 seconds' HAVING count(*) > 0
"""
LEFTOVERS = """
SELECT count(*) AS value FROM server WHERE removed_at IS NOT NULL AND role_ready_at IS NOT NULL
"""
# The service itself failed where there is no row.
SET_ASIDE = """
SELECT service, code, count(*) AS value FROM set_aside
 WHERE next_at > now() - interval '2 minutes' GROUP BY 1, 2
"""
SERVICES = """
SELECT key AS service, sum((value->>'runs')::bigint) AS runs,
       sum((value->>'failures')::bigint) AS failures, sum((value->>'seconds')::float) AS seconds
  FROM control CROSS JOIN jsonb_each(services)
 WHERE seen_at > now() - interval '10 seconds' GROUP BY key
"""
CONTROLS = "SELECT count(*) AS value FROM control WHERE seen_at > now() - interval '10 seconds'"

Row = dict[str, Any]

log = structlog.get_logger()


@dataclass
class Metrics:
    """The cached page; ``clock`` is in seconds since the epoch."""

    clock: Callable[[], float] = time.time
    _page: bytes = b""
    _until: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, resources: Resources) -> Response:
        """Return the page; 503 if the database does not answer."""
        async with self._turn:
            if self.clock() >= self._until:
                try:
                    families = await self._count(resources)
                except (psycopg.Error, OSError) as error:
                    log.warning("metrics_missing", error=type(error).__name__)
                    return PlainTextResponse("the database does not answer\n", 503)
                self._page = generate_latest(_Found(families))
                self._until = self.clock() + CACHED.total_seconds()
        return Response(self._page, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def _count(self, resources: Resources) -> list[Metric]:
        begun = int((self.clock() - RECENT.total_seconds()) * 1000)
        timeout = PATIENCE.total_seconds()
        async with resources.pool.connection(timeout=timeout) as connection:
            found = [*await count(connection, uuid7(begun, bytes(10)))]
        return [*found, *_of_process(resources)]


@dataclass(frozen=True)
class _Found:
    """A collector in the form that prometheus_client expects."""

    families: Sequence[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


async def count(connection: Connection, since: str) -> list[Metric]:
    """Count rows of the database; ended jobs count from the id ``since`` on."""

    async def rows(query: str) -> list[Row]:
        return await (await connection.execute(query, {"since": since})).fetchall()

    under_way = await rows(UNDER_WAY)
    attempts = await rows(ATTEMPTS)
    transfers = await rows(TRANSFERS)
    broker = await rows(BROKER)
    services = await rows(SERVICES)
    return [
        _gauge(
            "wharf_queue_age_seconds",
            "Waiting time of the oldest due job.",
            await rows(QUEUE_AGE),
            "kind",
        ),
        _gauge("wharf_jobs", "Jobs that have not ended.", under_way, "kind", "state"),
        _gauge(
            "wharf_jobs_failed_before",
            "Unfinished jobs that failed before.",
            under_way,
            "kind",
            "state",
            value="failed",
        ),
        _gauge(
            "wharf_recent_jobs",
            "Jobs of the last hour that ended.",
            _bounded(await rows(ENDED)),
            "kind",
            "state",
            "code",
        ),
        _gauge(
            "wharf_recent_attempts",
            "Attempts of unfinished jobs and of jobs of the last hour; lost: the lease expired.",
            attempts,
            "outcome",
        ),
        _gauge(
            "wharf_recent_retries",
            "Recent attempts that were not the first.",
            attempts,
            "outcome",
            value="again",
        ),
        _gauge(
            "wharf_recent_transfer_bytes",
            "Bytes moved by transfers of the last hour.",
            transfers,
            "kind",
            value="bytes",
        ),
        _gauge(
            "wharf_recent_transfer_seconds",
            "Duration of the transfers of the last hour.",
            transfers,
            "kind",
            value="seconds",
        ),
        _gauge(
            "wharf_recent_digest_checks",
            "Pushed digests of the last hour that control asked the registry for.",
            await rows(DIGEST_CHECKS),
            "outcome",
            "code",
        ),
        _gauge(
            "wharf_servers",
            "Servers; away: no heartbeat for 15 s, new: never one.",
            await rows(SERVERS),
            "state",
        ),
        _gauge(
            "wharf_notification_queue_ratio",
            "Used part of PostgreSQL's notification queue, 0 to 1.",
            await rows(NOTIFICATIONS),
        ),
        _gauge(
            "wharf_broker_memory_ratio",
            "Used part of the broker's memory, 0 to 1.",
            broker,
            value="memory",
        ),
        _gauge("wharf_broker_bad", "1 if the broker is unavailable or full.", broker, value="bad"),
        _gauge(
            "wharf_removed_server_roles",
            "Database roles of removed servers that still exist.",
            await rows(LEFTOVERS),
        ),
        _gauge("wharf_controls", "Running control processes.", await rows(CONTROLS)),
        _gauge(
            "wharf_control_service_runs",
            "Runs of each service of control since its start.",
            services,
            "service",
            value="runs",
        ),
        _gauge(
            "wharf_control_service_failures",
            "Failed runs of each service of control since its start.",
            services,
            "service",
            value="failures",
        ),
        _gauge(
            "wharf_control_service_seconds",
            "Duration of the runs of each service of control since its start.",
            services,
            "service",
            value="seconds",
        ),
        _gauge(
            "wharf_rows_set_aside",
            "Rows that a service of control cannot handle; they are tried again.",
            await rows(SET_ASIDE),
            "service",
            "code",
        ),
    ]


def _of_process(resources: Resources) -> Iterator[Metric]:
    yield _gauge(
        "wharf_event_readers", "Open event streams.", [{"value": resources.feeds.reader_count}]
    )
    full = [{"value": resources.disk.is_full()}]
    yield _gauge("wharf_disk_full", "1 if a disk is full and something could not be stored.", full)
    free = resources.disk.free_bytes()
    if free is not None:
        room = [{"value": free}]
        yield _gauge("wharf_uploads_free_bytes", "Free bytes on the disk of WHARF_DATA_DIR.", room)
    yield _counter(
        "wharf_rate_limited", "Requests refused by the rate limit.", resources.limiter.refused
    )
    connections = resources.connections
    yield _gauge("wharf_connections", "Open connections.", [{"value": connections.count}])
    yield _counter(
        "wharf_connections_refused", "Connections refused at the limit.", connections.refused
    )
    yield _counter(
        "wharf_connections_evicted", "Connections closed to make room.", connections.evicted
    )
    yield _counter(
        "wharf_connections_overdue", "Connections of slow clients closed.", connections.overdue
    )
    for name, limit in (
        ("streams", resources.readers.limit),
        ("waits", resources.waits),
        ("uploads", resources.uploads),
    ):
        yield _counter(f"wharf_{name}_refused", f"Refused {limit.things}.", limit.refused)
    yield _counter(
        "wharf_guesses_refused",
        "Keys refused because their address sent too many wrong ones.",
        resources.guesses.refused,
    )
    lost = resources.log.lost if resources.log else 0
    yield _counter("wharf_log_lines_lost", "Log lines that could not be written.", lost)
    build = [{"version": version("wharfinger"), "value": 1}]
    yield _gauge("wharf_build_info", "The version of this process.", build, "version")


def _counter(name: str, description: str, value: int) -> Metric:
    family = CounterMetricFamily(name, description)
    family.add_metric([], value)
    return family


def _gauge(
    name: str, description: str, rows: Sequence[Row], *labels: str, value: str = "value"
) -> Metric:
    family = GaugeMetricFamily(name, description, labels=labels)
    for row in rows:
        family.add_metric([str(row[label]) for label in labels], float(row[value] or 0))
    return family


def _bounded(rows: Sequence[Row]) -> list[Row]:
    """Keep the most frequent codes; count the others, and invalid ones, as ``OTHER``."""
    counted: dict[tuple[str, str, str], int] = {}
    codes: set[str] = {"", OTHER}
    for row in rows:
        code = row["code"]
        if code not in codes and (len(codes) >= MAX_CODES or not CODE.fullmatch(code)):
            code = OTHER
        codes.add(code)
        key = (row["kind"], row["state"], code)
        counted[key] = counted.get(key, 0) + row["value"]
    return [
        {"kind": kind, "state": state, "code": code, "value": value}
        for (kind, state, code), value in counted.items()
    ]
