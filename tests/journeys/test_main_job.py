"""The main job, end to end: test, push, pull, cancel, and what dies in between."""

import time

import psycopg

from tests.journeys.conftest import PASSWORD, Port, login
from worker.local.images import make_image

LARGE = (60_000_000, 60_000_000)
SLOW = "80mbit"
"""The rate at which a push of these layers takes twelve seconds."""


def test_a_pushed_image_is_pulled_by_its_digest_on_another_server(port: Port) -> None:
    make_image(port.fleet.hosts[0].docker_host, "team/app:1", layer_bytes=(2_000_000, 50_000))
    first, second = port.servers

    pushed = port.jobs.ended(port.jobs.push(first.server_id, port.registry_id, "team/app:1"))
    image = pushed["result"]["reference"]
    pulled = port.jobs.ended(port.jobs.pull(second.server_id, port.registry_id, image))

    assert (pushed["state"], pulled["state"]) == ("succeeded", "succeeded")
    assert pulled["result"]["digest"] == pushed["result"]["digest"]
    assert pushed["result"]["reference"].startswith(f"{port.registry.host}/team/app:1@sha256:")
    assert pushed["result"]["verifiedBy"] == "server"


def test_each_server_proves_a_right_password_and_names_a_wrong_one(port: Port) -> None:
    for server in port.servers:
        good = port.stack.call(
            "registry.diagnose",
            login(port.registry, PASSWORD) | {"serverId": server.server_id},
        )
        bad = port.stack.call(
            "registry.diagnose",
            login(port.registry, "wrong") | {"serverId": server.server_id},
        )

        outcomes = {stage["stage"]: stage["outcome"] for stage in good["stages"]}
        assert "failed" not in outcomes.values()
        assert outcomes["auth"] == outcomes["push"] == outcomes["engine"] == "ok"
        failed = next(stage for stage in bad["stages"] if stage["outcome"] == "failed")
        assert (failed["stage"], failed["code"]) == ("auth", "auth_bad_credentials")


def test_a_cancelled_push_ends_within_five_seconds_and_leaves_no_tag(port: Port) -> None:
    make_image(port.fleet.hosts[0].docker_host, "team/cancelled:1", layer_bytes=LARGE, seed=7)
    with port.slow_link(0, SLOW):
        job_id = port.jobs.push(port.servers[0].server_id, port.registry_id, "team/cancelled:1")
        port.jobs.moving(job_id)

        begun = time.monotonic()
        port.stack.call("job.cancel", {"jobId": job_id})
        job = port.jobs.ended(job_id)

    assert job["state"] == "cancelled"
    assert time.monotonic() - begun < 5
    wanted = f"{port.registry.host}/team/cancelled:1"
    pull = port.jobs.pull(port.servers[1].server_id, port.registry_id, wanted)
    assert port.jobs.ended(pull)["error"]["code"] == "image_not_found"


def test_a_push_whose_worker_is_killed_is_finished_by_the_next_one(port: Port) -> None:
    make_image(port.fleet.hosts[0].docker_host, "team/killed:1", layer_bytes=LARGE, seed=8)
    server = port.servers[0]
    with port.slow_link(0, SLOW):
        job_id = port.jobs.push(server.server_id, port.registry_id, "team/killed:1")
        port.jobs.moving(job_id)
        server.worker.kill()
    begun = time.monotonic()
    assert port.stack.revive() == [server.name]
    job = port.jobs.ended(job_id)

    assert job["state"] == "succeeded"
    assert time.monotonic() - begun < 30
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["lost", "succeeded"]
    ends = [event for event in job["events"] if event["state"] in {"succeeded", "failed"}]
    assert len(ends) == 1


def test_a_drained_worker_hands_its_push_back_and_it_counts_as_no_failure(port: Port) -> None:
    make_image(port.fleet.hosts[0].docker_host, "team/drained:1", layer_bytes=LARGE, seed=9)
    server = port.servers[0]
    with port.slow_link(0, SLOW):
        job_id = port.jobs.push(server.server_id, port.registry_id, "team/drained:1")
        port.jobs.moving(job_id)
        server.worker.stop()
    port.stack.revive()
    job = port.jobs.ended(job_id)

    assert job["state"] == "succeeded"
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["returned", "succeeded"]


def test_a_server_that_is_cut_off_finishes_its_jobs_when_it_is_back(port: Port) -> None:
    namespace = port.fleet.hosts[1].namespace
    assert namespace is not None
    server = port.servers[1]
    namespace.cut()
    try:
        job_id = port.jobs.pull(
            server.server_id, port.registry_id, f"{port.registry.host}/team/none:1"
        )
        waiting = port.jobs.until(job_id, lambda job: job["state"] == "dispatched", 5)
    finally:
        namespace.mend()
    job = port.jobs.ended(job_id)

    assert waiting["state"] in {"queued", "dispatched"}
    assert job["error"]["code"] == "image_not_found"


def test_nothing_secret_is_left_in_the_database_or_on_a_command_line(port: Port) -> None:
    assert port.stack.postgres is not None
    with psycopg.connect(port.stack.postgres.url("wharf_owner")) as connection:
        left = connection.execute("SELECT count(*) FROM job_secret").fetchone()
        rows = connection.execute("SELECT registry::text FROM registry").fetchall()
        jobs = connection.execute("SELECT job::text FROM job").fetchall()

    assert left == (0,)
    assert not [row for row in (*rows, *jobs) if PASSWORD in row[0]]
