"""A stock Celery and a stock Flower, each as its own user: the access list denies them nothing."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
import redis

from tests.worker.local.broker_app import make_app
from tests.worker.local.conditions import wait_until
from worker.broker_users import hash_password, server_rules, server_user
from worker.local.processes import Child, free_port
from worker.local.valkey import LocalValkey

READY_WITHIN = timedelta(seconds=20)
FLOWER_LOGIN = ("ops", "of the test")
PASSWORD = "of-server-t1"


@dataclass
class Fleet:
    """One control, one worker for ``server.t1`` and one Flower at one broker."""

    valkey: LocalValkey
    logs: Path
    flower_port: int

    def start(self, process: str, url: str, *arguments: str) -> Child:
        return Child.start(
            process,
            [sys.executable, "-m", "celery", "-A", "tests.worker.local.broker_app", *arguments],
            log=self.logs / f"{process}.log",
            env={
                "TEST_BROKER_URL": url,
                "TEST_PROCESS": process,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
        )

    def start_flower(self) -> Child:
        return self.start(
            "flower",
            self.valkey.url("flower"),
            "flower",
            "--address=127.0.0.1",
            f"--port={self.flower_port}",
            f"--basic-auth={':'.join(FLOWER_LOGIN)}",
        )

    def start_stock_flower(self) -> Child:
        """Start Flower without an app, as the product does: with all settings of Celery's own."""
        return Child.start(
            "flower",
            [
                *(sys.executable, "-m", "celery", "flower"),
                *("--address=127.0.0.1", f"--port={self.flower_port}"),
            ],
            log=self.logs / "flower.log",
            env={
                "CELERY_BROKER_URL": self.valkey.url("flower"),
                "FLOWER_BASIC_AUTH": ":".join(FLOWER_LOGIN),
            },
        )

    def start_worker(self) -> Child:
        options = "--pool threads -c 2 -Q server.t1 -n agent@t1 --without-gossip --without-mingle"
        return self.start("t1", server_url(self.valkey), "worker", *options.split(), "-l", "INFO")

    def publish(self, *job_ids: str) -> None:
        app = make_app(self.valkey.url("control"), "control")
        with app, app.connection_for_write() as connection:
            producer = app.amqp.Producer(connection)
            with producer.batch(100):  # type: ignore[attr-defined]
                for job_id in job_ids:
                    app.send_task(
                        "run_job",
                        args=[job_id, 1],
                        task_id=f"{job_id}.1",
                        queue="server.t1",
                        ignore_result=True,
                        retry=False,
                        producer=producer,
                    )

    def states(self) -> dict[str, str]:
        """Return what Flower shows of each task."""
        answer = httpx2.get(
            f"http://127.0.0.1:{self.flower_port}/api/tasks", auth=FLOWER_LOGIN, timeout=10
        )
        return {task: row["state"] for task, row in answer.raise_for_status().json().items()}

    def has_ended(self, *job_ids: str) -> bool:
        states = self.states()
        return all(states.get(f"{job_id}.1") == "SUCCESS" for job_id in job_ids)


def server_url(valkey: LocalValkey) -> str:
    return valkey.network_url().replace("://", f"://{server_user('t1')}:{PASSWORD}@")


def make_server_user(admin: "redis.Redis") -> None:
    rules = ("reset", "on", f"#{hash_password(PASSWORD)}", *server_rules("t1").split())
    admin.execute_command("ACL SETUSER", server_user("t1"), *rules)  # type: ignore[no-untyped-call]


@pytest.fixture
def fleet(valkey: LocalValkey, tmp_path: Path) -> Fleet:
    return Fleet(valkey, tmp_path, free_port())


@pytest.fixture
def admin(valkey: LocalValkey) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(valkey.url("admin"), decode_responses=True) as client:
        yield client


def test_celery_and_flower_work_and_nothing_is_denied(fleet: Fleet, admin: "redis.Redis") -> None:
    make_server_user(admin)
    flower = fleet.start_flower()
    worker = fleet.start_worker()
    try:
        flower.wait_until(lambda: admin.pubsub_numpat() > 0, deadline=READY_WITHIN)
        # A task is published, run and shown.
        fleet.publish("a", "b", "c")
        wait_until(lambda: fleet.has_ended("a", "b", "c"))
        # A worker that is killed with messages in hand finds them again, or they wait for another.
        fleet.publish("endless", "endless-too")
        wait_until(lambda: "endless.1" in fleet.states())
        worker.process.send_signal(signal.SIGKILL)
        worker.kill()
        worker = fleet.start_worker()
        fleet.publish("d")
        wait_until(lambda: fleet.has_ended("d"))
        # Flower's page of queues asks for lengths.
        page = httpx2.get(f"http://127.0.0.1:{fleet.flower_port}/broker", auth=FLOWER_LOGIN)
        assert page.status_code == 200
    finally:
        worker.stop()
        flower.stop()

    assert admin.acl_log() == []


def test_a_stock_flower_shows_how_long_queues_are(fleet: Fleet, admin: "redis.Redis") -> None:
    flower = fleet.start_stock_flower()
    try:
        flower.wait_until(lambda: admin.pubsub_numpat() > 0, deadline=READY_WITHIN)
        url = f"http://127.0.0.1:{fleet.flower_port}/api/queues/length"
        answer = httpx2.get(url, auth=FLOWER_LOGIN, timeout=20)
    finally:
        flower.stop()

    assert answer.status_code == 200
    assert answer.json() == {"active_queues": [{"name": "celery", "messages": 0}]}
    assert admin.acl_log() == []
