"""Read the server-sent events of a job, and reconnect without losing one."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from api.cli.client import base_url, headers_of
from api.cli.settings import ClientSettings

SILENT_SECONDS = 60.0
"""The stream's timeout; the API sends at least a comment every 15 s."""


@dataclass(frozen=True)
class SseEvent:
    """One server-sent event."""

    id: str
    name: str
    data: dict[str, Any]


def read_events(lines: Iterable[str]) -> Iterator[SseEvent]:
    """Parse the events of a ``text/event-stream`` (WHATWG HTML, section 9.2.6)."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            data = json.loads(fields["data"])
            yield SseEvent(fields.get("id", ""), fields.get("event", "message"), data)
        fields = {}


def listen(
    settings: ClientSettings, job_id: str, last: str, on_comment: Callable[[], None]
) -> Iterator[SseEvent]:
    """Yield the events of a job after the last one, until the stream ends.

    ``on_comment`` is called while nothing happens, every 15 seconds.
    """
    import httpx2  # noqa: PLC0415 - takes longer to import than the rest of a command

    from shared.tls import tls_context  # noqa: PLC0415

    with httpx2.stream(
        "GET",
        f"{base_url(settings)}/api/trpc/job.events",
        params={"jobId": job_id},
        headers=headers_of(settings) | ({"Last-Event-ID": last} if last else {}),
        timeout=SILENT_SECONDS,
        verify=tls_context(),
    ) as answer:
        if answer.status_code == httpx2.codes.OK:
            yield from read_events(_noticed(answer.iter_lines(), on_comment))


def _noticed(lines: Iterable[str], on_comment: Callable[[], None]) -> Iterator[str]:
    for line in lines:
        if line.startswith(":"):
            on_comment()
        yield line
