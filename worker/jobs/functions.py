"""Call the five functions of ``worker_v1`` over one connection of this server's role."""

import asyncio
import contextlib
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict

from shared.database import TCP_TIMEOUTS
from shared.faults import Fault
from shared.jobs.states import Outcome
from shared.untrusted.text import plain_text
from worker.jobs.engine_certificates import StoredCertificate

CALL_SECONDS = 4.0
"""The timeout of a call, which also ends it on a link that drops every packet."""

RENEW_SECONDS = 40.0
"""Control ends any session that is older than a minute, so a new one is opened before."""

OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "lock_timeout=3s",
        "statement_timeout=4s",
        # A session whose server lost power must not use one of the few connections for hours.
        "tcp_keepalives_idle=5",
        "tcp_keepalives_interval=5",
        "tcp_keepalives_count=2",
        "tcp_user_timeout=10000",
    )
)

log = structlog.get_logger()


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class RegisterAnswer(_Answer):
    status: Literal["current", "wait", "unknown"]
    mark: str | None = None
    seconds: float = 0


class Secret(_Answer):
    purpose: str
    sealed: str
    number: int = 1


class ClaimAnswer(_Answer):
    status: Literal["claimed", "fenced", "superseded"]
    organization_id: str = ""
    kind: str = ""
    command: dict[str, Any] = {}
    timeout_seconds: int = 0
    secrets: list[Secret] = []


class FreshLogin(_Answer):
    """A renewed login, sealed as the first one; ``number`` counts the attempt's logins."""

    sealed: str
    number: int


class HeldAttempt(_Answer):
    """A job that is the caller's; ``hand_back`` asks for it, as the server is being drained."""

    job_id: str
    attempt: int
    cancel: bool = False
    hand_back: bool = False
    login: FreshLogin | None = None


class HeartbeatAnswer(_Answer):
    """The answer to a heartbeat.

    ``now`` is PostgreSQL's clock, in seconds since the epoch. ``ended`` lists the pending jobs that
    will have no further attempt, ``unwanted`` the stored certificates that no registry needs.
    """

    status: Literal["current", "superseded"]
    jobs: list[HeldAttempt] = []
    ended: list[str] = []
    unwanted: list[StoredCertificate] = []
    now: float | None = None
    mark: str | None = None


class FinishAnswer(_Answer):
    status: Literal["recorded", "already_recorded", "fenced", "refused"]


class AttemptHeartbeat(BaseModel):
    """One running attempt in a heartbeat.

    ``progress`` is set only if it has changed. ``login`` is the number of its login, to get a newer
    one; ``None`` if it has no login.
    """

    job_id: str
    attempt: int
    progress: dict[str, Any] | None = None
    login: int | None = None


