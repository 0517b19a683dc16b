"""Logs, states and errors of a deployment on all its servers, in order of time."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from psycopg.rows import DictRow
from pydantic import Field

from api.deployments.procedures import ChosenDeployment, one
from api.fields.shapes import show_moment
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.database import Pool

MAX_TAIL = 10_000
MAX_CHARACTERS = 4_000_000
"""The characters of an answer; a line has at most 4,000, and most have about a hundred."""

AT_ONCE = 50
"""The number of events in memory at a time; each has at most 16 KiB."""

# An event has at least one line, so the newest ``tail`` events are enough. Where events were
# pruned, the row of the job or of the deployment's server shows how it ended.
ENTRIES = """
WITH chosen AS (
  SELECT deployment_id, build_id FROM deployment
   WHERE deployment_id = %(deployment_id)s AND organization_id = %(organization_id)s
), target AS (
  SELECT s.*, server.name FROM chosen JOIN deployment_server s USING (deployment_id)
    JOIN server USING (server_id)
), step (job_id, rank) AS (
  SELECT steps.* FROM chosen JOIN build b USING (build_id) CROSS JOIN LATERAL
    (VALUES (b.make_job_id, 1), (b.push_job_id, 2), (b.scan_job_id, 3),
            (b.retain_job_id, 4)) AS steps
   WHERE chosen.build_id = chosen.deployment_id
  UNION ALL
  SELECT steps.* FROM target CROSS JOIN LATERAL
    (VALUES (pull_job_id, 5), (replace_job_id, 6)) AS steps
), held AS (
  SELECT job_id, rank, j.kind AS step, name, j.state, j.error, j.finished_at, j.event_seq
    FROM step JOIN job j USING (job_id) JOIN server USING (server_id)
), entry AS (
  SELECT e.at, rank, name, e.seq, step, e.state, e.attempt, e.data
    FROM held CROSS JOIN LATERAL (
      SELECT * FROM job_event WHERE job_event.job_id = held.job_id
         AND kind <> 'progress' AND job_event.state IS DISTINCT FROM 'dispatched'
       ORDER BY seq DESC LIMIT %(tail)s) AS e
  UNION ALL
  SELECT finished_at, rank, name, event_seq, step, state, 0, jsonb_build_object('error', error)
    FROM held WHERE finished_at IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM job_event e WHERE e.job_id = held.job_id)
  UNION ALL
  SELECT finished_at, 6, name, 0, 'deployment', outcome, 0, jsonb_build_object('error', error)
    FROM target WHERE outcome IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM held WHERE held.job_id IN (pull_job_id, replace_job_id))
)
SELECT at, name, step, state, attempt, data, (
  SELECT count(DISTINCT name) > 1
    FROM (SELECT name FROM target UNION ALL SELECT name FROM held) AS names) AS is_several
  FROM entry ORDER BY at DESC, rank DESC, name DESC, seq DESC LIMIT %(tail)s
"""


class ReadLogs(ChosenDeployment):
    """`tail` is the largest number of lines."""

    tail: Annotated[int, Field(ge=1, le=MAX_TAIL)] = 100


async def read_logs(context: Context, request: ReadLogs) -> str:
    """Return the newest lines of a deployment's log, in order of time.

    It holds the output of its jobs on all servers, their start and end, and why they failed. A
    build that was requested with the deployment is included. Each line begins with a time and, if
    there are several servers, with the server's name.
    """
    await one(context, request)
    chosen = {
        "deployment_id": request.deployment_id,
        "organization_id": context.organization_id,
        "tail": request.tail,
    }
    tail = _Tail(request.tail)
    async with _newest_first(context.resources.pool, chosen) as rows:
        async for row in rows:
            if not tail.put_before(LogEntry(**row)):
                break
    return tail.text


@dataclass(frozen=True)
class LogEntry:
    """An event of a job, or its end; ``step`` is the job's kind."""

    at: datetime
    name: str
    step: str
    state: str | None
    attempt: int
    data: Any
    is_several: bool

    def lines(self) -> Iterator[str]:
        """Yield the lines to show, each with its time."""
        server = f"{self.name} " if self.is_several else ""
        for line in self._text().split("\n"):
            yield f"{show_moment(self.at)} {server}{line}"

    def _text(self) -> str:
        data = self.data if isinstance(self.data, dict) else {}
        if self.state is None:
            return str(data.get("text", ""))
        again = f", attempt {self.attempt}" if self.state == "running" and self.attempt > 1 else ""
        error = data.get("error")
        why = _show_error(error) if isinstance(error, dict) else ""
        return f"{self.step}: {self.state}{again}{why}"


@dataclass
class _Tail:
    """The last lines, collected from the end until there are enough."""

    most_lines: int
    _upwards: list[str] = field(default_factory=list)
    _characters: int = 0

    def put_before(self, event: LogEntry) -> bool:
        """Put the lines of an event before the others; return whether there is room for more."""
        for line in reversed(list(event.lines())):
            self._characters += len(line) + 1
            if len(self._upwards) >= self.most_lines or self._characters > MAX_CHARACTERS:
                return False
            self._upwards.append(line)
        return True

    @property
    def text(self) -> str:
        return "\n".join(reversed(self._upwards))


@asynccontextmanager
async def _newest_first(
    pool: Pool, chosen: Mapping[str, Any]
) -> AsyncIterator[AsyncIterable[DictRow]]:
    """Yield the rows of a server-side cursor; the database holds those that are not fetched."""
    async with (
        pool.connection() as connection,
        connection.transaction(),
        connection.cursor("entries") as cursor,
    ):
        cursor.itersize = AT_ONCE
        await cursor.execute(ENTRIES, chosen)
        yield cursor


def _show_error(error: dict[str, Any]) -> str:
    text = f" {error.get('code', '')}: {error.get('message', '')}"
    remedy = error.get("remedy")
    return f"{text}\n{remedy}" if remedy else text


PROCEDURES = (Procedure("deployment.readLogs", "query", ReadLogs, str, read_logs),)
