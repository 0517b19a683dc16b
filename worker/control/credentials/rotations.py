"""Carry out rotations: test the new login from servers, put it in use, and drop the old one later.

Each step is one transaction, which reads what is recorded, decides, and records what it did. So any
replica can do the next one, and one that dies leaves nothing half done. No secret is opened: both
slots are sealed alike.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from psycopg.types.json import Jsonb

from shared.credentials.kinds import parse_source, source_context
from shared.credentials.server_tests import Finding, ServerTest, parse_tests, to_document
from shared.credentials.slots import StoredLogin, exchange_login
from shared.database import Connection, Pool
from shared.errors import WharfError
from shared.faults import Fault, FaultCode
from shared.ids import make_id
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import RegistryTest, ServiceLogin
from shared.jobs.states import State
from shared.jobs.store.submit import Submission, submit
from shared.set_aside import Row, Rows, caught, each
from shared.vault import KeyRing, SealContext
from worker.control.credentials.rotation_plan import Begin, Refuse, Switch, Wait, decide
from worker.control.providers.mint import Mint
from worker.control.service import Service

SERVICE = "rotations"
IDLE_SECONDS = 10.0
BUSY_SECONDS = 0.2
"""The pause while a rotation is being tested."""

MINT_SECONDS = 10.0
TEST_DEADLINE = timedelta(seconds=10)
FAIR_KEY = "registry.rotate"
"""Other quick jobs take turns with the tests."""

SERVICE_DEADLINE = timedelta(days=7)
"""A server that is offline for longer gives its services the login with their next deployment."""

LOST = "worker_lost"

DUE = Rows(
    SERVICE,
    "rotation.rotation_id",
    """
SELECT rotation_id AS row_id, registry_id FROM rotation
 WHERE (state = 'testing' OR state = 'switched' AND (settled_at IS NULL OR kept_until <= now())
        OR state = 'rolled_back' AND settled_at IS NULL)
   AND {rows}
   AND NOT EXISTS (SELECT FROM organization o
                    WHERE o.organization_id = rotation.organization_id AND o.held_at IS NOT NULL)
 ORDER BY created_at
""",
)
OPEN = """
SELECT count(*) FILTER (WHERE state = 'testing') AS testing,
       extract(epoch FROM min(kept_until) - now())::float AS seconds
  FROM rotation WHERE finished_at IS NULL
"""
UNMINTED = """
SELECT t.rotation_id, t.organization_id, t.registry_id, t.forced, t.requested_by, t.slot, r.host
  FROM rotation t JOIN registry r USING (registry_id)
 WHERE t.state = 'testing' AND t.slot->>'password' IS NULL AND t.tests IS NULL
"""
# In this order the API locks them too.
LOCK = """
SELECT organization_id, allowed_servers FROM registry WHERE registry_id = %(registry_id)s
   FOR NO KEY UPDATE SKIP LOCKED
"""
READ = "SELECT * FROM rotation WHERE rotation_id = %(row_id)s FOR UPDATE"
SERVERS = """
WITH in_use AS (
  SELECT server_id FROM application_server JOIN application USING (application_id)
   WHERE %(registry_id)s IN (registry_id, build_registry_id, rollback_registry_id)
  UNION
  SELECT build_server_id FROM application
   WHERE organization_id = %(organization_id)s AND build_registry_id = %(registry_id)s
  UNION
  SELECT server_id FROM registry_check WHERE registry_id = %(registry_id)s
     AND state = 'succeeded' AND checked_at > now() - interval '30 days'
  UNION
  SELECT server_id FROM job WHERE organization_id = %(organization_id)s
     AND registry_id = %(registry_id)s AND job_id > job_id_at(now() - interval '7 days')
)
SELECT s.server_id, s.name, s.server_id IN (SELECT server_id FROM in_use) AS uses FROM server s
 WHERE s.organization_id = %(organization_id)s AND server_is_available(s, 'quick')
   AND (%(allowed_servers)s::text[] = '{}' OR s.server_id = ANY (%(allowed_servers)s))
 ORDER BY s.created_at, s.server_id
