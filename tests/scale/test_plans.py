"""However much has piled up, no statement that is run again and again reads a large table whole."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import event

from api.events import rows
from api.events import waiter as waiting
from api.jobs import event_access as opening
from api.jobs import server_choice
from api.jobs import wait_reasons as reasons
from api.main import create_app
from api.operations import row_counts
from api.procedure import auth as security
from api.procedure import idempotency
from shared.database import Connection
from shared.ids import make_id
from shared.jobs.commands import DedupeUntil, ImagePull
from shared.jobs.store import release, submit, sweep
from shared.jobs.store.cancel import CANCEL
from shared.settings import ApiSettings
from shared.vault import PrivateKey
from tests.api.asking import open_client
from tests.scale.conftest import SMALL, FilledDatabase
from tests.scale.plans import Values, scanned_by_plan, scanned_by_running
from worker.control.access import database_roles as roles
from worker.control.credentials import missing_repositories, rotations
from worker.control.credentials.logins_in_flight import RENEW, STALE
from worker.control.credentials.logins_of_tests import GIVE, PENDING
from worker.control.credentials.minting import LEASE, TAKE
from worker.control.maintenance import (
    credential_events,
    expired_rows,
    job_statistics,
    retention,
)
from worker.local.cluster import SUPERUSER

LARGE = {
    *("job", "job_attempt", "job_event", "job_need", "job_secret", "idempotency", "api_key"),
    *("rotation", "credential_notice", "webhook_delivery"),
}
"""The tables that grow with time and use; maintenance services read all rows of ``server``."""

ORGANIZATION, SERVER, API_KEY = "organization-0003", "server-000003", "key-3"
RENEWED = {"job_id": "x", "attempt": 1, "number": 1, "server_id": SERVER}
HELD = "SELECT job_id FROM job WHERE server_id = %s AND state = 'running' ORDER BY 1"
OF_STATE = "SELECT job_id FROM job WHERE organization_id = %s AND state = %s ORDER BY 1 LIMIT 1"

UPDATED = """
SELECT relname, n_tup_upd AS rows, n_tup_hot_upd AS in_place FROM pg_stat_xact_user_tables
 WHERE n_tup_upd > 0 AND schemaname = 'public'
"""


@dataclass
class ScaleScenario:
    """The filled database, with a connection that may be anybody, and jobs to ask about."""

    filled: FilledDatabase
    connection: Connection
    held: list[str]
    queued: str
    succeeded: str

    async def become(self, role: str) -> None:
        await self.connection.execute(f'SET SESSION AUTHORIZATION "{role}"'.encode())

    async def become_server(self) -> None:
        """Be the one server's worker, within a transaction that is rolled back."""
        await self.connection.execute("RESET SESSION AUTHORIZATION")
        role = f"wharf_server_{SERVER}"
        await self.connection.execute(f'CREATE ROLE "{role}" IN ROLE wharf_servers'.encode())
        await self.become(role)

    async def make_room(self, slots: int) -> None:
        """Have one server take so many transfers."""
        await self.connection.execute(
            "UPDATE server SET transfer_limit = %s WHERE server_id = %s", (slots, SERVER)
        )

    async def call(self, function: str, **document: Any) -> dict[str, Any]:
        cursor = await self.connection.execute(
            f"SELECT worker_v1.{function}(%s) AS answer".encode(),
            (Jsonb({"incarnation": "first", **document}),),
        )
        row = await cursor.fetchone()
        assert row is not None
        answer: dict[str, Any] = row["answer"]
        return answer


@pytest.fixture
async def scenario(filled: FilledDatabase) -> AsyncIterator[ScaleScenario]:
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(
            await psycopg.AsyncConnection.connect(
                filled.database.url(SUPERUSER), autocommit=True, row_factory=dict_row
            )
        )
        await connection.execute("UPDATE server SET seen_at = now()")
        if filled.size == SMALL:
            # To read little whole may be quickest; what is asked is whether there is another way.
            await connection.execute("SET enable_seqscan = off")
        held = await (await connection.execute(HELD, (SERVER,))).fetchall()
        named = [
            await (await connection.execute(OF_STATE, (ORGANIZATION, state))).fetchone()
            for state in ("queued", "succeeded")
        ]
        queued, succeeded = [row["job_id"] for row in named if row]
        yield ScaleScenario(filled, connection, [row["job_id"] for row in held], queued, succeeded)


# Statements, by their plans


