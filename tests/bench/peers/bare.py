"""The peers of accepting a job, in the same framework.

``/bare``: an INSERT of the same row by the same pool. ``/naive``: what most people write, a
SQLModel session and Celery's ``send_task`` in the request.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import BaseModel
from sqlalchemy import JSON
from sqlmodel import Field, SQLModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.procedure.sessions import Sessions, open_sessions
from shared.database import Pool, open_pool
from shared.ids import make_id
from tests.bench.peers.bare_celery import make_app

INSERT = """
INSERT INTO bare_job (job_id, organization_id, server_id, kind, version, job_class, state, command,
                      max_failures, timeout_seconds)
VALUES (%s, %s, %s, 'image.pull', 1, 'transfer', 'queued', %s, 3, 7200)
"""
pools: list[Pool] = []
makers: list[Sessions] = []
celery = make_app(os.environ["BENCH_BROKER_URL"], "control")


class RequestInput(BaseModel):
    server_id: str
    image: str


class BareJob(SQLModel, table=True):
    __tablename__ = "bare_job"

    job_id: str = Field(primary_key=True)
    server_id: str
    command: dict[str, Any] = Field(sa_type=JSON)
    organization_id: str = "organization"
    kind: str = "image.pull"
    version: int = 1
    job_class: str = "transfer"
    state: str = "queued"
    max_failures: int = 3
    timeout_seconds: int = 7200


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    url = os.environ["WHARF_DATABASE_URL"]
    async with open_pool(url) as pool, open_sessions(url) as sessions:
        pools.append(pool)
        makers.append(sessions)
        yield


async def insert(request: Request) -> Response:
    requested = RequestInput.model_validate_json(await request.body())
    job_id = make_id()
    values = (job_id, "organization", requested.server_id, Jsonb({"reference": requested.image}))
    async with pools[0].connection() as connection:
        await connection.execute(INSERT, values)
    return JSONResponse({"jobId": job_id})


async def insert_and_send(request: Request) -> Response:
    requested = RequestInput.model_validate_json(await request.body())
    job_id = make_id()
    async with makers[0]() as session:
        command = {"reference": requested.image}
        session.add(BareJob(job_id=job_id, server_id=requested.server_id, command=command))
        await session.commit()
    celery.send_task("image.pull", args=[job_id, 1], queue="server.nobody")
    return JSONResponse({"jobId": job_id})


app = Starlette(lifespan=lifespan)
app.add_route("/bare", insert, methods=["POST"])
app.add_route("/naive", insert_and_send, methods=["POST"])
