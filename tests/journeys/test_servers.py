"""Servers of the real fleet: each with its own user at the broker, each seen as it is."""

import time
from pathlib import Path

import redis
from pydantic import SecretStr

from api.cli.commands.operation.checks import examine
from api.cli.settings import ClientSettings
from tests.journeys.conftest import Port
from tests.worker.local.conditions import wait_until
from worker.broker_users import ADMIN, server_user


def test_each_worker_is_connected_as_its_own_user_and_was_denied_nothing(port: Port) -> None:
    for server in port.servers:
        port.stack.call(
            "registry.testRegistryById",
            {"registryId": port.registry_id, "serverId": server.server_id},
        )
    assert port.stack.valkey is not None
    users = {server_user(server.server_id) for server in port.servers}

    with redis.Redis.from_url(port.stack.valkey.url(ADMIN), decode_responses=True) as admin:
        connected = {client["user"] for client in admin.client_list()}
        denied = [entry for entry in admin.acl_log() if entry["username"] in users]

    assert users <= connected
    assert denied == []


def test_a_server_of_the_fleet_is_seen_as_it_is_and_passes_its_checks(port: Port) -> None:
    chosen = {"serverId": port.servers[0].server_id}
    wait_until(lambda: port.stack.call("server.one", chosen)["clockAheadSeconds"] is not None)

    shown = port.stack.call("server.one", chosen)
    checked = port.stack.call("server.validate", chosen)

    assert shown["platform"].startswith("linux/")
    assert shown["engine"]["imageStore"] in {"graph", "containerd"}
    assert 0 < shown["engine"]["diskFreeBytes"] <= shown["engine"]["diskTotalBytes"]
    assert abs(shown["clockAheadSeconds"]) < 1
    assert {check["name"] for check in checked["checks"] if check["isGood"]} >= {
        *("enrolled", "online", "worker", "engine", "engineApi", "clock")
    }


def test_the_doctor_sends_a_job_to_each_engine_and_back(port: Port) -> None:
    settings = ClientSettings(url=port.stack.url, api_key=SecretStr(port.stack.admin_key))

    checks = {check.name: check for check in examine(settings)}

    for server in port.servers:
        path = checks[f"path to {server.name}"]
        assert path.is_good, path
        assert path.found.startswith("API, database, control, broker, worker, Engine: ")


def test_a_worker_has_no_token_and_no_password_in_its_environment(port: Port) -> None:
    for server in port.servers:
        environment = Path(f"/proc/{server.worker.pid}/environ").read_bytes()

        assert b"WHARF_SERVER_ID=" in environment
        assert b"wharf_join_" not in environment
        state = port.stack.directory.path / "servers" / server.name
        for name in ("broker.password", "database.password"):
            assert (state / name).read_bytes() not in environment


def test_a_removed_worker_ends_by_itself_with_one_sentence(port: Port) -> None:
    host = port.fleet.hosts[0]
    server = port.stack.add_server("leaver", host.docker_host, wrapper=host.wrapper)
    worker = server.worker

    port.stack.call("server.remove", {"serverId": server.server_id})
    wait_until(lambda: not worker.is_alive, seconds=30)

    log = worker.log.read_text()
    assert log.count("wharf worker: this server was removed.") == 1
    assert log.count("heartbeat_failed") <= 1
    del port.stack.specs["leaver"], port.stack.children["leaver"]


def test_a_killed_server_is_away_within_fifteen_seconds_and_its_jobs_wait(port: Port) -> None:
    server = port.servers[1]
    image = f"{port.registry.host}/team/not-there:1"
    seen_at = port.stack.call("server.one", {"serverId": server.server_id})["seenAt"]
    begun = time.monotonic()
    server.worker.kill()
    wait_until(lambda: not server.is_online, seconds=20)
    away_after = time.monotonic() - begun
    job_id = port.jobs.pull(server.server_id, port.registry_id, image)
    waiting = port.jobs.one(job_id)
    shown = port.stack.call("server.one", {"serverId": server.server_id})

    assert port.stack.revive() == [server.name]
    job = port.jobs.ended(job_id)

    # It was last heard of up to a heartbeat before it was killed.
    assert away_after < 16
    assert (waiting["state"], waiting["waiting"]["code"]) == ("queued", "server_offline")
    assert shown["offlineSince"] >= seen_at
    assert job["error"]["code"] == "image_not_found"
    wait_until(lambda: server.is_online)