"""
OUTCOMES = "SELECT job_id, state, error FROM job WHERE job_id = ANY (%s)"
RECORD = "UPDATE rotation SET tests = %(tests)s WHERE rotation_id = %(rotation_id)s"
REFUSED = """
UPDATE rotation SET state = 'refused', slot = NULL, error = %(error)s, finished_at = now()
 WHERE rotation_id = %(rotation_id)s AND state = 'testing'
"""
# The login that an earlier rotation has kept makes room for this one's.
SUPERSEDE = """
UPDATE rotation SET state = 'dropped', slot = NULL, finished_at = now()
 WHERE registry_id = %(registry_id)s AND state = 'switched'
"""
SWITCHED = """
UPDATE rotation SET state = 'switched', slot = %(slot)s, switched_at = now(),
       kept_until = now() + make_interval(hours => keep_hours)
 WHERE rotation_id = %(rotation_id)s
"""
ACCEPTED = """
SELECT login_record(%(registry_id)s, %(login_revision)s, 'tested', %(server_id)s, now(), NULL,
                    %(job_id)s)
"""
GATE = "SELECT FROM release_gate FOR UPDATE"
SERVICES = """
SELECT a.application_id, p.server_id, d.reference
  FROM application a JOIN application_server p USING (application_id)
  JOIN deployment d ON d.deployment_id = running_deployment(a.application_id, p.server_id)
  JOIN server s ON s.server_id = p.server_id
 WHERE a.organization_id = %(organization_id)s AND d.registry_id = %(registry_id)s
   AND d.settings->>'runtime' = 'service' AND s.removed_at IS NULL
 ORDER BY a.application_id, p.server_id
"""
SETTLED = "UPDATE rotation SET settled_at = clock_timestamp() WHERE rotation_id = %(rotation_id)s"
DROPPED = """
UPDATE rotation t SET state = 'dropped', slot = NULL, finished_at = now()
 WHERE rotation_id = %(rotation_id)s AND kept_until <= now()
   AND NOT EXISTS (SELECT FROM former_login_use u WHERE u.rotation_id = t.rotation_id)
"""
MINTED = """
UPDATE rotation SET slot = slot || %(login)s
 WHERE rotation_id = %(rotation_id)s AND state = 'testing' AND slot->>'password' IS NULL
"""
UNTESTED = """
UPDATE rotation SET tests = '[]' WHERE rotation_id = %(rotation_id)s AND state = 'testing'
"""
AUDIT = """
INSERT INTO audit_event (audit_event_id, organization_id, actor_id, action, object_id, data)
VALUES (%(audit_event_id)s, %(organization_id)s, %(requested_by)s, %(action)s, %(registry_id)s,
        %(data)s)
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class Rotations:
    """The service that carries out rotations; safe in replicas."""

    vault: KeyRing
    mint: Mint

    def service(self) -> Service:
        return Service(SERVICE, self.carry_out)

    async def carry_out(self, pool: Pool) -> float:
        """Do the next step of each rotation; return the seconds until the next run."""
        await self._mint_staged(pool)
        async with pool.connection() as connection:
            await each(connection, DUE, partial(_step, connection))
            row = await (await connection.execute(OPEN)).fetchone()
        if row is None or row["seconds"] is None:
            return BUSY_SECONDS if row and row["testing"] else IDLE_SECONDS
        return BUSY_SECONDS if row["testing"] else min(max(row["seconds"], 1.0), IDLE_SECONDS)

    async def _mint_staged(self, pool: Pool) -> None:
        """Get the first login of staged sources; no transaction is open while a provider is asked.

        Replicas that do this at once get two logins, of which one is recorded.
        """
        async with pool.connection() as connection:
            rows = await (await connection.execute(UNMINTED)).fetchall()
        for row in rows:
            found = await caught(self._mint(row))
            async with pool.connection() as connection, connection.transaction():
                if not isinstance(found, Exception):
                    values = {"rotation_id": row["rotation_id"], "login": Jsonb(found)}
                    await connection.execute(MINTED, values)
                elif row["forced"]:
                    await connection.execute(UNTESTED, row)
                else:
                    await _refuse(connection, row, _fault(found, row["host"]))

    async def _mint(self, row: Row) -> dict[str, str]:
        """Return the password, sealed like any other, and its end."""
        login, host = StoredLogin.model_validate(row["slot"]), row["host"]
        assert login.source is not None  # noqa: S101 - a password is staged as such
        bound = source_context(row["organization_id"], row["registry_id"], host)
        source = parse_source(self.vault.open(login.source.sealed, bound))
        async with asyncio.timeout(MINT_SECONDS):
            minted = await self.mint.mint(source, host, datetime.now(UTC))
        sealed = self.vault.find_public_key(login.source.sealed).seal(
            minted.password.get_secret_value(),
            SealContext(
                "credential", row["organization_id"], row["registry_id"], host, login.username
            ),
        )
        expires = datetime.now(UTC) + minted.lifetime
        return {"password": sealed, "password_expires_at": expires.isoformat()}


