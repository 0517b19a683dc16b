"""Find the reasons why queued jobs wait, from the same view as the release."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import RowMapping, text
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.shapes import Moment, Output, show_moment
from shared.jobs.durations import show_duration
from shared.jobs.logins import CONTROL, Refusal
from shared.jobs.states import State
from shared.models import Job

FACTS = text("""
SELECT j.job_id, s.name, s.seen_at, s.removed_at IS NOT NULL AS removed,
       server_is_online(s) AS online,
       j.kind || '@' || j.version = ANY (s.kinds) AS known, j.run_at > now() AS later, j.needs,
       j.target_is_busy AS held, c.available <= 0 AS server_full, s.draining,
       s.approved_at IS NULL AS unapproved,
       CASE WHEN j.job_class = ANY (s.paused_classes) THEN s.paused_at END AS paused_at,
       j.job_class = 'transfer' AND r.available <= 0 AS registry_full,
       o.available <= 0 AS organization_full, j.is_restored AS restored,
       CASE WHEN j.lacks_login THEN coalesce((
         SELECT jsonb_build_object('registry', l.registry_name, 'error', l.error->>'message')
           FROM registry_without_login l
          WHERE l.organization_id = j.organization_id
            AND (l.registry_id = j.registry_id OR l.registry_id = j.command->>'source_registry_id'
                 OR jsonb_path_exists(
                      j.command, '$.*[*].registry_id ? (@ == $id)',
                      jsonb_build_object('id', l.registry_id)))
          LIMIT 1), jsonb_build_object('registry', j.command->>'host')) END AS missing_login,
       j.lacks_check, j.error->>'code' = 'rate_limited' AS refused, (
         SELECT jsonb_build_object('host', q.host, 'limit', q.pull_limit, 'remaining', q.remaining,
                  'window_seconds', q.window_seconds, 'until', q.blocked_until)
           FROM registry_quota_capacity q
          WHERE q.organization_id = j.organization_id AND q.quota_key = ANY (j.quota_keys)
            AND q.available = 0
          ORDER BY q.blocked_until DESC NULLS LAST LIMIT 1) AS quota,
       CASE WHEN j.login_is_held THEN (
         SELECT jsonb_build_object('registry_name', t.registry_name, 'registry_id', t.registry_id,
                  'is_refused', h.cause = 'refused', 'refusals', t.refusals, 'servers', ARRAY(
                    SELECT s.name FROM server s WHERE t.refusals ? s.server_id ORDER BY s.name))
           FROM held_login h JOIN login_on_trial t USING (registry_id)
          WHERE h.key = ANY (j.login_keys) OR h.cause = 'refused' AND h.key = ANY (j.base_keys)
          ORDER BY h.cause LIMIT 1) END AS held_login
  FROM queued_job j JOIN server s USING (server_id)
  JOIN server_capacity c USING (server_id, job_class)
  JOIN organization_capacity o
    ON o.organization_id = j.organization_id AND o.job_class = j.job_class
  LEFT JOIN registry_capacity r ON r.registry_id = j.registry_id
 WHERE j.job_id = ANY (:job_ids)
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
    "credential_refused",
    "credential_untested",
    "login_pending",
    "signatures_unchecked",
    "quota",
    "server_limit",
    "registry_limit",
    "organization_limit",
]


CONTROL_NAME = "wharf control"


def approve_line(name: str) -> str:
    """Return the command that approves a server."""
    return f"wharf server approve {shlex.quote(name)}"


class Reason(Output):
    """The reason why a job waits; ``since``, ``until`` if known; ``jobs`` are those it needs."""

    code: ReasonCode
    message: str
    since: Moment | None = None
    until: Moment | None = None
    jobs: list[str]


class HeldLogin(BaseModel):
    """A login that is not sent now: the registry has refused it, or another job tries it."""

    registry_name: str
    registry_id: str
    is_refused: bool
    refusals: dict[str, Refusal]
    servers: list[str]

    @property
    def since(self) -> datetime | None:
        return min((one.since for one in self.refusals.values()), default=None)

    def describe(self) -> str:
        """Return why jobs with this login wait, and what ends it."""
        if not self.is_refused:
            return (
                f"the registry {self.registry_name} has yet to accept its login: one job at a time "
                "tries it"
            )
        refused = self.servers + [CONTROL_NAME] * (CONTROL in self.refusals)
        return (
            f"the registry {self.registry_name} refuses its login, from {', '.join(refused)}: "
            f"store a new one with registry.update, or test it with registry.testRegistryById "
            f"(registryId {self.registry_id})"
        )


@dataclass(frozen=True)
class Facts:
    """The facts in the database on which a queued job's release depends."""

    name: str
    seen_at: datetime | None
    removed: bool
    online: bool
    known: bool
    later: bool
    needs: Sequence[str] | None
    held: bool
    server_full: bool
    draining: bool = False
    unapproved: bool = False
    paused_at: datetime | None = None
    registry_full: bool | None = False
    organization_full: bool | None = False
    restored: bool = False
    missing_login: Mapping[str, str | None] | None = None
    lacks_check: bool = False
    refused: bool | None = False
    quota: Mapping[str, Any] | None = None
    held_login: HeldLogin | None = None


