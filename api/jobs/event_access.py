"""Check that a caller may watch a job, and find the first event to send."""

from typing import Annotated

from pydantic import Field

from api.fields.shapes import Id, Input, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import NotFoundError
from shared.jobs.states import State

FIND = "SELECT state, event_seq FROM job WHERE job_id = %s AND organization_id = %s"


class WatchedJob(Input):
    """``lastEventId`` is the number of the last event that the reader received."""

    job_id: Id
    last_event_id: Annotated[int, Field(ge=0, lt=1 << 31)] = 0


class Opening(Output):
    """The start of a stream; ``is_over``: the reader already received the last event."""

    job_id: str
    after: int
    is_over: bool
    organization_id: str
    key_id: str


async def open_events(context: Context, request: WatchedJob) -> Opening:
    """Follow a job as server-sent events, from the first one or after `Last-Event-ID`."""
    caller, resources = context.caller, context.resources
    resources.feeds.require_room()
    resources.readers.limit.require_room(caller.organization_id, caller.actor_id)
    async with context.resources.pool.connection() as connection:
        found = await connection.execute(FIND, (request.job_id, context.organization_id))
        job = await found.fetchone()
    if job is None:
        raise NotFoundError("Job not found")
    after = min(request.last_event_id, job["event_seq"])
    is_over = State(job["state"]).is_final and after == job["event_seq"]
    return Opening(
        job_id=request.job_id,
        after=after,
        is_over=is_over,
        organization_id=caller.organization_id,
        key_id=caller.session_id or caller.actor_id or "",
    )


EVENTS = Procedure("job.events", "query", WatchedJob, Opening, open_events)
