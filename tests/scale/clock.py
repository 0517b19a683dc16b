"""Measure queries of jobs, statement by statement."""

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.jobs.commands import ImagePull
from shared.jobs.store.release import release
from shared.jobs.store.submit import Submission, submit
from shared.jobs.store.sweep import sweep

ROUNDS = 60
ORGANIZATION, SERVER = "organization-0003", "server-000003"
COMMAND = ImagePull(reference="registry.example/team/app:1")


@dataclass
class Clock:
    """How long a thing takes, in milliseconds; each time is rolled back and leaves nothing."""

    connection: Connection

    async def median(self, run: Callable[[], Awaitable[object]]) -> float:
        taken = []
        for _ in range(ROUNDS):
            async with self.connection.transaction(force_rollback=True):
                begun = time.perf_counter()
                await run()
                taken.append((time.perf_counter() - begun) * 1000)
        return statistics.median(taken)

    async def all(self) -> dict[str, float]:
        await self.connection.execute("UPDATE server SET seen_at = now()")
        return {
            "release, every server full": await self.median(lambda: release(self.connection)),
            "release, room for five": await self._with_room(9),
            "sweep": await self.median(lambda: sweep(self.connection)),
            "submit": await self.median(self._submit),
            "claim": await self._claim(),
        }

    async def _submit(self) -> None:
        await submit(self.connection, Submission(ORGANIZATION, SERVER, COMMAND))

    async def _with_room(self, slots: int) -> float:
        change = "UPDATE server SET transfer_limit = %s WHERE server_id = %s"
        await self.connection.execute(change, (slots, SERVER))
        try:
            return await self.median(lambda: release(self.connection))
        finally:
            await self.connection.execute(change, (4, SERVER))

    async def _claim(self) -> float:
        await self.connection.execute(
            "UPDATE job SET state = 'dispatched', attempt = attempt + 1 WHERE job_id = ("
            " SELECT job_id FROM job WHERE server_id = %s AND state = 'queued' LIMIT 1)",
            (SERVER,),
        )
        cursor = await self.connection.execute(
            "SELECT job_id, attempt FROM job WHERE state = 'dispatched'"
        )
        [row] = await cursor.fetchall()
        role = f"wharf_server_{SERVER}"
        await self.connection.execute(f'CREATE ROLE "{role}" IN ROLE wharf_servers'.encode())
        await self.connection.execute(f'SET SESSION AUTHORIZATION "{role}"'.encode())
        document = Jsonb({"incarnation": "first", **row})

        async def claim() -> None:
            cursor = await self.connection.execute(
                "SELECT worker_v1.claim(%s)->>'status' AS status", (document,)
            )
            assert await cursor.fetchone() == {"status": "claimed"}

        taken = await self.median(claim)
        await self.connection.execute("RESET SESSION AUTHORIZATION")
        await self.connection.execute(f'DROP ROLE "{role}"'.encode())
        await self.connection.execute(
            "UPDATE job SET state = 'queued' WHERE job_id = %s", (row["job_id"],)
        )
        return taken
