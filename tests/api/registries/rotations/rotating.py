"""A fleet that tests new logins of registries: control's service, and two workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from shared.database import Pool, open_pool
from shared.jobs.store.release import Released
from shared.networks import parse_networks
from shared.vault import KeyRing
from tests.api.fleet import TestServer, bad_error, good_report, open_server
from tests.databases import Database
from worker.control.credentials.grants import open_stored_login
from worker.control.credentials.rotations import Rotations
from worker.control.providers.mint import Mint
from worker.control.providers.provider import HttpClient
from worker.oci.transport.settings import ConnectionSettings

NEW = "the new password"
OLD = "ghp_xxxxxxxxxxxxxxxxxxxx"


@dataclass
class Fleet:
    """Control's service, and workers whose tests all end well, or all find a wrong password."""

    database: Database
    pool: Pool
    rotations: Rotations
    vault: KeyRing
    servers: list[TestServer]
    tested: list[Released] = field(default_factory=list)

    async def step(self) -> None:
        await self.rotations.carry_out(self.pool)

    @asynccontextmanager
    async def working(self, *, accepts: bool = True) -> AsyncIterator[None]:
        task = asyncio.create_task(self._work(accepts=accepts))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self, *, accepts: bool) -> None:
        by_id = {server.server_id: server for server in self.servers}
        while True:
            await self.step()
            for job in await self.servers[0].release():
                self.tested.append(job)
                server = by_id[job.server_id]
                await server.claim(job)
                if accepts:
                    await server.finish(job, "succeeded", result=good_report())
                else:
                    await server.finish(job, "failed", error=bad_error())
            await asyncio.sleep(0.01)

    def login(self) -> tuple[str, str]:
        """Return the username and password in use, opened."""
        [(organization_id, registry_id, host, username, password)] = self.database.execute(
            "SELECT organization_id, registry_id, host, username, password FROM registry"
        )
        row = {"host": host, "username": username, "password": password}
        found = open_stored_login(self.vault, str(organization_id), str(registry_id), row)
        return found.username, found.secret.get_secret_value()


@asynccontextmanager
async def open_fleet(
    client: httpx2.AsyncClient, server: TestServer, database: Database, vault: KeyRing
) -> AsyncIterator[Fleet]:
    """A second server beside the given one, and control's service in a pool of its own."""
    http = HttpClient(ConnectionSettings(parse_networks("")))
    async with (
        open_server(client, database, "beta") as beta,
        open_pool(database.url("wharf_control")) as pool,
    ):
        # Online for as long as a test takes, without workers that say so.
        database.execute("UPDATE server SET seen_at = now() + interval '1 hour'")
        yield Fleet(database, pool, Rotations(vault, Mint(http)), vault, [server, beta])
