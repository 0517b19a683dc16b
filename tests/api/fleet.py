"""Control and one server's worker, as small as tests need them: the real functions, no Celery."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg
from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.faults import FaultCode
from shared.ids import make_id
from shared.jobs.commands import SUPPORTED
from shared.jobs.diagnosis import Outcome, ProbeReport, Stage, StageResult
from shared.jobs.store.pin import pin
from shared.jobs.store.release import Released, give_login, release
from shared.jobs.store.sweep import sweep
from shared.vault import PrivateKey
from tests.databases import Database
from worker.control.image_usage import recheck

KINDS = list(SUPPORTED)
PATIENCE_SECONDS = 60
APPROVE = "UPDATE server SET approved_at = now() WHERE server_id = %s"


@dataclass(frozen=True)
class Control:
    """Sessions of control in a database."""

    database: Database

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        return self.database.session("wharf_control")


@dataclass
class TestServer:
    """An enrolled server whose worker registered; ``control`` gives sessions of its counterpart."""

    __test__ = False

    server_id: str
    url: str
    control: Control
    incarnation: str = field(default_factory=make_id)
    seen: list[Released] = field(default_factory=list)
    worker: psycopg.AsyncConnection | None = None

    async def register(self, kinds: list[str] = KINDS) -> None:
        document = {
            "incarnation": self.incarnation,
            "predecessor": None,
            "wire_version": 1,
            "worker_version": "0.1.0",
            "kinds": kinds,
            "engine": {"engine_version": "28.0.0", "insecure_registries": []},
        }
        assert (await self.call("register", document))["status"] == "current"

    async def next_job(self) -> Released:
        """Release until there is a job for this server, then claim it."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            if jobs := await self.release():
                [job] = jobs
                await self.claim(job)
                return job
            await asyncio.sleep(0.01)
        raise AssertionError("no job came")

    async def release(self) -> list[Released]:
        """Release jobs as control does, for all servers."""
        async with self.control.connection() as connection, connection.transaction():
            jobs = [
                await recheck(connection, await pin(connection, job))
                for job in await release(connection) or []
            ]
            for job in jobs:
                await give_login(connection, job, "v1.test.login")
        return jobs

    async def claim(self, job: Released) -> None:
        self.seen.append(job)
        claimed = await self._attempt("claim", job)
        assert claimed["status"] == "claimed"

    async def finish(self, job: Released, outcome: str, **more: Any) -> None:
        answer = await self._attempt("finish", job, outcome=outcome, **more)
        assert answer["status"] == "recorded", answer

    async def succeed_next(self, result: dict[str, Any]) -> Released:
        job = await self.next_job()
        await self.finish(job, "succeeded", result=result)
        return job

    async def fail_next(self, error: dict[str, Any]) -> Released:
        job = await self.next_job()
        await self.finish(job, "failed", error=error)
        return job

    async def event(self, job: Released, kind: str, data: dict[str, Any]) -> None:
        answer = await self._attempt("event", job, kind=kind, data=data)
        assert answer["status"] == "recorded"

    async def show_progress(self, job: Released, progress: dict[str, Any]) -> None:
        """Report how far a job is, by a heartbeat."""
        running = {"job_id": job.job_id, "attempt": job.attempt, "progress": progress}
        document = {"incarnation": self.incarnation, "jobs": [running]}
        assert (await self.call("heartbeat", document))["status"] == "current"

    async def sweep(self) -> None:
        async with self.control.connection() as connection:
            await sweep(connection)

    async def call(self, function: str, document: dict[str, Any]) -> dict[str, Any]:
        statement = f"SELECT worker_v1.{function}(%s)".encode()
        if self.worker is None or self.worker.closed:
            self.worker = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        row = await (await self.worker.execute(statement, (Jsonb(document),))).fetchone()
        assert row is not None
        answer: dict[str, Any] = row[0]
        return answer

    async def close(self) -> None:
        if self.worker is not None:
            await self.worker.close()

    async def _attempt(self, function: str, job: Released, **more: Any) -> dict[str, Any]:
        document = {"incarnation": self.incarnation, "job_id": job.job_id, "attempt": job.attempt}
        return await self.call(function, {**document, **more})


@asynccontextmanager
async def open_server(
    client: httpx2.AsyncClient, database: Database, name: str = "alpha"
) -> AsyncIterator[TestServer]:
    """Create, enrol and greet a server, by the API and the real functions."""
    created = (await client.post("/api/server.create", json={"name": name})).json()
    await enrol(client, created["joinToken"], "server password")
    control = Control(database)
    async with control.connection() as connection:
        await connection.execute("SELECT server_role_create(%s)", (created["serverId"],))
        await connection.execute(APPROVE, (created["serverId"],))
    role = f"wharf_server_{created['serverId']}"
    url = database.url(role, "server%20password")
    server = TestServer(created["serverId"], url, control)
    try:
        await server.register()
        yield server
    finally:
        await server.close()


async def enrol(client: httpx2.AsyncClient, token: str, words: str = "any") -> httpx2.Response:
    proof = {
        "joinToken": token,
        "publicKey": str(PrivateKey.generate().public),
        "roleVerifier": make_verifier(words),
        "brokerPasswordHash": hashlib.sha256(words.encode()).hexdigest(),
    }
    return await client.post("/api/server.enroll", json=proof, headers={"x-api-key": ""})


def make_verifier(password: str) -> str:
    """Make the SCRAM verifier that a worker sends (RFC 5803, as PostgreSQL writes it)."""
    salt, iterations = b"0123456789abcdef", 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored, server = (
        hashlib.sha256(client_key).digest(),
        hmac.digest(salted, b"Server Key", "sha256"),
    )
    salt64, stored64, server64 = (
        base64.b64encode(part).decode() for part in (salt, stored, server)
    )
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def make_stage(name: str) -> dict[str, Any]:
    """Make the result of a stage that was passed, as a worker reports it."""
    result = StageResult(stage=Stage(name), outcome=Outcome.OK, evidence=f"{name} works")
    return result.model_dump(mode="json", by_alias=True)


def good_report() -> dict[str, Any]:
    stages = tuple(StageResult(stage=stage, outcome=Outcome.OK) for stage in Stage)
    report = ProbeReport(host="ghcr.io", repository="myorg/connection-test", stages=stages)
    document: dict[str, Any] = json.loads(report.model_dump_json())
    return document


def bad_report() -> ProbeReport:
    failed = StageResult(
        stage=Stage.AUTH,
        outcome=Outcome.FAILED,
        code=FaultCode.AUTH_BAD_CREDENTIALS,
        evidence="ghcr.io refuses the username and password",
    )
    ok = StageResult(stage=Stage.PING, outcome=Outcome.OK)
    return ProbeReport(host="ghcr.io", repository="myorg/connection-test", stages=(ok, failed))


def bad_error() -> dict[str, Any]:
    """Make the result of a test that found a fault: the fault, and the whole report."""
    report = bad_report()
    fault = report.fault()
    assert fault is not None
    return {**fault.model_dump(mode="json"), "report": report.model_dump(mode="json")}