async def read_reason(session: AsyncSession, job: Job) -> Reason | None:
    """Return the reason why a queued job waits; ``None`` if there is none or it is not queued."""
    return (await read_reasons(session, [job])).get(job.job_id)


async def read_reasons(session: AsyncSession, jobs: Iterable[Job]) -> dict[str, Reason]:
    """Return the reasons why jobs wait, by their ids; jobs that do not wait are left out."""
    run_at = {job.job_id: job.run_at for job in jobs if job.state == State.QUEUED}
    if not run_at:
        return {}
    connection = await session.connection()
    # One that has been released since its row was read is not found.
    rows = (await connection.execute(FACTS, {"job_ids": list(run_at)})).mappings()
    found = {row["job_id"]: choose_reason(_facts(row), run_at[row["job_id"]]) for row in rows}
    return {job_id: reason for job_id, reason in found.items() if reason is not None}


def _facts(row: RowMapping) -> Facts:
    facts = {str(name): value for name, value in row.items() if name != "job_id"}
    held = facts.pop("held_login")
    return Facts(**facts, held_login=HeldLogin.model_validate(held) if held else None)


def choose_reason(facts: Facts, run_at: datetime | None) -> Reason | None:
    """Return the first reason that holds, in order of precedence."""
    server, needs = facts.name, list(facts.needs or ())
    since = f"since {show_moment(facts.seen_at)}" if facts.seen_at else "yet"
    reasons: tuple[tuple[bool, ReasonCode, str], ...] = (
        (
            facts.restored,
            "restored",
            (
                "this job comes from a restored copy of the database and is held back: run wharf "
                "resume, which releases all such jobs"
            ),
        ),
        (bool(needs), "needs", f"waits for other jobs: {len(needs)}"),
        (facts.removed, "server_removed", f"the server {server} was removed"),
        (
            facts.unapproved,
            "server_not_approved",
            f"the server {server} is not approved: run {approve_line(server)} by wharf control",
        ),
        (not facts.online, "server_offline", f"the server {server} has not been online {since}"),
        (
            not facts.known,
            "worker_too_old",
            f"the worker of {server} is too old for this kind of job: update it",
        ),
        (facts.draining, "server_draining", f"the worker of {server} is shutting down"),
        (facts.paused_at is not None, "paused", f"the server {server} is paused: resume it"),
        (
            facts.later and bool(facts.refused),
            "quota",
            "a registry refused it, because it was asked too often",
        ),
        (facts.later, "backoff", "it is retried after a pause"),
        (facts.held, "same_target", "another job works on the same target"),
        (
            facts.held_login is not None,
            (
                "credential_refused"
                if facts.held_login and facts.held_login.is_refused
                else "credential_untested"
            ),
            facts.held_login.describe() if facts.held_login else "",
        ),
        (
            facts.missing_login is not None,
            "login_pending",
            _describe_login(facts.missing_login or {}),
        ),
        (
            facts.lacks_check,
            "signatures_unchecked",
            "wharf control has yet to compare the image's signatures with the policy",
        ),
        (facts.quota is not None, "quota", _describe_quota(facts.quota or {})),
        (facts.server_full, "server_limit", f"the server {server} is at its limit for this class"),
        (bool(facts.registry_full), "registry_limit", "its registry is at its limit of transfers"),
        (
            bool(facts.organization_full),
            "organization_limit",
            "the organization is at its limit of transfers",
        ),
    )
    for holds, code, message in reasons:
        if holds:
            return Reason(
                code=code,
                message=message,
                since={
                    "server_offline": facts.seen_at,
                    "paused": facts.paused_at,
                    "credential_refused": facts.held_login and facts.held_login.since,
                }.get(code),
                until=_find_end(facts, code, run_at),
                jobs=needs if code == "needs" else [],
            )
    return None


def _describe_login(missing: Mapping[str, str | None]) -> str:
    error = missing.get("error")
    reason = f": {error}" if error else ""
    return (
        f"wharf control has yet to get a login for the registry {missing.get('registry')}{reason}"
    )


def _find_end(facts: Facts, code: ReasonCode, run_at: datetime | None) -> datetime | None:
    """Return the time at which the reason ends, if that is known."""
    if facts.later and code in {"backoff", "quota"}:
        return run_at
    until = (facts.quota or {}).get("until") if code == "quota" else None
    return datetime.fromisoformat(until) if until else None


def _describe_quota(quota: Mapping[str, Any]) -> str:
    host = quota.get("host")
    if quota.get("limit") is None or quota.get("remaining") is None:
        return f"{host} refuses more requests for now; one job tries again first"
    lasts = quota.get("window_seconds")
    window = f" in {show_duration(lasts)}" if lasts else ""
    left = f"{quota['remaining']} of {quota['limit']} pulls{window} are left"
    if quota.get("until") is None:
        return f"the other pulls from {host} take all that is allowed: {left}"
    return f"{host} allows no more pulls now: {left}; one job tries again first"