async def _step(connection: Connection, due: Row) -> None:
    """Do one step of one rotation, in the caller's transaction."""
    registry = await (await connection.execute(LOCK, due)).fetchone()
    rotation = await (await connection.execute(READ, due)).fetchone() if registry else None
    if registry is None or rotation is None:
        return  # another replica, or a caller, is changing it
    match rotation["state"]:
        case "testing":
            await _test(connection, rotation, registry)
        case "switched" | "rolled_back" if rotation["settled_at"] is None:
            await _settle(connection, rotation)
        case "switched":
            await connection.execute(DROPPED, rotation)
        case _:
            pass


async def _test(connection: Connection, rotation: Row, registry: Row) -> None:
    """Record the outcomes of tests, and do what follows from them."""
    slot = StoredLogin.model_validate(rotation["slot"])
    if rotation["tests"] is None:
        if slot.password is None:
            return  # it is yet to be minted
        tests = await _choose_servers(connection, rotation, registry)
    else:
        tests = await _refresh(connection, parse_tests(rotation["tests"]))
    match step := decide(tests, forced=rotation["forced"]):
        case Begin():
            tests = [await _begin(connection, rotation, test, step) for test in tests]
        case Switch():
            await _switch(connection, rotation, slot)
            await _record_passed(connection, rotation, slot, tests)
        case Refuse(fault):
            await _refuse(connection, rotation, fault)
        case Wait():
            pass
    values = {"rotation_id": rotation["rotation_id"], "tests": Jsonb(to_document(tests))}
    await connection.execute(RECORD, values)


async def _choose_servers(
    connection: Connection, rotation: Row, registry: Row
) -> Sequence[ServerTest]:
    """Return the tests from all available servers that use the registry.

    These are its `allowedServers`; else those of its applications, those where a test of it
    succeeded lately, and those that had a job with it lately; else any one.
    """
    values = {**rotation, "allowed_servers": registry["allowed_servers"]}
    rows = await (await connection.execute(SERVERS, values)).fetchall()
    chosen = rows if registry["allowed_servers"] else [row for row in rows if row["uses"]]
    return [
        ServerTest(server_id=row["server_id"], server_name=row["name"])
        for row in chosen or rows[:1]
    ]


async def _refresh(connection: Connection, tests: Sequence[ServerTest]) -> Sequence[ServerTest]:
    """Return the tests with the outcomes of their jobs."""
    running = [test.job_id for test in tests if test.finding is Finding.RUNNING]
    rows = await (await connection.execute(OUTCOMES, (running,))).fetchall()
    jobs = {row["job_id"]: row for row in rows}
    return [
        _judge(test, jobs.get(test.job_id or "")) if test.finding is Finding.RUNNING else test
        for test in tests
    ]


def _judge(test: ServerTest, job: dict[str, Any] | None) -> ServerTest:
    if job is None:
        return test.model_copy(update={"finding": Finding.NOT_REACHED})
    fault = Fault.model_validate(job["error"]) if job["error"] else None
    match State(job["state"]):
        case State.SUCCEEDED:
            return test.model_copy(update={"finding": Finding.PASSED})
        case State.FAILED if fault is not None and fault.code != LOST:
            return test.model_copy(update={"finding": Finding.FAILED, "fault": fault})
        case State.FAILED | State.EXPIRED | State.CANCELLED:
            return test.model_copy(update={"finding": Finding.NOT_REACHED})
        case _:
            return test


