"""The start of a worker: it stores its settings for the next time."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import SetupError
from shared.settings import WorkerSettings
from tests.fakes.web import open_fake
from tests.waiting import wait_until
from worker.local.processes import free_port
from worker.server.__main__ import join
from worker.server.enrolment import hash_token, is_removed
from worker.server.identity import Enrolment, StateDirectory

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
ENROLLED = Enrolment(
    server_id="server", organization_id="org", database_url="postgresql://db/wharf"
)
OLD, NEW = "http://10.0.0.1:4747", "https://wharf.example"


@pytest.mark.parametrize(
    ("before", "given", "known"),
    [(None, None, None), (None, NEW, NEW), (OLD, None, OLD), (OLD, NEW, NEW)],
)
def test_the_api_s_address_is_stored_until_it_changes(
    tmp_path: Path, before: str | None, given: str | None, known: str | None
) -> None:
    state = StateDirectory.open(tmp_path)
    state.save_enrolment(ENROLLED.model_copy(update={"api_url": before}))
    state.close()
    settings = {"state_dir": tmp_path, "broker_url": "redis://broker/0"}

    first, _ = join(WorkerSettings.model_validate({**settings, "url": given}))
    second, _ = join(WorkerSettings.model_validate(settings))

    assert first == second == ENROLLED.model_copy(update={"api_url": known})


def test_a_server_that_joined_before_the_address_was_stored_is_still_known(tmp_path: Path) -> None:
    text = '{"server_id": "s", "organization_id": "o", "database_url": "postgresql://db/wharf"}'
    (tmp_path / "server.json").write_text(text)
    state = StateDirectory.open(tmp_path)

    assert state.enrolment is not None
    assert state.enrolment.api_url is None
    state.close()


def test_the_broker_s_url_is_stored_in_a_private_file(tmp_path: Path) -> None:
    write_enrolment(tmp_path, ENROLLED)
    settings = {"state_dir": tmp_path, "broker_url": "redis://user:secret@broker/0"}

    _, path = join(WorkerSettings.model_validate(settings))

    assert path.read_text() == "redis://user:secret@broker/0"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_used_join_token_may_stay_set(tmp_path: Path) -> None:
    write_enrolment(tmp_path, ENROLLED.model_copy(update={"token_hash": hash_token("first")}))

    enrolled, _ = join(settings_with(tmp_path, "first"))

    assert enrolled.server_id == "server"


async def test_a_token_for_another_server_is_refused_while_the_first_one_exists(
    tmp_path: Path,
) -> None:
    async with open_fake(answering(removed=False)) as fake:
        stored = {"token_hash": hash_token("first"), "api_url": f"http://{fake.host}"}
        write_enrolment(tmp_path, ENROLLED.model_copy(update=stored))

        with pytest.raises(SetupError, match="another server") as refused:
            await asyncio.to_thread(join, settings_with(tmp_path, "second"))

    assert "WHARF_STATE_DIR" in refused.value.remedy
    assert "second" not in refused.value.message + refused.value.remedy


async def test_a_server_that_joined_before_tokens_were_stored_continues_with_any_token(
    tmp_path: Path,
) -> None:
    async with open_fake(answering(removed=False)) as fake:
        kept = {"token_hash": None, "api_url": f"http://{fake.host}"}
        write_enrolment(tmp_path, ENROLLED.model_copy(update=kept))

        enrolled, _ = await asyncio.to_thread(join, settings_with(tmp_path, "first"))

    assert enrolled.server_id == "server"


async def test_the_state_directory_of_a_removed_server_joins_with_a_new_key(
    tmp_path: Path,
) -> None:
    state = StateDirectory.open(tmp_path)
    old_key = state.public_key()
    state.close()
    async with open_fake(answering(removed=True)) as fake:
        stored = {"token_hash": hash_token("first"), "api_url": f"http://{fake.host}"}
        write_enrolment(tmp_path, ENROLLED.model_copy(update=stored))
        settings = settings_with(tmp_path, "second", url=f"http://{fake.host}")

        enrolled, _ = await asyncio.to_thread(join, settings)

    assert enrolled.server_id == "new"
    state = StateDirectory.open(tmp_path)
    assert state.public_key().key_id != old_key.key_id
    assert (tmp_path / "removed-server" / "server.key").exists()
    state.close()


@pytest.mark.parametrize("text", ["<html>", "false", '{"removed": true}', ""])
async def test_a_server_counts_as_removed_only_after_a_plain_true(
    tmp_path: Path, text: str
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    async with open_fake(answer) as fake:
        enrolled = ENROLLED.model_copy(update={"api_url": f"http://{fake.host}"})

        assert not await asyncio.to_thread(is_removed, enrolled)


@pytest.mark.parametrize("setting", ["WHARF_JOIN_TOKEN", "WHARF_JOIN_TOKEN_FILE"])
async def test_neither_token_nor_password_stays_in_the_environment(
    tmp_path: Path, setting: str
) -> None:
    token = tmp_path / "token"
    token.write_text("used-token")
    write_enrolment(tmp_path, ENROLLED.model_copy(update={"token_hash": hash_token("used-token")}))
    settings = {
        "WHARF_STATE_DIR": str(tmp_path),
        setting: str(token) if setting.endswith("_FILE") else "used-token",
        "WHARF_BROKER_URL": f"redis://user:secret@127.0.0.1:{free_port()}/0",
    }
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.server"),
        env={**clean, **settings},
        stderr=asyncio.subprocess.DEVNULL,
    )
    process = Path(f"/proc/{worker.pid}")
    try:
        await wait_until(lambda: b"\0celery\0" in (process / "cmdline").read_bytes(), seconds=30)
        seen = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    finally:
        worker.kill()
        await worker.wait()

    assert b"WHARF_SERVER_ID=server" in seen
    assert not [word for word in (b"JOIN_TOKEN", b"used-token", b"secret@") if word in seen]


def answering(*, removed: bool) -> Answer:
    """Run an API that knows whether the server was removed, and that enrols every caller."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/server.isRemoved":
            assert request.query["serverId"] == "server"
            return web.json_response(removed)
        assert request.path == "/api/server.enroll"
        document = {"serverId": "new", "organizationId": "o", "databaseUrl": "postgresql://db/w"}
        return web.json_response(document)

    return answer


def settings_with(state_dir: Path, token: str, url: str | None = None) -> WorkerSettings:
    values = {"state_dir": state_dir, "join_token": token, "broker_url": "redis://broker/0"}
    return WorkerSettings.model_validate({**values, "url": url})


def write_enrolment(path: Path, enrolled: Enrolment) -> None:
    state = StateDirectory.open(path)
    state.save_enrolment(enrolled)
    state.close()
