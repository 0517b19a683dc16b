"""Get the logins of tests that were requested with a source in place of a password.

```text
a test is queued with a sealed source ──► control asks the provider ──► the login is sealed to
    control, as a password that was given with the job ──► the test is released
```

A server gets that login, and never the source. If the provider refuses it, the test fails with the
provider's reason.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from shared.coroutines import end
from shared.credentials.kinds import parse_source, source_context
from shared.database import Pool
from shared.errors import CredentialError, RegistryError, WharfError
from shared.faults import Fault, FaultCode
from shared.jobs.store.release import refuse_queued
from shared.set_aside import Rows, caught, is_unavailable, set_aside
from shared.vault import KeyRing, SealContext
from worker.control.providers.mint import Mint
from worker.control.providers.provider import Minted
from worker.control.service import Service

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
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def service(self) -> Service:
        return Service(SERVICE, self.begin, INTERVAL)

    async def begin(self, _pool: Pool) -> float | None:
        """Begin to get the logins of queued tests, up to the limit."""
        values = {"room": MAX_CONCURRENT}
        async with self.pool.connection() as connection:
            rows = await (await connection.execute(PENDING.whole, values)).fetchall()
        for pending in (Pending(**row) for row in rows):
            if pending.row_id not in self._running and len(self._running) < MAX_CONCURRENT:
                task = asyncio.create_task(self._get(pending))
                self._running[pending.row_id] = task
                task.add_done_callback(partial(self._ended, pending.row_id))
        return None

    async def close(self) -> None:
        """End what runs; another replica asks again."""
        await end(*self._running.values())

    def _ended(self, job_id: str, _: asyncio.Task[None]) -> None:
        self._running.pop(job_id)

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
        text = self.vault.open(pending.sealed, context)
        try:
            source = parse_source(text)
        except ValueError:
            # Without its cause, which may contain parts of the source.
            raise CredentialError(
                f"this version of wharf control cannot read the credential for {pending.host}",
                remedy="Update wharf control, then repeat the request.",
            ) from None
        source.require_host(pending.host)
        try:
            async with asyncio.timeout(LIMIT.total_seconds()):
                return await self.mint.mint(source, pending.host, datetime.now(UTC))
        except TimeoutError as error:
            raise RegistryError(
                FaultCode.AUTH_SERVER_UNREACHABLE,
                f"the provider of {pending.host} did not answer in time",
                remedy="Check that wharf control can reach the provider.",
            ) from error

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
