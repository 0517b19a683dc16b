"""Each role refuses a broker that is too old: with the real Redis 7.0 of Debian 12."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

import pytest

from api.operations.broker import require_broker as require_broker_of_api
from shared.errors import SetupError
from shared.vault import PrivateKey
from tests.databases import Database
from worker.broker import require_broker as require_broker_of_worker
from worker.local.processes import Child, free_port, is_listening
from worker.local.valkey import LocalValkey

# Of the package redis-tools: started under the name of the server, it is the server.
PROGRAM = "redis-check-rdb"
SECONDS_10 = timedelta(seconds=10)
Require = Callable[[str], Awaitable[None]]
REQUIRES: tuple[Require, ...] = (require_broker_of_api, require_broker_of_worker)


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


@pytest.mark.parametrize("require", REQUIRES)
async def test_redis_7_0_is_refused(require: Require, old_redis: str) -> None:
    with pytest.raises(SetupError, match=r"Redis 7\.0"):
        await require(old_redis)


@pytest.mark.parametrize("require", REQUIRES)
async def test_valkey_is_accepted_with_the_rights_of_control(
    require: Require, valkey: LocalValkey
) -> None:
    await require(valkey.url("control"))


@pytest.mark.parametrize("require", REQUIRES)
async def test_a_broker_that_does_not_answer_is_not_judged(require: Require) -> None:
    await require(f"redis://127.0.0.1:{free_port()}/0")


async def test_control_ends_at_its_start_with_the_version_that_it_needs(
    database: Database, old_redis: str
) -> None:
    settings = {
        "WHARF_DATABASE_URL": database.url("wharf_control"),
        "WHARF_BROKER_URL": old_redis,
        "WHARF_VAULT_PRIVATE_KEY": PrivateKey.generate().text(),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.control.main"),
        env={**os.environ, **settings},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 1
    assert "Redis 7.0" in said.decode()
    assert "Redis 7.2 or newer" in said.decode()
