"""Each program ends at its start if its broker or its PostgreSQL is too old.

The broker is the real Redis 7.0 of Debian 12. PostgreSQL is the embedded one behind a proxy that
changes the version that it reports.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from shared.errors import SetupError
from shared.vault import PrivateKey
from shared.versions.broker import require_broker
from tests.databases import Database
from tests.proxies import open_proxy
from tests.world import World
from worker.local.postgres import OWNER
from worker.local.processes import Child, free_port, is_listening
from worker.local.valkey import LocalValkey
from worker.server.identity import StateDirectory

# Of the package redis-tools: started under the name of the server, it is the server.
PROGRAM = "redis-check-rdb"
SECONDS_10 = timedelta(seconds=10)
API, CONTROL = ("-m", "api"), ("-m", "worker.control.main")
MIGRATE, WORKER = ("-m", "shared.migrations"), ("-m", "worker.server")


@pytest.fixture(scope="module")
def old_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis 7.0 without passwords."""
    program = shutil.which(PROGRAM)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"{PROGRAM} is missing: install redis-tools")
        pytest.skip(f"{PROGRAM} is missing: install redis-tools")
    directory = tmp_path_factory.mktemp("redis")
    server = directory / "redis-server"
    server.symlink_to(program)
    port = free_port()
    argv = [str(server), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"]
    child = Child.start("redis", [*argv, str(directory)], log=directory / "log")
    try:
        child.wait_until(lambda: is_listening("127.0.0.1", port), deadline=SECONDS_10)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        child.stop()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalValkey]:
    server = LocalValkey.start(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
async def old_postgres(database: Database) -> AsyncIterator[str]:
    """The address of the embedded PostgreSQL, which reports there that it is a 14."""
    [(version,)] = database.execute("SHOW server_version")
    parameter = f"server_version\0{version}\0".encode()
    older = b"server_version\x0014" + parameter[len(b"server_version\x0014") :]
    async with open_proxy(("127.0.0.1", database.server.port), replaced=(parameter, older)) as at:
        yield at.host


async def test_redis_7_0_is_refused(old_redis: str) -> None:
    with pytest.raises(SetupError, match=r"Redis 7\.0"):
        await require_broker(old_redis)


async def test_valkey_is_accepted_with_the_rights_of_control(valkey: LocalValkey) -> None:
    await require_broker(valkey.url("control"))


async def test_a_broker_that_does_not_answer_is_not_judged() -> None:
    await require_broker(f"redis://127.0.0.1:{free_port()}/0")


async def test_the_api_ends_at_its_start_on_an_old_broker(
    database: Database, old_redis: str
) -> None:
    message = await end(
        API, api_settings(database.url("wharf_api")) | {"WHARF_BROKER_URL": old_redis}
    )

    assert message.startswith("wharf api: the broker is Redis 7.0")
    assert "Redis 7.2 or newer" in message


async def test_control_ends_at_its_start_on_an_old_broker(
    database: Database, old_redis: str
) -> None:
    message = await end(CONTROL, control_settings(database.url("wharf_control"), old_redis))

    assert "wharf control: the broker is Redis 7.0" in message
    assert "Redis 7.2 or newer" in message


async def test_a_worker_ends_at_its_start_on_an_old_broker(
    world: World, old_redis: str, tmp_path: Path
) -> None:
    enrolled = await world.add_server(None)
    state = StateDirectory.open(tmp_path)
    state.save_enrolment(enrolled.enrolment)
    (tmp_path / "server.key").write_text(enrolled.key.text())
    (tmp_path / "database.password").write_text(enrolled.password.get_secret_value())
    state.close()

    message = await end(
        WORKER,
        {
            "WHARF_STATE_DIR": str(tmp_path),
            "WHARF_BROKER_URL": old_redis,
            "DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock",
        },
    )

    assert "wharf worker: the broker is Redis 7.0" in message
    assert "Redis 7.2 or newer" in message


async def test_the_api_ends_at_its_start_on_an_old_postgres(
    database: Database, old_postgres: str
) -> None:
    message = await end(API, api_settings(url(database, "wharf_api", old_postgres)))

    assert message.startswith("wharf api: PostgreSQL 14.")
    assert "Use PostgreSQL 15 or newer." in message


async def test_control_ends_at_its_start_on_an_old_postgres(
    database: Database, old_postgres: str, valkey: LocalValkey
) -> None:
    settings = control_settings(url(database, "wharf_control", old_postgres), valkey.url("control"))
    message = await end(CONTROL, settings)

    assert message.startswith("wharf control: PostgreSQL 14.")
    assert "Use PostgreSQL 15 or newer." in message


async def test_a_migration_ends_before_it_changes_an_old_postgres(
    database: Database, old_postgres: str
) -> None:
    database.execute("DROP VIEW queued_job CASCADE")

    message = await end(MIGRATE, {"WHARF_DATABASE_URL": url(database, OWNER, old_postgres)})

    assert message.startswith("wharf migrate: PostgreSQL 14.")
    assert "Use PostgreSQL 15 or newer." in message
    assert database.execute("SELECT to_regclass('queued_job')") == [(None,)]


async def end(program: tuple[str, ...], settings: dict[str, str]) -> str:
    """Start a program; return what it says when it ends by itself, with an error."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("WHARF_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program), env={**clean, **settings}, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, message = await asyncio.wait_for(process.communicate(), 30)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 1
    return message.decode()


def api_settings(database_url: str) -> dict[str, str]:
    return {
        "WHARF_DATABASE_URL": database_url,
        "WHARF_VAULT_PUBLIC_KEY": str(PrivateKey.generate().public),
        "WHARF_ADMIN_KEY": "an admin key of the test 0123456789",
    }


def control_settings(database_url: str, broker_url: str) -> dict[str, str]:
    return {
        "WHARF_DATABASE_URL": database_url,
        "WHARF_BROKER_URL": broker_url,
        "WHARF_VAULT_PRIVATE_KEY": PrivateKey.generate().text(),
    }


def url(database: Database, role: str, address: str) -> str:
    """Return the URL of the database for a role at another address."""
    password = quote(database.server.passwords[role], safe="")
    return f"postgresql://{role}:{password}@{address}/{database.name}"
