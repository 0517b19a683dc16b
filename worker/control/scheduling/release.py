"""Release jobs, each with the logins that it needs, and publish them to their servers."""

from dataclasses import dataclass
from functools import partial

import psycopg
import structlog

from shared.database import Connection, Pool
from shared.errors import WharfError
from shared.faults import Fault
from shared.jobs.store.pin import pin
from shared.jobs.store.release import (
    SERVICE,
    Released,
    choose,
    dispatch,
    dispatch_one,
    enter,
    give_login,
    has_queued_jobs,
    refuse,
)
from shared.jobs.store.sweep import AttemptMessage
from shared.set_aside import Cause, attempt, caught, is_unavailable
from shared.vault import KeyRing
from worker.control.credentials.context_tokens import make_token, store_token
from worker.control.credentials.grants import make_grants, seal_grants
from worker.control.credentials.uses import record_uses, uses_of
from worker.control.image_usage import recheck
from worker.control.scheduling.publish import Publisher
from worker.control.service import Service

IDLE_SECONDS = 1.0
BUSY_SECONDS = 0.02
"""The pause after a release of jobs, because more may be due."""

UNREADABLE = Fault(
    code="command_unreadable",
    message="this version of wharf control cannot read the stored command",
    remedy="Update wharf control, then repeat the request.",
)

log = structlog.get_logger()


@dataclass(frozen=True)
class Releases:
    """The service that releases jobs; safe in replicas."""

    vault: KeyRing
    publisher: Publisher

    def service(self) -> Service:
        return Service(SERVICE, self.release)

    async def release(self, pool: Pool) -> float:
        """Release due jobs within the limits; return the seconds until the next run."""
        async with pool.connection() as connection:
            if not await has_queued_jobs(connection):
                return IDLE_SECONDS
            released = await caught(self._together(connection))
            if isinstance(released, Exception):
                if is_unavailable(released):
                    raise released
                released = await self._one_by_one(connection)
        if released is None:
            return BUSY_SECONDS
        for job in released:
            log.info("released", job_id=job.job_id, attempt=job.attempt, server=job.server_id)
        await self.publisher.publish(
            [AttemptMessage(job.job_id, job.server_id, job.kind, job.attempt) for job in released]
        )
        return BUSY_SECONDS if released else IDLE_SECONDS

    async def _together(self, connection: Connection) -> list[Released] | None:
        """Release all in one transaction; ``None`` if another replica holds the gate.

        It takes three round trips, as other replicas wait for the gate: to enter it, to choose the
        jobs, and to store all their logins.
        """
        async with connection.pipeline(), connection.transaction():
            aside = await enter(connection)
            if aside is None:
                return None
            jobs = await dispatch(connection, aside)
            return [job for job in jobs if await self._give(connection, job)]

    async def _one_by_one(self, connection: Connection) -> list[Released] | None:
        """Release each job separately, after one of them failed the common transaction."""
        async with connection.transaction():
            aside = await enter(connection)
            if aside is None:
                return None
            released = [
                await attempt(connection, SERVICE, job_id, partial(self._one, connection, job_id))
                for job_id in await choose(connection, aside)
            ]
        return [job for job in released if job is not None]

    async def _one(self, connection: Connection, job_id: str) -> Released | None:
        job = await dispatch_one(connection, job_id)
        return job if job is not None and await self._give(connection, job) else None

    async def _give(self, connection: Connection, job: Released) -> bool:
        """Give the job its login; end the job if there is none, and return whether it was given."""
        error = await caught(self._equip(connection, job))
        if error is None:
            return True
        if isinstance(error, psycopg.Error):
            raise error
        fault = _fault(error)
        log.warning("no_login", job_id=job.job_id, code=fault.code, cause=Cause.of(error).message)
        await refuse(connection, job, fault)
        return False

    async def _equip(self, connection: Connection, job: Released) -> None:
        job = await recheck(connection, await pin(connection, job))
        token = make_token(job)
        given = make_grants(self.vault, job, token)
        if given is not None:
            await give_login(connection, job, seal_grants(job, given))
            await record_uses(connection, job, uses_of(job, given))
        if token is not None:
            await store_token(connection, job, token)


def _fault(error: Exception) -> Fault:
    if isinstance(error, WharfError):
        return error.fault()
    if isinstance(error, ValueError | TypeError | LookupError | AttributeError | RecursionError):
        return UNREADABLE
    return Fault(
        code="internal",
        message=f"no login could be made: {type(error).__name__}",
        remedy="Read the log of wharf control.",
    )
