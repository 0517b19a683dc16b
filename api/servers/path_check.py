"""``server.check``: test the path from the API to a server's Engine and back with a job."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from api.fields.shapes import Accepted, Output
from api.jobs.server_choice import choose_server
from api.jobs.submission import TEST_DEADLINE, submit_job
from api.jobs.wait_reasons import Reason, read_reason
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.servers.schemas import ChosenServer
from shared.errors import OverdueError
from shared.ids import make_id
from shared.jobs.commands import ServerCheck
from shared.jobs.states import State
from shared.jobs.store.cancel import cancel
from shared.jobs.store.submit import Submission
from shared.models import Job

PATIENCE = TEST_DEADLINE - timedelta(seconds=2)
"""A job that has not ended by then is reported in its current state."""

PartName = Literal["database", "control", "broker", "worker", "engine"]


class Part(Output):
    """One part of the path; ``isGood`` is null for a part that the job did not reach.

    ``milliseconds`` is the time since the previous part.
    """

    name: PartName
    is_good: bool | None
    milliseconds: float | None = None
    found: str
    remedy: str = ""


class PathCheck(Output):
    """``isGood``: the Engine answered. A job passes the ``parts`` in this order."""

    server_id: str
    job_id: str
    is_good: bool
    parts: list[Part]


@dataclass(frozen=True)
class Facts:
    """The state, times (database clock), result and error of a check's job."""

    state: State
    created_at: datetime | None
    dispatched_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    reason: str = ""


async def check(context: Context, request: ChosenServer) -> PathCheck | Accepted:
    """Read the version of a server's Engine with a job, and report which parts the job passed.

    Raises:
        NotFoundError: no such server.
        UnmetConditionError: ``server_offline`` or ``server_paused``.
    """
    server_id = await choose_server(context, request.server_id)
    job = Submission(
        context.organization_id,
        server_id,
        ServerCheck(),
        job_id=make_id(),
        deadline=TEST_DEADLINE,
        requested_by=context.caller.actor_id,
    )
    accepted = await submit_job(context, job)
    if context.respond_async:
        return accepted
    resources = context.resources
    with contextlib.suppress(OverdueError):
        await resources.waiter.wait(
            resources.pool,
            accepted.job_id,
            context.organization_id,
            min(resources.patience, PATIENCE),
        )
    async with context.transaction() as session:
        row = await session.get_one(Job, accepted.job_id)
        waiting = await read_reason(session, row)
        facts = _facts(row, waiting)
    if not facts.state.is_final:
        async with resources.pool.connection() as connection:
            await cancel(connection, row.job_id, row.organization_id, "the check took too long")
    parts = list(judge(facts))
    return PathCheck(
        server_id=server_id,
        job_id=accepted.job_id,
        is_good=all(part.is_good for part in parts),
        parts=parts,
    )


def judge(facts: Facts) -> Iterator[Part]:
    """Yield each part of the path, and whether the job passed it."""
    yield Part(name="database", is_good=True, found="stored the job")
    if facts.dispatched_at is None:
        found = facts.reason or "did not release the job in time"
        yield Part(
            name="control",
            is_good=False,
            found=found,
            remedy="Check that wharf control runs and the server is online. Its log has more.",
        )
        yield from _not_reached("broker", "worker", "engine")
        return
    yield _passed("control", "released the job", facts.created_at, facts.dispatched_at)
    if facts.started_at is None:
        yield Part(
            name="broker",
            is_good=False,
            found="the worker did not get the message",
            remedy="Check WHARF_BROKER_URL of wharf control and the worker. Both logs have more.",
        )
        yield from _not_reached("worker", "engine")
        return
    yield _passed("broker", "carried the message", facts.dispatched_at, facts.started_at)
    if facts.finished_at is None:
        yield Part(
            name="worker",
            is_good=False,
            found="has not finished the job",
            remedy="See the worker's log on the server.",
        )
        yield from _not_reached("engine")
        return
    yield _passed("worker", "finished the job", facts.started_at, facts.finished_at)
    yield _engine(facts)


def _engine(facts: Facts) -> Part:
    if facts.state is State.SUCCEEDED:
        result = facts.result or {}
        taken = result.get("milliseconds")
        return Part(
            name="engine",
            is_good=True,
            milliseconds=taken if isinstance(taken, float | int) else None,
            found=f"Docker Engine {str(result.get('engineVersion', 'unknown'))[:100]}",
        )
    error = facts.error or {}
    return Part(
        name="engine",
        is_good=False,
        found=str(error.get("message") or facts.state.value)[:500],
        remedy=str(error.get("remedy") or "See the worker's log on the server.")[:500],
    )


def _facts(job: Job, reason: Reason | None) -> Facts:
    return Facts(
        state=State(job.state),
        created_at=job.created_at,
        dispatched_at=job.dispatched_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        result=job.result,
        error=job.error,
        reason=reason.message if reason else "",
    )


def _passed(name: PartName, found: str, since: datetime | None, until: datetime) -> Part:
    taken = until - since if since else timedelta()
    milliseconds = max(round(taken / timedelta(milliseconds=1), 1), 0.0)
    return Part(name=name, is_good=True, milliseconds=milliseconds, found=found)


def _not_reached(*names: PartName) -> Iterator[Part]:
    for name in names:
        yield Part(name=name, is_good=None, found="not reached")


PROCEDURES = (Procedure("server.check", "mutation", ChosenServer, PathCheck, check, waits=True),)
