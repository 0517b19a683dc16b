import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared.errors import SetupError
from worker.broker_users import RULES
from worker.local.valkey import LocalValkey


@pytest.fixture
def clients(valkey: LocalValkey) -> Iterator[dict[str, "redis.Redis"]]:
    clients = {
        user: redis.Redis.from_url(valkey.url(user), decode_responses=True) for user in RULES
    }
    yield clients
    for client in clients.values():
        client.close()


def test_every_user_has_a_password_of_its_own(clients: dict[str, "redis.Redis"]) -> None:
    assert all(client.ping() for client in clients.values())
    assert set(clients) == {"admin", "control", "flower", "api"}


@pytest.mark.parametrize("login", ["", "control:wrong@", "default:@"])
def test_nobody_gets_in_without_one(valkey: LocalValkey, login: str) -> None:
    with (
        redis.Redis.from_url(f"redis://{login}127.0.0.1:{valkey.port}/0") as client,
        pytest.raises((redis.AuthenticationError, redis.exceptions.ResponseError)),
    ):
        client.ping()


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("control", "BRPOP server.t1 1"),
        ("control", "LRANGE server.t1 0 -1"),
        ("control", "LPUSH elsewhere message"),
        ("control", "HGETALL unacked.t1"),
        ("control", "ACL LIST"),
        ("flower", "LPUSH server.t1 message"),
        ("flower", "DEL server.t1"),
        ("flower", "BRPOP server.t1 1"),
        ("flower", "HSET unacked.t1 a b"),
        ("flower", "PUBLISH /0.celeryev/task.multi event"),
        ("api", "LPUSH server.t1 message"),
        ("api", "SET elsewhere 1"),
        ("api", "CONFIG GET dir"),
        *[(user, word) for user in RULES if user != "admin" for word in ("KEYS *", "CONFIG GET *")],
        ("api", "INFO"),
        ("flower", "INFO"),
    ],
)
def test_a_user_may_not_do_what_is_not_its_business(
    clients: dict[str, "redis.Redis"], user: str, command: str
) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        clients[user].execute_command(*command.split())  # type: ignore[no-untyped-call]


def test_the_api_counts_for_its_limits(clients: dict[str, "redis.Redis"]) -> None:
    with clients["api"].pipeline() as pipeline:
        pipeline.incr("limit:key")
        pipeline.expire("limit:key", 60)

        assert pipeline.execute() == [1, True]


def test_only_hashes_of_passwords_lie_beside_the_server(valkey: LocalValkey) -> None:
    files = [valkey.directory.path / name for name in ("users.acl", "valkey.conf", "valkey.log")]
    texts = [repr(valkey), *[file.read_text() for file in files]]

    assert not [word for word in valkey.passwords.values() if any(word in t for t in texts)]


def test_its_files_are_for_us_alone(valkey: LocalValkey) -> None:
    modes = {
        name: stat.S_IMODE((valkey.directory.path / name).stat().st_mode)
        for name in ("data", "passwords.json", "users.acl", "valkey.conf")
    }

    assert modes == {
        "data": 0o700,
        "passwords.json": 0o600,
        "users.acl": 0o600,
        "valkey.conf": 0o600,
    }


def test_a_killed_server_comes_back_on_its_port_with_its_messages(tmp_path: Path) -> None:
    directory = tmp_path / 'a "quoted" path'
    server = LocalValkey.start(directory)
    with redis.Redis.from_url(server.url("control")) as client:
        client.lpush("server.t1", "message")
    server.kill()

    again = LocalValkey.start(directory, port=server.port)

    try:
        assert again.url("flower") == server.url("flower")
        with redis.Redis.from_url(again.url("control")) as client:
            assert client.llen("server.t1") == 1
    finally:
        again.stop()


def test_memory_is_never_made_by_dropping_messages(clients: dict[str, "redis.Redis"]) -> None:
    settings = clients["admin"].config_get("appendonly", "maxmemory-policy")

    assert settings == {"appendonly": "yes", "maxmemory-policy": "noeviction"}


def test_a_port_in_use_is_reported(valkey: LocalValkey, directory: Path) -> None:
    with pytest.raises(SetupError, match="valkey ended at its start"):
        LocalValkey.start(directory, port=valkey.port)


def test_an_address_that_the_machine_has_not_is_reported(directory: Path) -> None:
    with pytest.raises(SetupError, match="cannot listen on"):
        LocalValkey.start(directory, listen="192.0.2.1")
