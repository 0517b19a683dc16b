"""The audit log and the registry's own access log agree on who used a login for what."""

import os
import re
import subprocess
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from tests.journeys.conftest import PASSWORD, Port, login
from tests.journeys.deployments.test_deployments import HEALTHY, dockerfile
from tests.journeys.test_builds import serve
from tests.worker.engine.contexts import BASE, make_base
from tests.worker.local.conditions import wait_until
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


def transfer_image(port: Port, ids: dict[str, str]) -> list[tuple[dict[str, Any], str]]:
    """Test a registry, push, pull and copy; return each job with the registry that it used."""
    first, second = port.servers
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
    return [(pushed, "source"), (pulled, "source"), (copied, "source"), (copied, "target")]


def deploy(port: Port, application_id: str, directory: Path, content: bytes) -> dict[str, Any]:
    repository = serve(port, directory, content)
    try:
        source = {"applicationId": application_id, "customGitUrl": repository.url}
        port.stack.call("application.saveGitProvider", source)
        return ended(port, port.stack.call("application.deploy", {"applicationId": application_id}))
    finally:
        repository.stop()


def ended(port: Port, asked: dict[str, Any]) -> dict[str, Any]:
    chosen = {"deploymentId": asked["deploymentId"]}
    one = partial(port.stack.call, "deployment.one", chosen)
    wait_until(lambda: one()["finishedAt"] is not None, seconds=120)
    shown: dict[str, Any] = one()
    return shown


def docker(port: Port, host: int, *words: str) -> None:
    engine = {**os.environ, "DOCKER_HOST": port.fleet.hosts[host].docker_host}
    subprocess.run(["docker", *words], env=engine, capture_output=True, check=True)


def run_application(
    port: Port, ids: dict[str, str], directory: Path
) -> list[tuple[dict[str, Any], str]]:
    """Build and deploy two versions, roll back to the first, which its server has no more."""
    first, second = port.servers
    make_base(port.fleet.hosts[0].docker_host)
    docker(port, 0, "tag", BASE, "team/uses-base:1")
    base = port.jobs.ended(port.jobs.push(first.server_id, ids["source"], "team/uses-base:1"))
    docker(port, 0, "image", "rm", "--force", "team/uses-base:1", base["result"]["reference"])
    made = port.stack.call(
        "application.create",
        {
            "name": "uses-app",
            "appName": "uses-app",
            "healthCheck": HEALTHY,
            "buildRegistryId": ids["source"],
            "rollbackRegistryId": ids["target"],
            "rollbackActive": True,
            "buildServerId": first.server_id,
            "serverIds": [second.server_id],
        },
    )
    application_id, chosen = made["applicationId"], {"applicationId": made["applicationId"]}
    versions = [
        dockerfile(text, "well").replace(BASE.encode(), base["result"]["reference"].encode())
        for text in ("one", "two")
    ]
    try:
        old = deploy(port, application_id, directory / "git-1", versions[0])
        wait_until(lambda: bool(port.stack.call("rollback.all", chosen)), seconds=60)
        [point] = port.stack.call("rollback.all", chosen)
        new = deploy(port, application_id, directory / "git-2", versions[1])
        docker(port, 1, "image", "rm", "--force", old["reference"])
        chosen_point = {"rollbackId": point["rollbackId"]}
        again = ended(port, port.stack.call("rollback.rollback", chosen_point))
    finally:
        port.stack.call("application.update", {**chosen, "runtime": "none"})
    assert [one["state"] for one in (old, new, again)] == ["succeeded"] * 3, again
    used = [(base, "source")]
    for build in port.stack.call("build.all", chosen):
        built, pushed, retained = map(port.jobs.one, build["jobIds"])
        used += [(built, "source"), (pushed, "source")]
        used += [(retained, "source"), (retained, "target")]
    for deployment, name in ((old, "source"), (new, "source"), (again, "target")):
        [server] = deployment["servers"]
        used.append((port.jobs.one(server["jobIds"][0]), name))
    return used


def test_uses_in_the_audit_log_equal_what_the_registries_saw(port: Port, tmp_path: Path) -> None:
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
        used = transfer_image(port, ids)
        used += run_application(port, ids, tmp_path)
    finally:
        for registry in registries.values():
            registry.stop()

    assert {job["state"] for job, _ in used} == {"succeeded"}
    entries = all_uses(port)
    uses = [
        one for one in entries if one["action"] == "credential.use" and one["of"] in ids.values()
    ]
    jobs = {one["job"] for one in uses}
    outcomes = {
        one["job"]: one["outcome"]
        for one in entries
        if one["action"] == "credential.outcome" and one["job"] in jobs
    }
    for name, registry_id in ids.items():
        logged = {(users[name], one["repository"]) for one in uses if one["of"] == registry_id}
        seen = seen_by(tmp_path / name)
        # A build may use any base image of the registry's prefix: its use says `team/*`.
        found = {(use, one) for use in logged for one in seen if is_of(use, one)}
        assert ({use for use, _ in found}, {one for _, one in found}) == (logged, seen), name
    by_job = {(one["job"], users_of(ids, one["of"])) for one in uses}
    assert by_job >= {(job["jobId"], name) for job, name in used}
    assert jobs == set(outcomes)
    assert set(outcomes.values()) == {"succeeded"}


def is_of(use: tuple[str, str], seen: tuple[str, str]) -> bool:
    """Return whether a request is one for which a login was used."""
    return use[0] == seen[0] and fnmatchcase(seen[1], use[1])


def users_of(ids: dict[str, str], registry_id: str) -> str:
    """Return the name of the registry."""
    return next(name for name, known in ids.items() if known == registry_id)
