"""Check the state after a run from outside: rows, registry, Engines, logs."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg.rows import dict_row

from tests.chaos.faults import SERVER_CUT_OFF
from tests.chaos.load import Load
from tests.chaos.outside import NetworkCut, Outside, Row
from tests.chaos.scene import Scene

if TYPE_CHECKING:
    from tests.chaos.run import Story

Ask = Callable[..., list[Row]]
"""A query of the owner of all tables, with its values."""

TWO_ENDS = """
SELECT job_id FROM job_event WHERE state = ANY (ARRAY['succeeded','failed','cancelled','expired'])
 GROUP BY job_id HAVING count(*) > 1
UNION SELECT job_id FROM job_attempt WHERE outcome = 'succeeded' GROUP BY job_id HAVING count(*) > 1
"""
TWO_AT_ONCE = """
SELECT a.job_id FROM job_attempt a JOIN job_attempt b USING (job_id)
 WHERE a.attempt < b.attempt AND b.started_at < coalesce(a.ended_at, 'infinity')
"""
UNTOLD = """
SELECT j.job_id FROM job j LEFT JOIN job_event e USING (job_id)
 WHERE j.finished_at IS NOT NULL GROUP BY j.job_id
HAVING count(e.seq) <> j.event_seq OR NOT bool_or(e.state = j.state)
"""
"""Jobs whose events have gaps, or do not say how they ended."""

LEFT_OPEN = """
SELECT job_id FROM job JOIN job_attempt USING (job_id)
 WHERE finished_at IS NOT NULL AND outcome IS NULL
"""
ATTEMPTS = """
SELECT a.server_id, j.job_class, a.started_at,
       coalesce(a.ended_at, now() + interval '1 hour') AS ended_at
  FROM job_attempt a JOIN job j USING (job_id) WHERE a.started_at IS NOT NULL
"""
SLOTS = "SELECT server_id, quick_limit AS quick, transfer_limit AS transfer FROM server"
SECRETS = "SELECT job_id FROM job_secret JOIN job USING (job_id) WHERE finished_at IS NOT NULL"
SHOWN = 20
EVIDENCE = """
SELECT to_jsonb(j) AS job, array(SELECT to_jsonb(a) FROM job_attempt a WHERE a.job_id = j.job_id),
       array(SELECT to_jsonb(e) FROM job_event e WHERE e.job_id = j.job_id ORDER BY seq)
  FROM job j WHERE job_id = ANY (%(jobs)s)
"""
STARTED_AFTER = """
SELECT extract(epoch FROM min(started_at) - to_timestamp(%(over)s))::float AS seconds
  FROM job_attempt WHERE started_at > to_timestamp(%(over)s)
   AND (%(server)s::text IS NULL OR server_id = %(server)s)
