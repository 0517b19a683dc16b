"""Get the logins of tests that were requested with a source in place of a password.

```text
a test is queued with a sealed source ──► control asks the provider ──► the login is sealed to
    control, as a password that was given with the job ──► the test is released
```

A server gets that login, and never the source. If the provider refuses it, the test fails with the
provider's reason.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from shared.credentials.kinds import source_context
from shared.database import Pool
from shared.errors import WharfError
from shared.faults import Fault
from shared.jobs.store.release import refuse_queued
from shared.set_aside import Rows, caught, is_unavailable, set_aside
from shared.vault import KeyRing, SealContext
from worker.control.credentials.sources import open_source, within
from worker.control.providers.mint import Mint
from worker.control.providers.provider import Minted
from worker.control.service import KeyedTasks, Service

SERVICE = "logins_of_tests"
INTERVAL = timedelta(seconds=10)
"""Without the notification of a new test."""

LIMIT = timedelta(seconds=20)
"""The time for all exchanges; a caller waits for the test meanwhile."""

MAX_CONCURRENT = 16

PENDING = Rows(
    SERVICE,
    "j.job_id",
    """
SELECT j.job_id AS row_id, j.organization_id, j.command->>'host' AS host,
       j.command->>'username' AS username, s.sealed
  FROM job_secret s JOIN job j USING (job_id)
 WHERE s.purpose = 'credential_source' AND j.state = 'queued'
   AND j.command->>'credential' IS NOT NULL AND {rows}
 ORDER BY j.job_id LIMIT %(room)s
""",
)
# Only by the replica that was first; the test is released then.
GIVE = """
WITH ready AS (
  UPDATE job SET command = command || '{"credential": null}'
   WHERE job_id = %(job_id)s AND state = 'queued' AND command->>'credential' IS NOT NULL
  RETURNING job_id
), given AS (
  INSERT INTO job_secret (job_id, purpose, attempt, sealed)
  SELECT job_id, 'password', 0, %(sealed)s FROM ready
)
SELECT send_notification('wharf_release', '') FROM ready
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class Pending:
    """A queued test and its source, which is sealed to control for this job."""

    row_id: str
    organization_id: str
    host: str
    username: str
    sealed: str = field(repr=False)


@dataclass
class LoginsOfTests:
    """The service; in replicas both may ask the provider, and the first login is taken."""

    pool: Pool
    vault: KeyRing
    mint: Mint
    tasks: KeyedTasks = field(default_factory=lambda: KeyedTasks(MAX_CONCURRENT))

    def service(self) -> Service:
        return Service(SERVICE, self.begin, INTERVAL)

    async def begin(self, _pool: Pool) -> float | None:
        """Begin to get the logins of queued tests, up to the limit."""
        values = {"room": MAX_CONCURRENT}
        async with self.pool.connection() as connection:
            rows = await (await connection.execute(PENDING.whole, values)).fetchall()
        for pending in (Pending(**row) for row in rows):
            self.tasks.start(pending.row_id, partial(self._get, pending))
        return None

    async def _get(self, pending: Pending) -> None:
        found = await caught(self._mint(pending))
        if isinstance(found, WharfError):
            recorded = await caught(self._fail(pending, found.fault()))
        elif isinstance(found, Exception):
            recorded = found
        else:
            recorded = await caught(self._give(pending, found))
        if isinstance(recorded, Exception) and not is_unavailable(recorded):
            async with self.pool.connection() as connection:
                await set_aside(connection, SERVICE, pending.row_id, recorded)

    async def _mint(self, pending: Pending) -> Minted:
        context = source_context(pending.organization_id, pending.row_id, pending.host)
        source = open_source(self.vault, pending.sealed, context)
        async with within(LIMIT, pending.host):
            return await self.mint.mint(source, pending.host, datetime.now(UTC))

    async def _give(self, pending: Pending, minted: Minted) -> None:
        context = SealContext(
            "password", pending.organization_id, pending.row_id, pending.host, pending.username
        )
        public = self.vault.find_public_key(pending.sealed)
        values = {
            "job_id": pending.row_id,
            "sealed": public.seal(minted.password.get_secret_value(), context),
        }
        async with self.pool.connection() as connection:
            await connection.execute(GIVE, values)
        log.info("login_of_test_given", job_id=pending.row_id, host=pending.host)

    async def _fail(self, pending: Pending, fault: Fault) -> None:
        log.warning("no_login", job_id=pending.row_id, code=fault.code)
        async with self.pool.connection() as connection:
            await refuse_queued(connection, pending.row_id, fault)
