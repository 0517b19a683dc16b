"""The peer of accepting a job: the same row by a bare INSERT, the same framework and pool."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from shared.database import Pool, open_pool
from shared.ids import make_id

INSERT = """
INSERT INTO bare_job (job_id, organization_id, server_id, kind, version, job_class, state, command,
                      max_failures, timeout_seconds)
VALUES (%s, %s, %s, 'image.pull', 1, 'transfer', 'queued', %s, 3, 7200)
"""
state: dict[str, Pool] = {}


class Asked(BaseModel):
    server_id: str
    image: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with open_pool(os.environ["WHARF_DATABASE_URL"]) as pool:
        state["pool"] = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/job")
async def insert(asked: Asked) -> dict[str, str]:
    job_id = make_id()
    values = (job_id, "organization", asked.server_id, Jsonb({"reference": asked.image}))
    async with state["pool"].connection() as connection:
        await connection.execute(INSERT, values)
    return {"jobId": job_id}
