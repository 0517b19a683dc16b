"""Test every registry from every server at once, and show the history of each pair."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field
from sqlmodel import col, select

from api.fields.shapes import Id, Input, Moment, Output
from api.jobs.server_choice import choose_server, find_live_servers
from api.jobs.submission import submit_job
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.registries.credentials import retry_refused
from api.registries.diagnosis import stored_test
from api.registries.differences import Check, describe_differences
from api.registries.procedures import find_registry
from api.servers.queries import find_server
from shared.errors import InvalidInputError, OverdueError
from shared.faults import FAULTS
from shared.jobs.permissions import require_allowed
from shared.jobs.states import State
from shared.jobs.store.submit import Submission
from shared.models import Registry

MAX_PAIRS = 1000
DEADLINE = timedelta(minutes=5)
"""Longer than for one test: a server runs only ``quick_limit`` of them at a time."""

REMEDIES = {str(code): verdict.remedy for code, verdict in FAULTS.items()}
ACTION = "registry.testOnServers"
"""The audited action; also the fair key, so that other jobs take turns with a matrix."""

NEWEST = """
SELECT r.registry_id, r.registry_name, r.plain_http, s.server_id, s.name AS server_name,
       c.job_id, c.state, c.code, c.stage, c.milliseconds, c.checked_at
  FROM registry r JOIN server s USING (organization_id) CROSS JOIN LATERAL (
    SELECT * FROM registry_check c
     WHERE c.registry_id = r.registry_id AND c.server_id = s.server_id
     ORDER BY checked_at DESC LIMIT %(checks)s) c
 WHERE r.organization_id = %(organization_id)s AND s.removed_at IS NULL
   AND (%(registry_id)s::text IS NULL OR r.registry_id = %(registry_id)s)
   AND (%(server_id)s::text IS NULL OR s.server_id = %(server_id)s)
 ORDER BY r.created_at, r.registry_id, s.created_at, s.server_id, c.checked_at DESC
"""
"""One index lookup for each pair, regardless of the length of its history."""

REQUESTED = """
SELECT r.registry_id, r.registry_name, r.plain_http, s.server_id, s.name AS server_name,
       j.job_id, j.state, j.error->>'code' AS code, j.error->>'stage' AS stage,
       c.milliseconds, c.checked_at
  FROM job j JOIN registry r USING (registry_id) JOIN server s USING (server_id)
  LEFT JOIN registry_check c USING (job_id)
 WHERE j.organization_id = %(organization_id)s AND j.job_id = ANY (%(jobs)s)
 ORDER BY r.created_at, r.registry_id, s.created_at, s.server_id