"""

# "Cancelled and done" is a job whose every attempt was stopped, by its worker's own word. One that
# was lost, or that failed on its way back, may have written what it was asked to: nobody knows.


@dataclass
class Findings:
    """Jobs by what is wrong with them; nothing may be in ``wrong``."""

    states: Counter[str]
    faults: Counter[str]
    wrong: dict[str, list[str]] = field(default_factory=dict)
    recoveries: dict[str, float] = field(default_factory=dict)
    answers: Counter[int | str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    most_at_once: dict[str, int] = field(default_factory=dict)
    exits: Counter[str] = field(default_factory=Counter)
    settled_seconds: float | None = None
    evidence: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not any(self.wrong.values())


def check(scene: Scene, load: Load, story: "Story") -> Findings:
    """Look at everything once, after the run."""
    with scene.database() as connection:

        def ask(query: LiteralString, values: Mapping[str, object] | None = None) -> list[Row]:
            return connection.cursor(row_factory=dict_row).execute(query, values).fetchall()

        jobs = ask("SELECT * FROM job")
        attempts = ask("SELECT job_id, outcome FROM job_attempt")
        over, most = _limits_exceeded(ask(ATTEMPTS), ask(SLOTS))
        wrong = {
            **_of_rows(jobs, load, ask),
            **_of_world(jobs, attempts, Outside.look(scene), _cuts(scene, story)),
            "doubled": _ids(ask(TWO_ENDS), ask(TWO_AT_ONCE)) + _doubled_in_logs(scene),
            "limit exceeded": over,
        }
        suspects = [job_id for found in wrong.values() for job_id in found]
        return Findings(
            states=Counter(row["state"] for row in jobs),
            faults=Counter(struck.fault.kind.name for struck in story.struck),
            wrong=wrong,
            recoveries=_recoveries(scene, story, ask),
            answers=load.answers,
            codes=Counter(row["error"]["code"] for row in jobs if row["state"] == "failed"),
            attempts=Counter(str(row["outcome"]) for row in attempts),
            most_at_once=most,
            exits=Counter(story.ended_by_itself),
            settled_seconds=story.settled_seconds,
            evidence=[str(row) for row in ask(EVIDENCE, {"jobs": suspects[:SHOWN]})],
        )


def _of_rows(jobs: list[Row], load: Load, ask: Ask) -> dict[str, list[str]]:
    states = {row["job_id"]: row["state"] for row in jobs}
    return {
        "lost": [job_id for job_id in load.accepted if job_id not in states],
        "stuck": [row["job_id"] for row in jobs if row["finished_at"] is None],
        "untold": _ids(ask(UNTOLD), ask(LEFT_OPEN)),
        "cancelled, then not": [j for j in load.cancelled if states.get(j) != "cancelled"],
        "secret left": _ids(ask(SECRETS)),
    }


def _of_world(
    jobs: list[Row], attempts: list[Row], world: Outside, cuts: list[NetworkCut]
) -> dict[str, list[str]]:
    unclear = {row["job_id"] for row in attempts if row["outcome"] in {"lost", "failed"}}
    succeeded = [job for job in jobs if job["state"] == "succeeded"]
    stopped = [job for job in jobs if job["state"] == "cancelled" and job["job_id"] not in unclear]
    return {
        "false success": [job["job_id"] for job in succeeded if not world.is_true(job)],
        "cancelled and done": [job["job_id"] for job in stopped if world.has_effect(job)],
        "late write": list(world.late_writes(jobs, cuts)),
    }


def _cuts(scene: Scene, story: "Story") -> list[NetworkCut]:
    return [
        NetworkCut(scene.servers[struck.fault.target].server_id, struck.begun, struck.over)
        for struck in story.struck
        if struck.fault.kind is SERVER_CUT_OFF
    ]


def _recoveries(scene: Scene, story: "Story", ask: Ask) -> dict[str, float]:
    """How long after the end of a fault the next attempt began, at worst, by kind."""
    found: dict[str, float] = {}
    for struck in story.struck:
        kind = struck.fault.kind
        is_of_server = "worker" in kind.subjects
        server = scene.servers[struck.fault.target].server_id if is_of_server else None
        [row] = ask(STARTED_AFTER, {"over": struck.over, "server": server})
        if row["seconds"] is not None:
            found[kind.name] = max(found.get(kind.name, 0.0), row["seconds"])
    return found


def _ids(*results: list[Row]) -> list[str]:
    return [row["job_id"] for rows in results for row in rows]


def _limits_exceeded(attempts: list[Row], slots: list[Row]) -> tuple[list[str], dict[str, int]]:
    """Where more ran at once than there are slots, and the most that ran, by class."""
    limits = {row["server_id"]: row for row in slots}
    moments: dict[tuple[str, str], list[tuple[Any, int]]] = {}
    for row in attempts:
        key = row["server_id"], row["job_class"]
        moments.setdefault(key, []).extend(((row["started_at"], 1), (row["ended_at"], -1)))
    exceeded: list[str] = []
    most: dict[str, int] = {}
    for (server_id, job_class), changes in moments.items():
        running = highest = 0
        for _, change in sorted(changes):
            running += change
            highest = max(highest, running)
        most[job_class] = max(most.get(job_class, 0), highest)
        if highest > limits[server_id][job_class]:
            exceeded.append(f"{server_id}: {highest} {job_class}")
    return exceeded, most


def _doubled_in_logs(scene: Scene) -> list[str]:
    """Attempts whose work was begun twice, by the workers' own word."""
    begun: Counter[tuple[str, int]] = Counter()
    for server in scene.servers:
        log = scene.stack.directory.path / "logs" / f"{server.name}.log"
        for line in log.read_text().splitlines():
            if '"attempt_started"' in line:
                fact = json.loads(line)
                begun[fact["job_id"], fact["attempt"]] += 1
    assert begun, "the workers' logs say nothing"
    return [job_id for (job_id, _), times in begun.items() if times > 1]