class Functions:
    """The calls of one worker, one at a time; the next call opens a broken connection again.

    Each function may be repeated, so a caller whose call failed midway calls again. ``mark`` tells
    how new the database was at its last answer. Each call presents it, so that the database notices
    a restore from an older copy. ``keep_mark`` is called with each new mark.
    The database's certificate is verified by ``ca_file``, as far as the URL asks for that.
    """

    def __init__(
        self,
        url: str,
        role: str,
        password: str,
        incarnation: str,
        *,
        call_seconds: float = CALL_SECONDS,
        mark: str | None = None,
        keep_mark: Callable[[str], None] = lambda _: None,
        ca_file: Path | None = None,
    ) -> None:
        self._mark, self._keep_mark = mark, keep_mark
        self.conninfo = make_conninfo(
            url,
            user=role,
            password=password,
            options=OPTIONS,
            application_name="wharf worker",
            sslrootcert=str(ca_file) if ca_file else None,
            **TCP_TIMEOUTS,
        )
        self._incarnation = incarnation
        self._call_seconds = call_seconds
        self._renew_at = 0.0
        self._connection: AsyncConnection | None = None
        self._lock = asyncio.Lock()

    async def register(self, document: dict[str, Any]) -> RegisterAnswer:
        answered = await self._call("register", {**document, "mark": self._mark})
        answer = RegisterAnswer.model_validate(answered)
        self._keep_new_mark(answer.mark)
        return answer

    async def claim(self, job_id: str, attempt: int) -> ClaimAnswer:
        return ClaimAnswer.model_validate(
            await self._call("claim", {"job_id": job_id, "attempt": attempt})
        )

    async def heartbeat(
        self,
        jobs: Sequence[AttemptHeartbeat],
        *,
        pending: Sequence[str] = (),
        draining: bool = False,
        leaving: bool = False,
        engine: Mapping[str, Any] | None = None,
        clock_ahead: float | None = None,
        certificates: Sequence[StoredCertificate] = (),
    ) -> HeartbeatAnswer:
        """Prolong the leases of the running jobs and report the state of this worker.

        ``pending`` lists the jobs in the recovery journal, to learn which of them have ended.
        ``draining`` asks for no new jobs. ``leaving`` marks the last heartbeat of this worker.
        ``engine`` is the Engine's description if there is a newer one; ``clock_ahead`` is in
        seconds. ``certificates`` are those that this worker has stored for its Engine, to learn
        which of them no registry needs any more.
        """
        document: dict[str, Any] = {
            "jobs": [job.model_dump() for job in jobs],
            "begun": list(pending),
            "draining": draining,
            "leaving": leaving,
            "engine": engine,
            "clock_ahead_seconds": clock_ahead,
            "mark": self._mark,
        }
        if certificates:
            document["certificates"] = [each.model_dump() for each in certificates]
        answer = HeartbeatAnswer.model_validate(await self._call("heartbeat", document))
        self._keep_new_mark(answer.mark)
        return answer

    async def event(
        self, job_id: str, attempt: int, number: int, kind: str, data: Mapping[str, Any]
    ) -> None:
        """Store the attempt's event of this ``number``, counted from 1; a repeat has no effect."""
        document = {
            "job_id": job_id,
            "attempt": attempt,
            "number": number,
            "kind": kind,
            "data": dict(data),
        }
        await self._call("event", document)

    async def finish(
        self,
        job_id: str,
        attempt: int,
        outcome: Outcome,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        progress: dict[str, Any] | None = None,
        quotas: Sequence[Mapping[str, Any]] = (),
    ) -> FinishAnswer:
        """End an attempt; ``quotas`` is what registries said about their limits (`QuotaLog`)."""
        document: dict[str, Any] = {
            "job_id": job_id,
            "attempt": attempt,
            "outcome": outcome,
            "result": result,
            "error": error,
            "progress": progress,
        }
        if quotas:
            document["quotas"] = list(quotas)
        return FinishAnswer.model_validate(await self._call("finish", document))

    async def close(self) -> None:
        async with self._lock:
            await self._disconnect()

    def _keep_new_mark(self, mark: str | None) -> None:
        if mark is not None and mark != self._mark:
            self._mark = mark
            self._keep_mark(mark)

    async def _call(self, function: str, document: dict[str, Any]) -> object:
        async with self._lock:
            pending_call = asyncio.ensure_future(self._execute(function, document))
            try:
                async with asyncio.timeout(self._call_seconds):
                    return await asyncio.shield(pending_call)
            except BaseException:
                # Also when the caller is cancelled: nobody waits for the answer any more.
                await self._abandon(pending_call)
                raise

    async def _execute(self, function: str, document: dict[str, Any]) -> object:
        connection = await self._open()
        cursor = await connection.execute(
            f"SELECT worker_v1.{function}(%s)",
            (Jsonb(_storable({"incarnation": self._incarnation, **document})),),
        )
        row = await cursor.fetchone()
        return row[0] if row else None

    async def _abandon(self, pending_call: asyncio.Future[object]) -> None:
        """End a call and its connection on this side only.

        psycopg cancels a statement by a request to the server. On a cut link that takes ten
        seconds, which is longer than the rest of a lease.
        """
        if self._connection is None or self._connection.closed:
            pending_call.cancel()
        else:
            _cut(self._connection)
        await asyncio.gather(pending_call, return_exceptions=True)
        await self._disconnect()

    async def _open(self) -> AsyncConnection:
        if time.monotonic() >= self._renew_at:
            await self._disconnect()
        if self._connection is None or self._connection.closed:
            self._connection = await AsyncConnection.connect(self.conninfo, autocommit=True)
            self._renew_at = time.monotonic() + RENEW_SECONDS
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


DatabaseAway = (psycopg.OperationalError, OSError)
"""The errors of a call while the database cannot be reached; the call may be repeated."""


def fault_document(fault: Fault) -> dict[str, Any]:
    """Return the fault as the document that the job row holds."""
    return fault.model_dump(mode="json", exclude_none=True)


def _cut(connection: AsyncConnection) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as raw:
        raw.shutdown(socket.SHUT_RDWR)


def _storable(value: Any) -> Any:
    """Return the value without anything that PostgreSQL's JSON cannot hold.

    NUL, a lone surrogate or NaN in the progress of one job would otherwise make the heartbeat of
    all jobs fail. Control characters of terminals are removed too.
    """
    match value:
        case str():
            return plain_text(value.replace("\0", "?").encode(errors="replace").decode())
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case list() | tuple():
            return [_storable(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