async def _begin(
    connection: Connection, rotation: Row, test: ServerTest, step: Begin
) -> ServerTest:
    """Submit the test of a server, if it is one of those that begin now.

    The job has no registry of its own: it neither waits for the login in use nor says anything of
    it. Its release takes the staged login (`rotation_id` of the command).
    """
    if test.server_id not in step.server_ids:
        return test
    job = Submission(
        organization_id=rotation["organization_id"],
        server_id=test.server_id,
        command=RegistryTest.model_validate(rotation["command"]),
        requested_by=rotation["requested_by"],
        fair_key=FAIR_KEY,
        deadline=TEST_DEADLINE,
    )
    job_id = await submit(connection, job)
    return test.model_copy(update={"finding": Finding.RUNNING, "job_id": job_id})


async def _switch(connection: Connection, rotation: Row, login: StoredLogin) -> None:
    await connection.execute(SUPERSEDE, rotation)
    former = await exchange_login(connection, rotation["registry_id"], login)
    slot = Jsonb(former.model_dump(mode="json"))
    await connection.execute(SWITCHED, {**rotation, "slot": slot})
    await _audit(connection, rotation, "registry.switchCredential", {})
    log.info("login_switched", registry=rotation["registry_id"], rotation=rotation["rotation_id"])


async def _record_passed(
    connection: Connection, rotation: Row, login: StoredLogin, tests: Sequence[ServerTest]
) -> None:
    """Record that the registry accepts the new login, so that no job has to try it first."""
    for test in [test for test in tests if test.finding is Finding.PASSED][:1]:
        values = {**rotation, **test.model_dump(), "login_revision": login.login_revision}
        await connection.execute(ACCEPTED, values)


async def _refuse(connection: Connection, rotation: Row, fault: Fault) -> None:
    error = Jsonb(fault.model_dump(mode="json"))
    values = {"rotation_id": rotation["rotation_id"], "error": error}
    if not (await connection.execute(REFUSED, values)).rowcount:
        return  # it was cancelled meanwhile
    await _audit(connection, rotation, "registry.refuseRotation", {"code": fault.code})
    log.warning("rotation_refused", registry=rotation["registry_id"], code=fault.code)


async def _settle(connection: Connection, rotation: Row) -> None:
    """Record the time from which on no job is released with the former login.

    A release that has read it holds the gate until its jobs are stored. A Swarm keeps the login of
    a service until it gets another one: so each service gets a job.
    """
    await connection.execute(GATE)
    for row in await (await connection.execute(SERVICES, rotation)).fetchall():
        command = ServiceLogin(
            reference=row["reference"],
            application_id=row["application_id"],
            registry_id=rotation["registry_id"],
        )
        job = Submission(
            organization_id=rotation["organization_id"],
            server_id=row["server_id"],
            command=command,
            requested_by=rotation["requested_by"],
            registry_id=rotation["registry_id"],
            exclusive_key=exclusive_key(command, row["server_id"]),
            fair_key=row["application_id"],
            deadline=SERVICE_DEADLINE,
        )
        await submit(connection, job)
    await connection.execute(SETTLED, rotation)


async def _audit(connection: Connection, rotation: Row, action: str, data: dict[str, str]) -> None:
    values = {
        "audit_event_id": make_id(),
        "organization_id": rotation["organization_id"],
        "requested_by": rotation["requested_by"],
        "registry_id": rotation["registry_id"],
        "action": action,
        "data": Jsonb({"rotation": rotation["rotation_id"], **data}),
    }
    await connection.execute(AUDIT, values)


def _fault(error: Exception, host: str) -> Fault:
    if isinstance(error, WharfError):
        return error.fault()
    if isinstance(error, TimeoutError):
        message = f"the provider of {host} did not answer in time"
        return Fault(code=FaultCode.AUTH_SERVER_UNREACHABLE, message=message, retryable=True)
    log.error("defect", error=type(error).__name__)
    message = f"no login for {host} could be made: {type(error).__name__}"
    return Fault(code="internal", message=message, remedy="Read the log of wharf control.")
