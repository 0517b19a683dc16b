"""The events of a job as tRPC's ``httpSubscriptionLink`` reads them.

Its messages have no name: the kind of an event is in its data, which is superjson. ``connected``
begins the stream, ``ping`` keeps it alive, ``return`` ends it, ``serialized-error`` ends it with
an error.
"""

import json
from collections.abc import AsyncIterator, Mapping

from starlette.responses import Response

from api.events.wire import BEGINNING, COMMENT
from api.fields.issues import Undefined
from api.http.calls import Failure
from api.http.plain import NO_STORE, dump
from api.http.trpc.protocol import error_shape
from api.http.trpc.superjson import read_superjson
from api.jobs.event_access import Opening
from shared.jobs.states import FINAL

CONNECTED = BEGINNING + b"event: connected\ndata: {}\n\n"
PING = b"event: ping\ndata: \n\n"
RETURN = b"event: return\ndata: \n\n"
LAST_EVENT_ID = "lastEventId"


def read_subscription(document: object, last: str | None) -> object:
    """Return the input; ``lastEventId`` is a number also if the client sends its text.

    A client that subscribes again repeats it in the input; a browser that reconnects sends the
    header ``last``, which is newer.
    """
    given = read_superjson(document)
    if not isinstance(given, dict):
        return given if given is not Undefined.VALUE else {}
    last = last or given.get(LAST_EVENT_ID)
    if isinstance(last, str) and last.isdecimal():
        return {**given, LAST_EVENT_ID: int(last)}
    return given


async def speak_trpc(text: AsyncIterator[bytes], opening: Opening) -> AsyncIterator[bytes]:
    """Yield the stream in tRPC's form; every message has an id, so that all have one shape."""
    last_id, is_over = opening.after, False
    async for chunk in text:
        if chunk in {BEGINNING, COMMENT}:
            yield CONNECTED if chunk == BEGINNING else PING
            continue
        fields = _parse(chunk)
        data = json.loads(fields["data"])
        if "id" in fields:
            last_id, is_over = int(fields["id"]), data["state"] in FINAL
        else:
            data = {"kind": fields["event"], **data}
        yield b"data: " + dump({"json": data}) + b"\nid: %d\n\n" % last_id
    if is_over:
        yield RETURN


def end_subscription(failure: Failure | None = None) -> Response:
    """Return a stream that ends at once, with the error if there is one.

    A client learns nothing of an error that has an HTTP status, so the status is 200.
    """
    ending = RETURN
    if failure is not None:
        shape = error_shape(failure.error, failure.path)
        ending = b"event: serialized-error\ndata: " + dump({"json": shape}) + b"\n\n"
    return Response(CONNECTED + ending, media_type="text/event-stream", headers=NO_STORE)


def _parse(chunk: bytes) -> Mapping[str, str]:
    lines = chunk.decode().strip().splitlines()
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}
