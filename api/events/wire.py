"""Events as text: ``text/event-stream`` (WHATWG HTML, section 9.2)."""

from datetime import datetime
from typing import Any

from pydantic import JsonValue

from api.events.transfer import TransferShown
from api.fields.shapes import Moment, Output, show_document
from shared.jobs.states import State

BEGINNING = b"retry: 1000\n\n"
"""A reader whose connection breaks reconnects after a second."""

COMMENT = b":\n\n"
"""A comment without text: shows both sides and all proxies that the connection is alive."""


class EventOutput(Output):
    """A dated event of a job; ``seq`` counts a job's events without gaps."""

    seq: int
    attempt: int
    kind: str
    state: State | None
    data: JsonValue
    at: Moment


class SnapshotOutput(Output):
    """The state of a job: sent when it changed; it is not stored, so it has no id.

    ``progress`` is a transfer for transfer jobs; otherwise its form depends on the job's kind.
    """

    state: State
    attempt: int
    progress: TransferShown | dict[str, JsonValue] | None


def make_event(
    *, seq: int, attempt: int, kind: str, state: str | None, data: Any, at: datetime
) -> EventOutput:
    """Make the output of a stored event."""
    return EventOutput(
        seq=seq,
        attempt=attempt,
        kind=kind,
        state=State(state) if state else None,
        data=show_document(data),
        at=at,
    )


def write_event(event: EventOutput) -> bytes:
    """Write ``id: 4``, ``event: log``, ``data: {…}``; a reader that reconnects sends the id."""
    data = event.model_dump_json(by_alias=True)
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {data}\n\n".encode()


def write_snapshot(snapshot: SnapshotOutput) -> bytes:
    """Write ``event: snapshot``, ``data: {…}``."""
    return f"event: snapshot\ndata: {snapshot.model_dump_json(by_alias=True)}\n\n".encode()