"""


class CheckOutput(Output):
    """The state of one test, or its outcome at ``checkedAt``."""

    job_id: str
    state: State
    code: str | None
    stage: str | None
    remedy: str | None
    milliseconds: float | None
    checked_at: Moment | None


class CellOutput(CheckOutput):
    """The newest test of a registry from a server, and earlier ones, the newest first."""

    registry_id: str
    registry_name: str
    plain_http: bool
    server_id: str
    server_name: str
    history: list[CheckOutput]


class MatrixOutput(Output):
    """Tested pairs of a registry and a server.

    ``differences`` has a sentence for each registry that works from some servers only, and why.
    """

    cells: list[CellOutput]
    differences: list[str]


class TestOnServers(Input):
    """All registries from all servers that take jobs now, unless some are named."""

    __test__ = False

    registry_ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_PAIRS)] | None = None
    server_ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_PAIRS)] | None = None


class MatrixInput(Input):
    """``history`` is the number of earlier tests of each pair."""

    registry_id: Id | None = None
    server_id: Id | None = None
    history: Annotated[int, Field(ge=0, le=100)] = 0


@dataclass(frozen=True)
class _Row:
    """One test, a row of either query."""

    registry_id: str
    registry_name: str
    plain_http: bool
    server_id: str
    server_name: str
    job_id: str
    state: str
    code: str | None
    stage: str | None
    milliseconds: float | None
    checked_at: datetime | None

    @property
    def pair(self) -> tuple[str, str]:
        return self.registry_id, self.server_id

    def shown(self) -> dict[str, Any]:
        return {**vars(self), "remedy": REMEDIES.get(self.code or "")}


async def test_on_servers(context: Context, request: TestOnServers) -> MatrixOutput:
    """Test registries from servers, with one job for each pair.

    It waits until all tests have ended, at most half a minute. The `state` of a cell is that of its
    test; call `registry.matrix` for later results. With `Prefer: respond-async` it answers at once.
    """
    registries = await _registries(context, request.registry_ids)
    servers = await _servers(context, request.server_ids)
    if len(registries) * len(servers) > MAX_PAIRS:
        raise InvalidInputError(
            f"tests of {len(registries)} registries from {len(servers)} servers are more than "
            f"{MAX_PAIRS} tests",
            remedy="Name fewer registries in registryIds, or fewer servers in serverIds.",
        )
    pairs = list(_pairs(registries, servers, named=request.server_ids is not None))
    jobs = [_submission(context, registry, server) for registry, server in pairs]
    with nullcontext() if context.respond_async else context.waiting():
        await _audit(context, registries, servers)
        await _retry_refused(context, registries)
        for job in jobs:
            await submit_job(context, job)
        if not context.respond_async:
            await _wait(context, jobs)
    values = {"organization_id": context.organization_id, "jobs": [job.job_id for job in jobs]}
    return _cells(await _rows(context, REQUESTED, values))


async def show_matrix(context: Context, request: MatrixInput) -> MatrixOutput:
    """Return the newest tests of each registry from each server."""
    async with context.transaction() as session:
        if request.registry_id is not None:
            await find_registry(session, context, request.registry_id)
        if request.server_id is not None:
            await find_server(session, context, request.server_id)
    values = {
        "organization_id": context.organization_id,
        "registry_id": request.registry_id,
        "server_id": request.server_id,
        "checks": request.history + 1,
    }
    return _cells(await _rows(context, NEWEST, values))


async def _registries(context: Context, ids: Sequence[str] | None) -> list[Registry]:
    async with context.transaction() as session:
        if ids is not None:
            return [await find_registry(session, context, one) for one in dict.fromkeys(ids)]
        query = (
            select(Registry)
            .where(Registry.organization_id == context.organization_id)
            .order_by(col(Registry.created_at), Registry.registry_id)
        )
        return list((await session.exec(query)).all())


async def _retry_refused(context: Context, registries: Sequence[Registry]) -> None:
    ids = [registry.registry_id for registry in registries]
    async with context.resources.pool.connection() as connection:
        await retry_refused(connection, context.organization_id, ids)


async def _servers(context: Context, ids: Sequence[str] | None) -> list[str]:
    if ids is None:
        return await find_live_servers(context)
    return [await choose_server(context, one) for one in dict.fromkeys(ids)]


def _pairs(
    registries: Sequence[Registry], servers: Sequence[str], *, named: bool
) -> Iterator[tuple[Registry, str]]:
    """Yield each registry with the servers that may receive its login.

    Raises:
        UnmetConditionError: ``registry_not_allowed``: a ``named`` server may not.
    """
    if named:
        require_allowed(registries, servers, "", is_test=True)
    for registry in registries:
        for server in servers:
            if not registry.allowed_servers or server in registry.allowed_servers:
                yield registry, server


def _submission(context: Context, registry: Registry, server_id: str) -> Submission:
    return Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=stored_test(context, registry),
        requested_by=context.caller.actor_id,
        registry_id=registry.registry_id,
        fair_key=ACTION,
        deadline=DEADLINE,
    )


async def _audit(context: Context, registries: Sequence[Registry], servers: list[str]) -> None:
    hosts = sorted({registry.host for registry in registries})
    async with context.transaction() as session:
        organization = context.organization_id
        session.add(audit_event(context, ACTION, organization, hosts=hosts, servers=servers))


async def _wait(context: Context, jobs: Sequence[Submission]) -> None:
    """Wait for the jobs one after the other: in total as long as for the slowest."""
    resources = context.resources
    loop = asyncio.get_running_loop()
    until = loop.time() + resources.patience.total_seconds()
    for job in jobs:
        remaining = timedelta(seconds=max(until - loop.time(), 0))
        try:
            await resources.waiter.wait(resources.pool, job.job_id, job.organization_id, remaining)
        except OverdueError:
            return


async def _rows(context: Context, query: str, values: Mapping[str, object]) -> list[_Row]:
    async with context.resources.pool.connection() as connection:
        rows = await (await connection.execute(query.encode(), values)).fetchall()
    return [_Row(**row) for row in rows]


def _cells(rows: Sequence[_Row]) -> MatrixOutput:
    """Group rows by pair: the first row is the cell, the others are its history."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        pairs.setdefault(row.pair, []).append(row.shown())
    cells = [{**newest, "history": history} for newest, *history in pairs.values()]
    checks = [
        Check(row["registry_name"], row["server_name"], State(row["state"]), row["code"])
        for row, *_ in pairs.values()
    ]
    shown = {"cells": cells, "differences": describe_differences(checks)}
    return MatrixOutput.model_validate(shown)


PROCEDURES = (
    Procedure("registry.testOnServers", "mutation", TestOnServers, MatrixOutput, test_on_servers),
    Procedure("registry.matrix", "query", MatrixInput, MatrixOutput, show_matrix),
)
