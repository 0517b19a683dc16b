"""Events as text: ``text/event-stream`` (WHATWG HTML, section 9.2)."""

from datetime import datetime
from typing import Any

from pydantic import JsonValue

from api.events.transfer import TransferShown
from api.fields.shapes import Moment, Output, show_document
from shared.jobs.states import State

BEGINNING = b"retry: 1000\n\n"
"""A reader whose line breaks comes back after a second."""

COMMENT = b":\n\n"
"""Says nothing, and shows both sides and all proxies that the line is alive."""


class EventOutput(Output):
    """A dated line; ``seq`` counts a job's events without gaps."""

    seq: int
    attempt: int
    kind: str
    state: State | None
    data: JsonValue
    at: Moment


class SnapshotOutput(Output):
    """The status of a job: sent when it changed; it is not stored, so it has no id.

    ``progress`` is a transfer where the job is one, else as its kind makes it.
    """

    state: State
    attempt: int
    progress: TransferShown | dict[str, JsonValue] | None


def make_event(
    *, seq: int, attempt: int, kind: str, state: str | None, data: Any, at: datetime
) -> EventOutput:
    """A stored event as it is shown."""
    return EventOutput(
        seq=seq,
        attempt=attempt,
        kind=kind,
        state=State(state) if state else None,
        data=show_document(data),
        at=at,
    )


def write_event(event: EventOutput) -> bytes:
    """``id: 4``, ``event: log``, ``data: {…}``; a reader that comes back says the id."""
    data = event.model_dump_json(by_alias=True)
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {data}\n\n".encode()


def write_snapshot(snapshot: SnapshotOutput) -> bytes:
    """``event: snapshot``, ``data: {…}``."""
    return f"event: snapshot\ndata: {snapshot.model_dump_json(by_alias=True)}\n\n".encode()
