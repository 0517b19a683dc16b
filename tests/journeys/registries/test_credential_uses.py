"""The audit log and the registry's own access log agree on who used a login for what."""

import re
from pathlib import Path
from typing import Any

from tests.journeys.conftest import PASSWORD, Port, login
from worker.local.images import make_image
from worker.local.registry import LocalRegistry

ACCESS = re.compile(r'auth\.user\.name="?([\w-]+)"?.*vars\.name="?([\w./-]+)"?')


def seen_by(registry: Path) -> set[tuple[str, str]]:
    """Return users and repositories of the requests that a registry let in."""
    lines = (registry / "registry.log").read_text().splitlines()
    return {(found[1], found[2]) for line in lines if (found := ACCESS.search(line))}


def all_uses(port: Port) -> list[dict[str, Any]]:
    """Return the data of every use and outcome, with its registry."""
    found = list[dict[str, Any]]()
    asked: dict[str, Any] = {"action": "credential", "limit": 500}
    while True:
        page = port.stack.call("auditLog.all", asked)
        for one in page["entries"]:
            found.append({**one["data"], "of": one["objectId"], "action": one["action"]})
        if page["nextCursor"] is None:
            return found
        asked["cursor"] = page["nextCursor"]


def test_uses_in_the_audit_log_equal_what_the_registries_saw(port: Port, tmp_path: Path) -> None:
    first, second = port.servers
    users = {"source": "uses-source", "target": "uses-target"}
    registries = {
        name: LocalRegistry.start(
            tmp_path / name, address=port.fleet.address, users={users[name]: PASSWORD}
        )
        for name in users
    }
    ids = {
        name: port.stack.call(
            "registry.create",
            login(registry, PASSWORD) | {"registryName": users[name], "username": users[name]},
        )["registryId"]
        for name, registry in registries.items()
    }
    try:
        make_image(port.fleet.hosts[0].docker_host, "team/uses:1", layer_bytes=(50_000,))
        port.stack.call("registry.testRegistryById", {"registryId": ids["source"]})
        pushed = port.jobs.ended(port.jobs.push(first.server_id, ids["source"], "team/uses:1"))
        reference = pushed["result"]["reference"]
        pulled = port.jobs.ended(port.jobs.pull(second.server_id, ids["source"], reference))
        body = {
            "image": reference,
            "sourceRegistryId": ids["source"],
            "registryId": ids["target"],
            "tag": "copied",
        }
        copied = port.jobs.ended(port.stack.call("image.copy", body)["jobId"])
    finally:
        for registry in registries.values():
            registry.stop()

    assert {job["state"] for job in (pushed, pulled, copied)} == {"succeeded"}
    entries = [one for one in all_uses(port) if one["of"] in ids.values()]
    uses = [one for one in entries if one["action"] == "credential.use"]
    outcomes = {one["job"]: one["outcome"] for one in entries if one["action"] != "credential.use"}
    for name, registry_id in ids.items():
        logged = {(users[name], one["repository"]) for one in uses if one["of"] == registry_id}
        assert logged == seen_by(tmp_path / name), name
    by_job = {(one["job"], users_of(ids, one["of"])) for one in uses}
    assert by_job >= {
        (pushed["jobId"], "source"),
        (pulled["jobId"], "source"),
        (copied["jobId"], "source"),
        (copied["jobId"], "target"),
    }
    assert {one["job"] for one in uses} == set(outcomes)
    assert set(outcomes.values()) == {"succeeded"}


def users_of(ids: dict[str, str], registry_id: str) -> str:
    """Return the name of the registry."""
    return next(name for name, known in ids.items() if known == registry_id)