def statements_of_control() -> dict[str, tuple[str, Values | None]]:
    swept = ("LOSE", "CALL_BACK", "REPUBLISH", "EXPIRE", "DROP_ORPHANED", "DROP_HOPELESS")
    return {
        "release": (release.RELEASE, {"most": release.MAX_JOBS, "aside": []}),
        "refuse": (release.REFUSE, {"job_id": "x", "attempt": 1, "error": Jsonb({})}),
        **{name: (getattr(sweep, name).whole, None) for name in swept},
        "roles to make": (roles.PENDING.whole, None),
        "roles to drop": (roles.GONE.whole, None),
        **{statement[:40]: (statement, None) for statement in expired_rows.EXPIRED},
        "claim of sources": (TAKE.whole, {"room": 1, "lease": LEASE}),
        "logins in flight": (STALE.whole, None),
        "renewal of a login": (RENEW, {**RENEWED, "sealed": "v1.", "expires_at": None}),
        "tests with a source": (PENDING.whole, {"room": 1}),
        "missing repositories": (missing_repositories.MISSING.whole, None),
        "login of a test": (GIVE, {"job_id": "x", "sealed": "v1."}),
        "events of credentials": (credential_events.TELL_CREDENTIALS, None),
        "events of certificates": (credential_events.TELL_CERTIFICATES, None),
        "rotations": (rotations.DUE.whole, None),
        "open rotations": (rotations.OPEN, None),
        "logins to mint": (rotations.UNMINTED, None),
        "count ended jobs": (job_statistics.COUNT, {**job_statistics.VALUES, "batch": 10}),
    }


def statements_of_api(scenario: ScaleScenario) -> dict[str, tuple[str, Values | None]]:
    of_key = {
        "actor_id": API_KEY,
        "key": "once",
        "position": 0,
        "organization_id": ORGANIZATION,
        "request_hash": b"",
        "proof": "",
        "job_id": "x",
        "answer": Jsonb({}),
    }
    of_server = {
        "organization_id": ORGANIZATION,
        "server_id": SERVER,
        "online": True,
        "role": "deploy",
        "among": [],
    }
    job = submit.Submission(
        ORGANIZATION,
        SERVER,
        ImagePull(reference="registry.example/team/app:1"),
        dedupe_key="pull",
        dedupe_until=DedupeUntil.ENDED,
        deadline=timedelta(hours=1),
    )
    since = {"since": scenario.held[0]}
    counted = (
        *("QUEUE_AGE", "UNDER_WAY", "ATTEMPTS", "SERVERS", "PASSWORDS", "REFUSED"),
        *("ROTATIONS", "TESTED_LOGINS", "CERTIFICATES", "FIRST_CERTIFICATE"),
    )
    return {
        "submit": (submit.SUBMIT, submit.values_of(job)),
        "stands for it": (submit.STANDS, submit.values_of(job)),
        "API key": (security.FIND, (b"",)),
        "server": (server_choice.FIND, of_server),
        "oldest live server": (server_choice.OLDEST_LIVE, of_server),
        "end of a job": (waiting.READ, (scenario.queued, ORGANIZATION)),
        "begin once": (idempotency.BEGIN, of_key),
        "keep": (idempotency.STORE_ANSWER, of_key),
        "why it waits": (
            str(reasons.FACTS).replace(":job_ids", "%(job_ids)s"),
            {"job_ids": [scenario.queued]},
        ),
        "job of a stream": (rows.JOB, (scenario.queued,)),
        "events of a stream": (rows.EVENTS, (scenario.succeeded, 0, rows.PAGE)),
        "stream": (opening.FIND, (scenario.queued, ORGANIZATION)),
        **{name: (getattr(row_counts, name), since) for name in counted},
    }


async def test_the_plans_of_control_read_no_large_table_whole(scenario: ScaleScenario) -> None:
    found = {
        name: await scanned_by_plan(scenario.connection, statement, values) & LARGE
        for name, (statement, values) in statements_of_control().items()
    }

    assert {name: tables for name, tables in found.items() if tables} == {}


async def test_the_plans_of_the_api_read_no_large_table_whole(scenario: ScaleScenario) -> None:
    found = {
        name: await scanned_by_plan(scenario.connection, statement, values) & LARGE
        for name, (statement, values) in statements_of_api(scenario).items()
    }

    assert {name: tables for name, tables in found.items() if tables} == {}


PAGES = [
    "job.all",
    "job.all?state=queued",
    "job.all?state=failed",
    "job.all?state=succeeded",
    f"job.all?serverId={SERVER}",
    f"job.all?serverId={SERVER}&state=expired",
    "job.one?jobId={queued}",
    "job.one?jobId={succeeded}",
    "server.all",
    "registry.all",
]


async def test_the_pages_that_the_api_shows_read_no_large_table_whole(
    scenario: ScaleScenario,
) -> None:
    settings = {
        "database_url": scenario.filled.database.url("wharf_api"),
        "vault_public_key": str(PrivateKey.generate().public),
    }
    requested: list[tuple[str, Any]] = []
    found: dict[str, set[str]] = {}
    app = create_app(ApiSettings.model_validate(settings))
    async with app.router.lifespan_context(app), open_client(app, API_KEY) as client:
        engine = app.state.resources.sessions.kw["bind"].sync_engine

        @event.listens_for(engine, "before_cursor_execute")
        def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
            requested.append((statement, values))

        for page in PAGES:
            path = page.format(queued=scenario.queued, succeeded=scenario.succeeded)
            answer = await client.get(f"/api/{path}")
            assert answer.status_code == 200, answer.text
            assert answer.json()
            for statement, values in requested:
                scanned = await scanned_by_plan(scenario.connection, statement, values) & LARGE
                if scanned:
                    found.setdefault(page, set()).update(scanned)
            assert requested
            requested.clear()

    assert found == {}


