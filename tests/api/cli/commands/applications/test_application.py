"""``wharf app`` as an operator runs it, against a real API process's socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import create_registry
from tests.api.cli.commands.applications.test_deploy import run
from tests.api.cli.running import run as run_here
from tests.api.deployments.test_control import (
    MISSING,
    create_deployed,
    reported,
)
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from tests.databases import Database


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("command", "action"), [("stop", "stop"), ("start", "start"), ("restart", "reload")]
)
async def test_an_operator_sees_the_state_on_each_server(
    client: httpx2.AsyncClient, server: TestServer, url: str, command: str, action: str
) -> None:
    state = "stopped" if action == "stop" else "running"
    await create_deployed(client, server, appName="my-app")
    process = await run(url, command, "my-app", "--wait", command="app")
    job = await server.succeed_next(reported(state, changed=command != "start"))

    code, out, err = await ended(process)

    assert (code, err) == (0, "")
    assert job.command["action"] == action
    assert out == f"alpha: {state}{' already' if command == 'start' else ''}\n"


async def test_a_failure_is_shown_with_its_cause(
    client: httpx2.AsyncClient, server: TestServer, url: str
) -> None:
    await create_deployed(client, server, appName="my-app")
    process = await run(url, "stop", "my-app", "--wait", command="app")
    await server.fail_next(MISSING)

    code, out, err = await ended(process)

    assert (code, out) == (1, "")
    assert "nothing of it is on this server. Deploy it again." in err


async def test_a_repeated_key_does_nothing_again(
    client: httpx2.AsyncClient, server: TestServer, url: str, database: Database
) -> None:
    await create_deployed(client, server, appName="my-app")
    first = await ended(await run(url, "stop", "my-app", "--key", "once", command="app"))
    again = await ended(await run(url, "stop", "my-app", "--key", "once", command="app"))

    [(job_id,)] = database.execute("SELECT job_id FROM job WHERE kind = 'application.control'")
    assert first == again == (0, f"{job_id}\n", "")


async def test_the_output_of_an_application_is_written(
    client: httpx2.AsyncClient, server: TestServer, url: str
) -> None:
    await create_deployed(client, server, appName="my-app")
    options = ("--tail", "5", "--since", "2h", "--search", "go")
    process = await run(url, "logs", "my-app", *options, command="app")
    job = await server.succeed_next({"lines": ["2026-07-01T09:00:00Z good"]})

    code, out, err = await ended(process)

    assert (code, out, err) == (0, "2026-07-01T09:00:00Z good\n", "")
    fields = ("tail", "since_seconds", "search")
    assert [job.command[field] for field in fields] == [5, 7200, "go"]


async def test_an_archive_is_stored_and_built_from(
    client: httpx2.AsyncClient, server: TestServer, url: str, database: Database, tmp_path: Path
) -> None:
    await create_deployed(client, server, appName="my-app")
    archive = tmp_path / "context.tar"
    archive.write_bytes(b"a tar")

    stored = await run_here(url, "app", "upload", "my-app", str(archive))
    missing = await run_here(url, "app", "upload", "my-app", str(tmp_path / "nothing"))

    [(context_id, size)] = database.execute("SELECT context_id, size_bytes FROM context")
    assert (stored.code, stored.out, size) == (0, f"{context_id}\n", 5)
    assert (missing.code, "nothing cannot be read: No such file" in missing.err) == (1, True)


async def test_an_application_is_made_and_changed_by_names(
    client: httpx2.AsyncClient, server: TestServer, url: str, tmp_path: Path
) -> None:
    registry = await create_registry(client, registryName="ours")
    variables = tmp_path / "env"
    variables.write_text("GREETING=hello\n")

    places = ("--server", "alpha", "--build-registry", "ours", "--port", "8080:80")
    made = await run_here(url, "app", "create", "Shop", "--app-name", "shop", *places)
    more = ("--env-file", str(variables), "--port", "53:53/udp", "--port", "80:80")
    changed = await run_here(url, "app", "update", "shop", *more)
    refused = await run_here(url, "app", "update", "shop", "--port", "eighty")
    shown = await run_here(url, "app", "show", "shop")

    [stored] = (await client.get("/api/application.all")).json()
    assert (made.code, changed.out, refused.code) == (0, "changed\n", 1)
    assert refused.err.endswith("eighty is not a port. Give for example 8080:80 or 53:53/udp.\n")
    assert stored["serverIds"] == [server.server_id]
    assert stored["buildRegistryId"] == registry["registryId"]
    assert (stored["envNames"], len(stored["ports"])) == (["GREETING"], 2)
    assert "servers: alpha\n" in shown.out
    assert "build registry: ours\n" in shown.out
    assert "ports: 53:53/udp, 80:80/tcp\n" in shown.out
