"""``wharf registry matrix``: which server can log in to which registry."""

import httpx2

from tests.api.asking import create_registry
from tests.api.cli.running import run
from tests.api.cli.working import working
from tests.api.fleet import TestServer, bad_error
from tests.databases import Database


async def test_all_registries_are_tested_from_all_servers(
    client: httpx2.AsyncClient, url: str, server: TestServer, database: Database
) -> None:
    await create_registry(client, registryName="ours")
    await create_registry(client, registryName="theirs")
    database.execute("UPDATE server SET seen_at = now() + interval '1 hour'")

    async with working(server):
        passed = await run(url, "registry", "matrix", "--test")
    async with working(server, "failed", error=bad_error()):
        failed = await run(url, "registry", "matrix", "--test", "--registry", "ours")
    shown = await run(url, "registry", "matrix", "--server", "alpha")

    assert passed.code == 0
    assert [line.split()[:3] for line in passed.out.splitlines()[1:]] == [
        ["ours", "alpha", "succeeded"],
        ["theirs", "alpha", "succeeded"],
    ]
    assert (failed.code, failed.out.count("auth_bad_credentials")) == (1, 1)
    assert (shown.code, "theirs" in shown.out) == (0, True)
