"""The life of a registry's login: its last use, who accepts and who refuses it."""

from typing import Literal

from pydantic import TypeAdapter
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.shapes import Moment, Output
from api.procedure.context import Context
from shared.jobs.diagnosis import Excess
from shared.jobs.logins import CONTROL, Refusal
from shared.models import Registry

_EXCESS = TypeAdapter(list[Excess])

LoginState = Literal["accepted", "untested", "refused"]
STATES: dict[str, LoginState] = {"free": "accepted", "trial": "untested", "refused": "refused"}

USE = text("""
SELECT r.registry_id, u.used_at, u.used_job_id, u.used_server_id, u.accepted_at,
       coalesce(t.verdict, 'free') AS verdict, coalesce(t.refusals, '{}') AS refusals
  FROM registry r LEFT JOIN login_use u USING (registry_id, login_revision)
  LEFT JOIN login_on_trial t USING (registry_id)
 WHERE r.organization_id = :organization_id
   AND (cast(:registry_id AS text) IS NULL OR r.registry_id = :registry_id)
""")

EXCESS = text("""
SELECT coalesce(j.result->'excess', j.error->'report'->'excess') AS excess
  FROM (SELECT job_id, checked_at FROM registry_check
         WHERE registry_id = :registry_id AND checked_at >= :since
         ORDER BY checked_at DESC LIMIT 20) c JOIN job j USING (job_id)
 WHERE jsonb_typeof(coalesce(j.result->'excess', j.error->'report'->'excess')) = 'array'
 ORDER BY c.checked_at DESC LIMIT 1
""")
"""The findings of the newest test since the login was changed, of those whose job is stored."""


class RefusedLogin(Output):
    """Refusals of the login from one server, or from control itself: then `serverId` is null."""

    server_id: str | None
    code: str | None
    times: int
    since: Moment
    last_refused_at: Moment


class LoginLife(Output):
    """The use of the stored login, to the minute.

    `untested`: the registry has yet to accept it, or has refused it once; one job at a time tries
    it. `refused`: it is sent nowhere. A server with two refusals gets no jobs with it.
    """

    state: LoginState
    last_used_at: Moment | None
    last_used_job_id: str | None
    last_used_server_id: str | None
    last_accepted_at: Moment | None
    refusals: list[RefusedLogin]


UNUSED = LoginLife(
    state="untested",
    last_used_at=None,
    last_used_job_id=None,
    last_used_server_id=None,
    last_accepted_at=None,
    refusals=[],
)
"""The life of a login that was just stored."""


async def find_lives(
    session: AsyncSession, context: Context, registry_id: str | None = None
) -> dict[str, LoginLife]:
    """Return the lives of the logins of all registries, or of one, by their ids."""
    values = {"organization_id": context.organization_id, "registry_id": registry_id}
    rows = (await (await session.connection()).execute(USE, values)).mappings().all()
    return {
        row["registry_id"]: LoginLife(
            state=STATES[row["verdict"]],
            last_used_at=row["used_at"],
            last_used_job_id=row["used_job_id"],
            last_used_server_id=None if row["used_server_id"] == CONTROL else row["used_server_id"],
            last_accepted_at=row["accepted_at"],
            refusals=[_show(server, found) for server, found in sorted(row["refusals"].items())],
        )
        for row in rows
    }


async def find_excess(session: AsyncSession, registry: Registry) -> list[Excess] | None:
    """Return what the login may do beyond need; ``None`` if no recent test has seen it."""
    values = {"registry_id": registry.registry_id, "since": registry.password_changed_at}
    found = (await (await session.connection()).execute(EXCESS, values)).scalar()
    return None if found is None else _EXCESS.validate_python(found)


def _show(server: str, found: object) -> RefusedLogin:
    refusal = Refusal.model_validate(found)
    return RefusedLogin(
        server_id=None if server == CONTROL else server,
        code=refusal.code,
        times=refusal.times,
        since=refusal.since,
        last_refused_at=refusal.at,
    )
