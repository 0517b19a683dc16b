"""``wharf app`` as an operator runs it, against a real API process's socket."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.cli.commands.test_deploy import run
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
