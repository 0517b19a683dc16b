"""``wharf server`` as a person or a script runs it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator

import httpx2
import pytest
from aiohttp import web
from starlette.applications import Starlette

from tests.api.asking import ADMIN_KEY
from tests.api.cli.running import run
from tests.api.cli.working import working
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.fakes.web import open_fake
from tests.waiting import wait_until
from worker.local.processes import free_port

AWAY = {"code": "engine_unreachable", "message": "no Engine answers", "remedy": "Start Docker."}


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


async def wharf(
    url: str, *words: str, key: str = ADMIN_KEY, **more: str
) -> tuple[int | None, str, str]:
    ran = await run(url, "server", *words, key=key, **more)
    return ran.code, ran.out, ran.err


async def approve(url: str, *words: str, **more: str) -> tuple[int | None, str, str]:
    """Approve in a process of its own: the command becomes another program."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "api.cli.main", "server", "approve", *words),
        env={**os.environ, "WHARF_URL": url, **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_add_prints_the_one_line_to_run_there(url: str, database: Database) -> None:
    code, out, err = await wharf(url, "add", "dock-1")

    [(roles,)] = database.execute("SELECT roles FROM server WHERE name = 'dock-1'")
    address, token, *command = out.split()
    assert code == 0
    assert out.count("\n") == 1
    assert address == f"WHARF_URL={url}"
    assert token.startswith("WHARF_JOIN_TOKEN=wharf_join_")
    assert command == ["wharf", "worker"]
    assert "15 minutes" in err and "is a local address" in err
    assert roles == ["build", "deploy"]


async def test_a_server_is_added_for_building_only(url: str, database: Database) -> None:
    code, _, _ = await wharf(url, "add", "forge", "--role", "build")

    assert code == 0
    assert database.execute("SELECT roles FROM server") == [(["build"],)]


async def test_a_token_is_renewed_for_a_server_that_has_not_joined(
    url: str, database: Database
) -> None:
    await wharf(url, "add", "dock-1")

    code, out, _ = await wharf(url, "add", "dock-1", "--renew")

    assert code == 0
    assert out.startswith(f"WHARF_URL={url} WHARF_JOIN_TOKEN=wharf_join_")
    assert database.execute("SELECT count(*) FROM server") == [(1,)]
    assert database.execute("SELECT count(*) FROM server_token") == [(2,)]


async def test_a_role_does_not_go_with_a_renewed_token(url: str) -> None:
    await wharf(url, "add", "dock-1")

    code, out, err = await wharf(url, "add", "dock-1", "--renew", "--role", "build")

    assert (code, out) == (1, "")
    assert "--role" in err


async def test_list_shows_each_server_with_its_state(url: str, server: TestServer) -> None:
    await wharf(url, "add", "[bold]later")

    code, out, _ = await wharf(url, "list")

    heading, online, later = out.splitlines()
    assert code == 0
    assert heading.split()[:2] == ["name", "state"]
    assert online.split()[:2] == ["alpha", "online"] and server.server_id in online
    assert later.startswith("[bold]later  never joined")


@pytest.mark.parametrize("by", ["name", "id"])
async def test_a_server_is_removed_by_its_name_or_its_id(
    url: str, server: TestServer, database: Database, by: str
) -> None:
    code, out, _ = await wharf(
        url, "remove", "alpha" if by == "name" else server.server_id, "--yes"
    )

    assert (code, out) == (0, "alpha is removed.\n")
    assert database.execute("SELECT 1 FROM server WHERE removed_at IS NULL") == []


async def test_the_path_to_a_server_is_checked(
    url: str, server: TestServer, database: Database
) -> None:
    database.execute("UPDATE server SET seen_at = now() + interval '1 hour'")

    async with working(server):
        code, out, _ = await wharf(url, "check", "alpha", "--path")
    async with working(server, "failed", error=AWAY):
        failed, found, _ = await wharf(url, "check", "alpha", "--path")

    assert code == 0
    assert "engine: ok: Docker Engine " in out
    assert failed == 1
    assert "engine: wrong: no Engine answers. Start Docker." in found


async def test_a_server_is_paused_for_one_class_and_resumed(url: str, server: TestServer) -> None:
    paused = await wharf(url, "pause", "alpha", "--class", "build")
    resumed = await wharf(url, "resume", "alpha")

    assert paused == (0, "alpha: paused: build\n", "")
    assert resumed == (0, "alpha: online\n", "")


async def test_an_error_is_shown_in_one_sentence_without_the_key(
    url: str, server: TestServer
) -> None:
    taken = await wharf(url, "add", "alpha")
    unknown = await wharf(url, "remove", "omega", "--yes")
    bad_key = await wharf(url, "list", key="wharf_not-a-key")
    no_key = await wharf(url, "list", key="")
    nobody = await wharf(f"http://127.0.0.1:{free_port()}", "list")

    results = (taken, unknown, bad_key, no_key, nobody)
    message = [err for _, _, err in results]
    words = (
        "named alpha already exists",
        "no server omega",
        "not known",
        "WHARF_API_KEY",
        "cannot be reached",
    )
    assert [code for code, _, _ in results] == [1] * 5
    assert all(word in err for word, err in zip(words, message, strict=True)), message
    assert not [err for err in message if "Traceback" in err or "not-a-key" in err]


async def test_words_of_an_api_steer_no_terminal() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("server.all"):
            warnings = [{"field": "x", "message": "warned\x1b[2J"}]
            return web.json_response([], headers={"x-wharf-warnings": json.dumps(warnings)})
        refusal = {
            "message": "no\x1b[2J\x9b",
            "code": "X",
            "data": {"cause": {"code": "x", "remedy": "\u202eago"}},
        }
        return web.json_response(refusal, status=400)

    async with open_fake(answer) as fake:
        refused = await wharf(f"http://{fake.host}", "add", "alpha")
        warned = await wharf(f"http://{fake.host}", "list")

    assert refused == (1, "", "wharf server add: no?[2J?. ?ago\n")
    assert warned[2] == "warning: warned?[2J\n"


async def test_the_name_of_a_server_that_is_not_approved_steers_no_terminal(
    url: str, server: TestServer, database: Database
) -> None:
    control = {"WHARF_DATABASE_URL": database.url("wharf_control")}

    code, _, err = await approve(url, "alpha\x1b[2J", **control)

    assert (code, "no unapproved server alpha?[2J" in err) == (1, True)


async def test_a_server_is_approved_with_the_database_url_of_control_alone(
    url: str, server: TestServer, database: Database
) -> None:
    database.execute("UPDATE server SET approved_at = NULL")
    _, listed, _ = await wharf(url, "list")
    approved = "SELECT name FROM server WHERE approved_at IS NOT NULL"

    code, _, err = await approve(url, "alpha", WHARF_DATABASE_URL=database.url("wharf_api"))
    assert (code, "cannot approve servers" in err) == (1, True)
    assert database.execute(approved) == []

    control = {"WHARF_DATABASE_URL": database.url("wharf_control")}
    code, out, _ = await approve(url, "alpha", **control)

    assert code == 0 and "alpha is approved, with the key" in out
    assert "not approved" in listed
    assert database.execute(approved) == [("alpha",)]
    code, _, err = await approve(url, "alpha", **control)
    assert (code, "there is no unapproved server" in err) == (1, True)


async def test_a_drained_server_is_waited_for(
    url: str, client: httpx2.AsyncClient, server: TestServer
) -> None:
    await client.post("/api/image.pull", json={"image": "nginx"})
    job = await server.next_job()
    waiting = asyncio.create_task(wharf(url, "drain", server.server_id, "--wait"))

    async def is_drained() -> bool:
        shown = await client.get("/api/server.one", params={"serverId": server.server_id})
        return shown.json()["drainRequestedAt"] is not None

    await wait_until(is_drained)
    await server.finish(job, "returned")
    code, out, err = await waiting

    assert (code, out) == (0, "alpha: drain requested\n")
    assert err.endswith("alpha: 0 jobs left\n")
