"""Create repositories of ECR that a push did not find, where the credential says so.

```text
a push or copy ends with repo_missing ──► the database queues it again, for some minutes later
    ──► control creates the repository ──► the job is due at once
```

So a push to a repository that exists asks AWS nothing. The name is that of the stored command,
whatever a worker reports. If AWS refuses, the job fails with its reason; while AWS cannot be
reached, the job waits.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from shared.credentials.kinds import source_context
from shared.database import Pool
from shared.errors import WharfError
from shared.jobs.store.release import refuse_queued
from shared.reference import parse_reference
from shared.set_aside import Rows, caught, is_unavailable, set_aside
from shared.vault import KeyRing
from worker.control.credentials.sources import open_source, within
from worker.control.providers.mint import Mint
from worker.control.service import KeyedTasks, Service

SERVICE = "missing_repositories"
INTERVAL = timedelta(seconds=10)
LIMIT = timedelta(seconds=20)
MAX_CONCURRENT = 4
HELD = timedelta(minutes=15)
"""The longest pause of a job after a failed attempt; longer than the pause of one set aside."""

# The index is of queued jobs with this error. Those that wait too long are released, and come back.
MISSING = Rows(
    SERVICE,
    "j.job_id",
    """
SELECT j.job_id AS row_id, j.organization_id, j.registry_id, r.host, s.sealed,
       j.command->>'reference' AS reference
  FROM credential_source s JOIN registry r USING (registry_id)
  JOIN job j ON j.registry_id = s.registry_id
 WHERE s.shown->'create_repository' = 'true'
   AND j.state = 'queued' AND j.error->>'code' = 'repo_missing' AND j.run_at > now() AND {rows}
 ORDER BY j.job_id
""",
)
DUE = """
UPDATE job SET run_at = now()
 WHERE job_id = ANY (%(job_ids)s) AND state = 'queued' AND error->>'code' = 'repo_missing'
"""
HOLD = """
UPDATE job SET run_at = now() + %(pause)s
 WHERE job_id = ANY (%(job_ids)s) AND state = 'queued' AND error->>'code' = 'repo_missing'
"""
NOTIFY = "SELECT send_notification('wharf_release', '')"

log = structlog.get_logger()


@dataclass(frozen=True)
class Missing:
    """A queued job whose target's repository is missing; ``sealed`` is the registry's source."""

    row_id: str
    organization_id: str
    registry_id: str
    host: str
    sealed: str = field(repr=False)
    reference: str

    @property
    def repository(self) -> str:
        return parse_reference(self.reference).repository


@dataclass
class MissingRepositories:
    """The service. Replicas may ask for the same repository: that it exists is a success."""

    pool: Pool
    vault: KeyRing
    mint: Mint
    tasks: KeyedTasks = field(default_factory=lambda: KeyedTasks(MAX_CONCURRENT))

    def service(self) -> Service:
        return Service(SERVICE, self.begin, INTERVAL)

    async def begin(self, _pool: Pool) -> float | None:
        """Begin to create what is missing, up to the limit."""
        async with self.pool.connection() as connection:
            rows = await (await connection.execute(MISSING.whole)).fetchall()
        jobs: defaultdict[str, list[Missing]] = defaultdict(list)
        for missing in (Missing(**row) for row in rows):
            jobs[f"{missing.registry_id}/{missing.repository}"].append(missing)
        for key, of_one in jobs.items():
            self.tasks.start(key, partial(self._provide, of_one))
        return None

    async def _provide(self, jobs: Sequence[Missing]) -> None:
        found = await caught(self._create(jobs[0]))
        recorded = await caught(self._record(jobs, found))
        if isinstance(recorded, Exception) and not is_unavailable(recorded):
            await self._set_aside(jobs, recorded)

    async def _create(self, missing: Missing) -> None:
        context = source_context(missing.organization_id, missing.registry_id, missing.host)
        source = open_source(self.vault, missing.sealed, context)
        target = parse_reference(missing.reference)
        async with within(LIMIT, missing.host):
            await self.mint.create_repository(source, target, datetime.now(UTC))
        log.info("repository_created", registry=missing.registry_id, repository=target.name)

    async def _record(self, jobs: Sequence[Missing], found: Exception | None) -> None:
        values = {"job_ids": [job.row_id for job in jobs], "pause": HELD}
        if isinstance(found, WharfError) and not found.fault().retryable:
            async with self.pool.connection() as connection:
                for job in jobs:
                    await refuse_queued(connection, job.row_id, found.fault())
            return
        if found is not None:
            async with self.pool.connection() as connection:
                await connection.execute(HOLD, values)
            await self._set_aside(jobs, found)
            return
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute(DUE, values)
            await connection.execute(NOTIFY)

    async def _set_aside(self, jobs: Sequence[Missing], error: Exception) -> None:
        async with self.pool.connection() as connection:
            for job in jobs:
                await set_aside(connection, SERVICE, job.row_id, error)
