"""A server's user at the broker was taken over: it can store nothing, and others' jobs start."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared.jobs.store.sweep import AttemptMessage
from tests.worker.control.test_isolation import KEYLESS, permitted
from worker.broker_users import ADMIN, hash_password, server_rules, server_user
from worker.control.scheduling.publish import MAX_QUEUE, Publisher
from worker.local.valkey import LocalValkey

MEGABYTE = "x" * 1_000_000
KEYS = ("server.t1", "unacked.t1", "_kombu.binding.server.t1", "unacked_mutex.t1")
WRITES = (
    "SET {0} {1}",
    "APPEND {0} {1}",
    "LPUSH {0} {1}",
    "RPUSH {0} {1}",
    "LPUSHX {0} {1}",
    "SADD {0} {1}",
    "HSET {0} field {1}",
    "ZADD {0} 1 {1}",
    "PFADD {0} {1}",
    "XADD {0} * field {1}",
    "SETRANGE {0} 1000000 x",
    "EVAL {1} 0",
    "SCRIPT LOAD {1}",
    "FUNCTION LOAD {1}",
    "SUBSCRIBE {1}",
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalValkey]:
    server = LocalValkey.start(tmp_path / "valkey")
    yield server
    server.stop()


@pytest.fixture
def admin(broker: LocalValkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(broker.url(ADMIN)) as client:
        yield client


@pytest.fixture
def thief(broker: LocalValkey, admin: redis.Redis) -> Iterator[redis.Redis]:
    rules = ("reset", "on", f"#{hash_password('stolen')}", *server_rules("t1").split())
    admin.execute_command("ACL SETUSER", server_user("t1"), *rules)  # type: ignore[no-untyped-call]
    login = f"://{server_user('t1')}:stolen@"
    with redis.Redis.from_url(broker.network_url().replace("://", login)) as client:
        yield client


@pytest.fixture
def publisher(broker: LocalValkey) -> Iterator[Publisher]:
    made = Publisher(broker.url("control"))
    yield made
    made.close()


def test_nothing_of_a_servers_user_stays_at_the_broker(
    admin: redis.Redis, thief: redis.Redis
) -> None:
    for write in WRITES:
        for key in KEYS:
            words = [word.format(key, MEGABYTE) for word in write.split()]
            with pytest.raises((redis.exceptions.NoPermissionError, redis.ResponseError)):
                thief.execute_command(*words)  # type: ignore[no-untyped-call]

    assert admin.dbsize() == 0
    for _ in range(300):
        thief.publish("/0.celeryev/task.multi", MEGABYTE)
    info = admin.info("memory")
    assert info["used_memory"] < info["maxmemory"] / 4


def test_a_server_s_user_reads_its_queue_and_talks_to_flower_and_may_do_nothing_more(
    admin: redis.Redis, thief: redis.Redis
) -> None:
    rights = admin.acl_getuser(server_user("t1"))

    assert rights is not None
    assert permitted(admin, "t1") == KEYLESS | {"brpop"}
    assert rights["keys"] == ["~server.t1"]
    assert rights["channels"] == ["&/0.celeryev/worker.*", "&/0.celeryev/task.*"]
    assert rights["selectors"] == []


async def test_jobs_of_others_start_while_one_server_reads_nothing(
    admin: redis.Redis, publisher: Publisher
) -> None:
    admin.lpush("server.t1", *["x"] * MAX_QUEUE)

    await publisher.publish([message("t1"), message("t2")])

    assert (admin.llen("server.t1"), admin.llen("server.t2")) == (MAX_QUEUE, 1)


async def test_control_goes_on_where_the_broker_is_full(
    admin: redis.Redis, publisher: Publisher
) -> None:
    admin.config_set("maxmemory", "1mb")
    await publisher.publish([message("t1")])
    assert admin.dbsize() == 0

    admin.config_set("maxmemory", "100mb")
    await publisher.publish([message("t1")])
    assert admin.llen("server.t1") == 1


def message(server_id: str) -> AttemptMessage:
    return AttemptMessage("job", server_id, "image.pull", 1)
