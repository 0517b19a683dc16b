"""The five functions of ``worker.sql``, over one connection of this server's own role."""

import asyncio
import contextlib
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict

from shared.database import CUT_LINK
from shared.faults import Fault
from shared.jobs.states import Outcome
from shared.text import plain_text

CALL_SECONDS = 4.0
"""After that a call is given up, also on a link that swallows everything."""

RENEW_SECONDS = 40.0
"""A session older than a minute is ended by control, whatever it does: we open a new one before."""

OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "lock_timeout=3s",
        "statement_timeout=4s",
        # A session whose server lost power must not fill the role's few connections for hours.
        "tcp_keepalives_idle=5",
        "tcp_keepalives_interval=5",
        "tcp_keepalives_count=2",
        "tcp_user_timeout=10000",
    )
)

log = structlog.get_logger()


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class HelloAnswer(_Answer):
    status: Literal["current", "wait", "unknown"]
    mark: str | None = None
    seconds: float = 0


class Secret(_Answer):
    purpose: str
    sealed: str


class ClaimAnswer(_Answer):
    status: Literal["claimed", "fenced", "superseded"]
    organization_id: str = ""
    kind: str = ""
    command: dict[str, Any] = {}
    timeout_seconds: int = 0
    secrets: list[Secret] = []


class Held(_Answer):
    job_id: str
    attempt: int
    cancel: bool = False


class BeatAnswer(_Answer):
    """``now`` is PostgreSQL's clock, in seconds since the epoch.

    ``ended`` are those of the jobs begun of which there will be no further attempt.
    """

    status: Literal["current", "superseded"]
    jobs: list[Held] = []
    ended: list[str] = []
    now: float | None = None
    mark: str | None = None


class FinishAnswer(_Answer):
    status: Literal["recorded", "already_recorded", "fenced", "refused"]


class Beat(BaseModel):
    """One running attempt in a beat; ``progress`` only where it changed."""

    job_id: str
    attempt: int
    progress: dict[str, Any] | None = None


class Functions:
    """Calls of one worker, one at a time; a broken connection is opened again at the next call.

    Each function may be repeated, so a caller whose call failed midway calls again. ``mark`` is how
    new the database was when it last answered; it is presented, so that the database notices that
    it was restored from an older copy. ``keep_mark`` is called with each new one.
    """

    def __init__(
        self,
        url: str,
        role: str,
        password: str,
        incarnation: str,
        *,
        call_seconds: float = CALL_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        mark: str | None = None,
        keep_mark: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._mark, self._keep_mark = mark, keep_mark
        self.conninfo = make_conninfo(
            url,
            user=role,
            password=password,
            options=OPTIONS,
            application_name="wharf worker",
            **CUT_LINK,
        )
        self._incarnation = incarnation
        self._call_seconds = call_seconds
        self._renew_seconds = renew_seconds
        self._renew_at = 0.0
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()

    async def hello(self, document: dict[str, Any]) -> HelloAnswer:
        asked = await self._call("hello", {**document, "mark": self._mark})
        answer = HelloAnswer.model_validate(asked)
        self._note(answer.mark)
        return answer

    async def claim(self, job_id: str, attempt: int) -> ClaimAnswer:
        return ClaimAnswer.model_validate(
            await self._call("claim", {"job_id": job_id, "attempt": attempt})
        )

    async def beat(
        self,
        jobs: Sequence[Beat],
        *,
        begun: Sequence[str] = (),
        draining: bool = False,
        leaving: bool = False,
        engine: Mapping[str, Any] | None = None,
        clock_ahead: float | None = None,
    ) -> BeatAnswer:
        """``begun``: jobs that left something here, of which is asked whether they have ended.

        ``draining``: send nothing new; ``leaving``: this is the last word of this worker.
        ``engine`` is its description, where there is a newer one; ``clock_ahead`` is in seconds.
        """
        document = {
            "jobs": [job.model_dump() for job in jobs],
            "begun": list(begun),
            "draining": draining,
            "leaving": leaving,
            "engine": engine,
            "clock_ahead_seconds": clock_ahead,
            "mark": self._mark,
        }
        answer = BeatAnswer.model_validate(await self._call("beat", document))
        self._note(answer.mark)
        return answer

    async def event(
        self, job_id: str, attempt: int, number: int, kind: str, data: Mapping[str, Any]
    ) -> None:
        """Store the attempt's event of this ``number``, which grows from 1; a repeat is none."""
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
    ) -> FinishAnswer:
        document = {
            "job_id": job_id,
            "attempt": attempt,
            "outcome": outcome,
            "result": result,
            "error": error,
            "progress": progress,
        }
        return FinishAnswer.model_validate(await self._call("finish", document))

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    def _note(self, mark: str | None) -> None:
        if mark is not None and mark != self._mark:
            self._mark = mark
            self._keep_mark(mark)

    async def _call(self, function: str, document: dict[str, Any]) -> object:
        async with self._turn:
            asking = asyncio.ensure_future(self._ask(function, document))
            try:
                async with asyncio.timeout(self._call_seconds):
                    return await asyncio.shield(asking)
            except BaseException:
                # Also when the caller is cancelled: what is on the wire belongs to nobody now.
                await self._abandon(asking)
                raise

    async def _ask(self, function: str, document: dict[str, Any]) -> object:
        connection = await self._open()
        cursor = await connection.execute(
            f"SELECT worker_v1.{function}(%s)",
            (Jsonb(_storable({"incarnation": self._incarnation, **document})),),
        )
        row = await cursor.fetchone()
        return row[0] if row else None

    async def _abandon(self, asking: asyncio.Future[object]) -> None:
        """End a call and its connection here, without a word to the server.

        A cancelled statement of psycopg first asks the server to stop it, which on a cut link takes
        ten seconds: longer than there is until a lease runs out.
        """
        if self._connection is None or self._connection.closed:
            asking.cancel()
        else:
            _cut(self._connection)
        await asyncio.gather(asking, return_exceptions=True)
        await self._drop()

    async def _open(self) -> AsyncConnection:
        if time.monotonic() >= self._renew_at:
            await self._drop()
        if self._connection is None or self._connection.closed:
            self._connection = await AsyncConnection.connect(self.conninfo, autocommit=True)
            self._renew_at = time.monotonic() + self._renew_seconds
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


DatabaseAway = (psycopg.OperationalError, OSError)
"""What a call raises while the database cannot be reached; it may be repeated."""


def stored(fault: Fault) -> dict[str, Any]:
    """A fault as the job row keeps it."""
    return fault.model_dump(mode="json", exclude_none=True)


def _cut(connection: AsyncConnection) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as raw:
        raw.shutdown(socket.SHUT_RDWR)


def _storable(value: Any) -> Any:
    """The same without what PostgreSQL's JSON cannot hold, and what others' texts may well hold.

    NUL, lone surrogates, numbers that are none: one of them in one job's progress would otherwise
    make the beat of all jobs fail. Nor is there anything in it that would steer a terminal.
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
