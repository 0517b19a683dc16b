"""Count the requests that this process answers, and measure how long they take.

A request is counted by its procedure, and one to another path by the template of its route. So no
client can make a label.
"""

import time
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import Metric
from starlette.types import ASGIApp, Receive, Scope, Send

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds; a request waits up to half a minute for a job."""

OTHER, BATCH = "other", "batch"
NO_ANSWER = 499
"""The status of a request whose client left before its answer."""

COUNTED_NAME = "wharf.procedure"
"""The key of a request's scope for the name by which it is counted."""

_PREFIX = "/api/"


class HttpMetrics:
    """The counters of one process."""

    def __init__(self) -> None:
        # Another sample for each, with the time of its first use.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "wharf_http_requests",
            "Requests that this process answered. The procedure is batch for several calls at "
            "once, and the path for routes without a procedure.",
            ("procedure", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "wharf_http_request_seconds",
            "Requests took so long until their answer began.",
            ("procedure",),
            buckets=BOUNDS,
            registry=self._registry,
        )
        self._requests.labels(OTHER, "200")
        self._seconds.labels(OTHER)

    def record(self, procedure: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(procedure, str(status)).inc()
        self._seconds.labels(procedure).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Return the families, as prometheus_client does."""
        yield from self._registry.collect()


@dataclass(frozen=True)
class CountRequests:
    """Record each HTTP request of an application, when its answer begins."""

    app: ASGIApp
    metrics: HttpMetrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, unanswered, has_answered = time.monotonic(), NO_ANSWER, False

        def record(status: int) -> None:
            self.metrics.record(_label(scope), status, time.monotonic() - began)

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal has_answered
            if message["type"] == "http.response.start":
                has_answered = True
                record(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception:
            unanswered = 500
            raise
        finally:
            if not has_answered:
                record(unanswered)


def _label(scope: Scope) -> str:
    template = getattr(scope.get("route"), "path", OTHER)
    of_route = template.removeprefix(_PREFIX) if "{" not in template else template
    return str(scope.get(COUNTED_NAME, of_route))
