"""Why a queued job does not run yet: told when asked, from the same facts as its release."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from api.procedures.fields import Moment, Output, show_moment
from shared.jobs.state import State
from shared.models import Job

FACTS = text("""
SELECT s.name, s.seen_at, s.removed_at IS NOT NULL AS removed,
       server_is_online(s) AS online,
       j.kind || '@' || j.version = ANY (s.kinds) AS known,
       j.run_at > now() AS later,
       (SELECT array_agg(n.needs_job_id) FROM job_need n JOIN job d ON d.job_id = n.needs_job_id
         WHERE n.job_id = j.job_id AND NOT CASE n.on_state
           WHEN 'succeeded' THEN d.state = 'succeeded'
           WHEN 'failed' THEN d.state IN ('failed', 'expired')
           ELSE d.finished_at IS NOT NULL END) AS needs,
       EXISTS (SELECT FROM job h WHERE h.exclusive_key = j.exclusive_key
                  AND h.state IN ('dispatched', 'running')) AS held,
       (SELECT count(*) FROM job b WHERE b.server_id = j.server_id AND b.job_class = j.job_class
           AND b.state IN ('dispatched', 'running'))
         >= CASE j.job_class WHEN 'quick' THEN s.quick_slots WHEN 'build' THEN s.build_slots
                            ELSE s.transfer_slots END AS full_up,
       s.draining, s.approved_at IS NULL AS unapproved,
       CASE WHEN j.job_class = ANY (s.paused_classes) THEN s.paused_at END AS paused_at,
       j.job_class = 'transfer' AND r.transfer_limit <= (
         SELECT count(*) FROM job b WHERE b.registry_id = j.registry_id AND b.job_class = 'transfer'
            AND b.state IN ('dispatched', 'running')) AS registry_full,
       j.job_class = 'transfer' AND o.transfer_limit <= (
         SELECT count(*) FROM job b WHERE b.organization_id = j.organization_id
            AND b.job_class = 'transfer' AND b.state IN ('dispatched', 'running'))
         AS organization_full,
       coalesce(j.created_at <= o.held_at, false) AS restored
  FROM job j JOIN server s USING (server_id)
  JOIN organization o ON o.organization_id = j.organization_id
  LEFT JOIN registry r ON r.registry_id = j.registry_id
 WHERE j.job_id = :job_id
""")

ReasonCode = Literal[
    "restored",
    "needs",
    "server_removed",
    "server_not_approved",
    "server_offline",
    "server_draining",
    "worker_too_old",
    "paused",
    "backoff",
    "same_target",
    "no_room",
    "registry_limit",
    "organization_limit",
]


def approve_line(name: str) -> str:
    """The command that approves a server."""
    return f"wharf server approve {shlex.quote(name)}"


class Reason(Output):
    """``since`` or ``until`` when, as far as it is known; ``jobs`` are those that it waits for."""

    code: ReasonCode
    message: str
    since: Moment | None = None
    until: Moment | None = None
    jobs: list[str]


@dataclass(frozen=True)
class Facts:
    """What the database knows of a queued job's surroundings."""

    name: str
    seen_at: datetime | None
    removed: bool
    online: bool
    known: bool
    later: bool
    needs: Sequence[str] | None
    held: bool
    full_up: bool
    draining: bool = False
    unapproved: bool = False
    paused_at: datetime | None = None
    registry_full: bool | None = False
    organization_full: bool | None = False
    restored: bool = False


async def read_reason(session: AsyncSession, job: Job) -> Reason | None:
    """What keeps a job from its release; ``None`` if nothing does, or if it is not queued."""
    if job.state != State.QUEUED:
        return None
    connection = await session.connection()
    row = (await connection.execute(FACTS, {"job_id": job.job_id})).mappings().one()
    return choose_reason(Facts(**row), job.run_at)


def choose_reason(facts: Facts, run_at: datetime | None) -> Reason | None:
    """The first reason that would still hold if the ones below it went away."""
    server, needs = facts.name, list(facts.needs or ())
    since = f"since {show_moment(facts.seen_at)}" if facts.seen_at else "so far"
    reasons: tuple[tuple[bool, ReasonCode, str], ...] = (
        (
            facts.restored,
            "restored",
            "the database was restored from a copy that holds this job: wharf resume lets it run",
        ),
        (bool(needs), "needs", f"waits for other jobs: {len(needs)}"),
        (facts.removed, "server_removed", f"the server {server} was removed"),
        (
            facts.unapproved,
            "server_not_approved",
            f"the server {server} is not approved: on a control host, {approve_line(server)}",
        ),
        (not facts.online, "server_offline", f"the server {server} was not heard of {since}"),
        (
            not facts.known,
            "worker_too_old",
            f"the worker of {server} is too old for this: update it",
        ),
        (facts.draining, "server_draining", f"the worker of {server} is shutting down"),
        (facts.paused_at is not None, "paused", f"the server {server} is paused: resume it"),
        (facts.later, "backoff", "tried again after a pause"),
        (facts.held, "same_target", "another job works on the same target"),
        (facts.full_up, "no_room", f"the server {server} has no free slot"),
        (bool(facts.registry_full), "registry_limit", "its registry has all the transfers it may"),
        (
            bool(facts.organization_full),
            "organization_limit",
            "the organization has all the transfers it may",
        ),
    )
    for holds, code, message in reasons:
        if holds:
            return Reason(
                code=code,
                message=message,
                since={"server_offline": facts.seen_at, "paused": facts.paused_at}.get(code),
                until=run_at if code == "backoff" else None,
                jobs=needs if code == "needs" else [],
            )
    return None