# What runs inside the database, by what it reads


async def test_a_submission_and_its_triggers_read_no_large_table_whole(
    scenario: ScaleScenario,
) -> None:
    command = ImagePull(reference="registry.example/team/app:1")

    async def twice() -> None:
        await scenario.become("wharf_api")
        for _ in range(2):
            job = submit.Submission(ORGANIZATION, SERVER, command, dedupe_key="pull")
            await submit.submit(scenario.connection, job, proof=security.proof_of("key-3").hex())

    assert await scanned_by_running(scenario.connection, twice) & LARGE == set()


async def test_a_release_and_a_sweep_read_no_large_table_whole(scenario: ScaleScenario) -> None:
    numbers = []

    async def look() -> None:
        await scenario.make_room(6)
        await scenario.become("wharf_control")
        numbers.append(len(await release.release(scenario.connection) or []))
        await sweep.sweep(scenario.connection)

    assert await scanned_by_running(scenario.connection, look) & LARGE == set()
    assert numbers == [2]


async def test_pruning_reads_no_large_table_whole(scenario: ScaleScenario) -> None:
    async def delete() -> None:
        await scenario.become("wharf_control")
        await expired_rows.delete_expired_rows(scenario.connection)
        await retention.delete_old(scenario.connection, retention.Retention())

    assert await scanned_by_running(scenario.connection, delete) & LARGE == set()


async def test_a_report_of_a_worker_reads_no_large_table_whole(scenario: ScaleScenario) -> None:
    message: dict[str, str] = {}

    async def speak() -> None:
        await scenario.make_room(5)
        await scenario.become("wharf_control")
        [job] = await release.release(scenario.connection) or []
        await scenario.become_server()
        running = {"job_id": scenario.held[0], "attempt": 1}
        jobs = [{"job_id": job_id, "attempt": 1, "login": 1} for job_id in scenario.held]
        documents: dict[str, dict[str, Any]] = {
            "claim": {"job_id": job.job_id, "attempt": 1},
            "heartbeat": {"jobs": jobs},
            "event": {**running, "kind": "log", "data": {}},
            "finish": {**running, "outcome": "succeeded", "result": {}},
            "register": {"incarnation": "second", "predecessor": "first"},
        }
        for function, document in documents.items():
            message[function] = (await scenario.call(function, **document))["status"]

    assert await scanned_by_running(scenario.connection, speak) & LARGE == set()
    assert list(message.values()) == ["claimed", "current", "recorded", "recorded", "current"]


async def test_a_heartbeat_changes_no_index(scenario: ScaleScenario) -> None:
    """Rows that are updated every three seconds must leave nothing for vacuum.

    A page that is full, or that somebody looks at, makes one of them the exception; a changed index
    would make it the rule.
    """
    updated: list[dict[str, Any]] = []

    async def heartbeat() -> None:
        updated.clear()
        await scenario.become_server()
        jobs = [{"job_id": one, "attempt": 1, "progress": {"done": 1}} for one in scenario.held]
        assert len((await scenario.call("heartbeat", jobs=jobs))["jobs"]) == 4
        cursor = await scenario.connection.execute(UPDATED)
        updated.extend(await cursor.fetchall())

    in_place = []
    for _ in range(5):
        await scanned_by_running(scenario.connection, heartbeat)
        assert {row["relname"]: row["rows"] for row in updated} == {"job": 4, "server": 1}
        in_place.append(all(row["rows"] == row["in_place"] for row in updated))
    assert any(in_place)


async def test_a_cancel_reads_no_large_table_whole(scenario: ScaleScenario) -> None:
    async def cancel_one() -> None:
        await scenario.become("wharf_api")
        for job_id in (scenario.queued, scenario.held[1], scenario.succeeded, make_id()):
            await scenario.connection.execute(CANCEL, (job_id, ORGANIZATION, Jsonb({})))

    assert await scanned_by_running(scenario.connection, cancel_one) & LARGE == set()


async def test_a_table_that_is_read_whole_would_be_noticed(scenario: ScaleScenario) -> None:
    whole = "SELECT count(*) FROM job_event WHERE kind = 'log'"

    assert await scanned_by_plan(scenario.connection, whole) == {"job_event"}
    found = await scanned_by_running(
        scenario.connection, lambda: scenario.connection.execute(whole.encode())
    )
    assert found >= {"job_event"}
