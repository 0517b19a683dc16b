"""``job.events``: the one answer that is a stream, below ``/api/`` and, bare, ``/api/trpc/``."""

from starlette.requests import Request
from starlette.responses import Response

from api.fields.json_text import parse_json
from api.http.bare import flat_input
from api.http.body import require_envelope_only, require_one_input
from api.http.calls import Call, Failure
from api.http.perform import perform
from api.http.plain import NO_STORE, plain_error
from api.http.trpc.subscription import end_subscription, read_subscription, speak_trpc
from api.http.trpc.superjson import holds_superjson
from api.jobs.event_access import EVENTS, Opening
from api.jobs.event_stream import Source, StreamedResponse, read
from api.procedure.context import Caller, Resources
from api.procedure.procedure import Flat
from shared.errors import WharfError

LAST_EVENT_ID = "last-event-id"
DESCRIPTION = """
Each event has its number as `id`, its kind as `event` and, as `data`, what `job.one` shows of it.
A reader that comes back with the number of the last event it had, as the header `Last-Event-ID` or
as `lastEventId`, misses nothing and sees nothing twice. Between them come `snapshot` events without
an id, at most four a second: `{state, attempt, progress}`, with the bytes of each layer, `rate` in
bytes a second, `secondsLeft`, and `stalled` (`{layer, seconds}`) when no byte of a layer moved for
30 s. The stream ends after the event that says how the job ended.
"""


async def answer_events(
    resources: Resources, request: Request, caller: Caller | None = None
) -> Response:
    """Return the stream, or 204 for a reader that has the last event, so that it stops."""
    is_trpc = holds_superjson(request.query_params.get("input"))
    call = Call(EVENTS.name, EVENTS, lambda: _input(request, is_trpc=is_trpc))
    [answer] = await perform(resources, request, [call], caller)
    if isinstance(answer, Failure):
        return end_subscription(answer) if is_trpc else plain_error(answer)
    opening = Opening.model_validate_json(answer.shown)
    if opening.is_over:
        return end_subscription() if is_trpc else Response(status_code=204, headers=NO_STORE)
    text = read(Source(resources.feeds, resources.readers, resources.pool), opening)
    if is_trpc:
        text = speak_trpc(text, opening)
    try:
        # It counts as a reader from its first line on, so that no other one gets its place.
        first = await anext(text)
    except WharfError as error:
        failure = Failure(EVENTS.name, error)
        return end_subscription(failure) if is_trpc else plain_error(failure)
    return StreamedResponse(first, text)


def _input(request: Request, *, is_trpc: bool) -> object:
    if is_trpc:
        require_envelope_only(request)
        last = request.headers.get(LAST_EVENT_ID)
        return read_subscription(parse_json(request.query_params["input"]), last)
    require_one_input(request, body=False)
    text = request.query_params.get("input")
    given = parse_json(text) if text else flat_input(request)
    # A browser repeats its first address when it comes back: what its header says is newer.
    last = request.headers.get(LAST_EVENT_ID)
    match given:
        case Flat(values=values) if last:
            return Flat({**values, "lastEventId": last})
        case dict() if last and last.isdecimal():
            return {**given, "lastEventId": int(last)}
        case _:
            return given
