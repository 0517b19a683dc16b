"""Dokploy's command line and its MCP server, unmodified, over every procedure that we offer."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.http.published import read_published
from tests.journeys.conftest import PASSWORD, Port, environment, run
from tests.worker.engine.contexts import BUSYBOX
from worker.local.images import make_image

WAITS = "docker.io/library/waits:1"
SCRIPT = "trap 'exit 0' TERM; /bin/busybox sleep 999 & wait"
LOGIN = {"username": "porter", "password": PASSWORD, "registryUrl": "$host"}
CLOUD = {**LOGIN, "registryType": "cloud", "imagePrefix": "team"}
BY_APPLICATION = {"applicationId": "$application"}
NO_LOGIN = {"username": "", "password": "", "registryUrl": ""}
BY_SSH = {
    "description": "by a client of Dokploy",
    "ipAddress": "192.0.2.1",
    "port": 22,
    "username": "root",
    "sshKeyId": "none",
    "serverType": "deploy",
}
Step = dict[str, Any]


def step(call: str, args: dict[str, Any] | None = None, **more: Any) -> Step:
    return {"call": call, "args": args or {}, **more}


def ends(call: str = "deployment.all") -> Step:
    """Wait for the newest deployment as public deploy actions do."""
    return step(call, BY_APPLICATION, until={"0.status": ["done", "error", "cancelled"]})


WALK: list[Step] = [
    step("settings.health"),
    step("settings.getDokployVersion"),
    step("settings.isCloud"),
    step("user.get", keep={"organization": "organizationId"}),
    step(
        "user.createApiKey",
        {"name": "by client", "metadata": {"organizationId": "$organization"}},
        keep={"key": "id"},
    ),
    step("user.deleteApiKey", {"apiKeyId": "$key"}),
    step(
        "organization.inviteMember",
        {"email": "invited@example.com", "role": "member"},
        keep={"invitation": "invitationId"},
    ),
    step("organization.allInvitations"),
    step("organization.removeInvitation", {"invitationId": "$invitation"}),
    step("user.all"),
    step("organization.updateMemberRole", {"memberId": "$member", "role": "viewer"}),
    step("user.remove", {"userId": "$user"}),
    step("auditLog.all", {"limit": 20}),
    step("registry.create", {"registryName": "by client", **CLOUD}, keep={"extra": "registryId"}),
    step("registry.all"),
    step("registry.one", {"registryId": "$extra"}),
    step("registry.update", {"registryId": "$extra", "registryName": "renamed"}),
    step("registry.testRegistry", {"registryName": "x", **CLOUD}),
    step("registry.testRegistryById", {"registryId": "$extra"}),
    step("server.create", {"name": "by-client", **BY_SSH}, keep={"other": "serverId"}),
    step("server.update", {"serverId": "$other", "name": "renamed", **BY_SSH}),
    step("server.all"),
    step("server.count"),
    step("server.buildServers"),
    step("server.one", {"serverId": "$server"}),
    step("server.validate", {"serverId": "$server"}),
    step("server.remove", {"serverId": "$other"}),
    step("project.all", keep={"project": "0.projectId"}),
    step("project.one", {"projectId": "$project"}),
    step(
        "environment.byProjectId",
        {"projectId": "$project"},
        keep={"environment": "0.environmentId"},
    ),
    step("environment.one", {"environmentId": "$environment"}),
    step(
        "application.create",
        {
            "name": "by client",
            "appName": "$name",
            "environmentId": "$environment",
            "serverId": "$server",
            "sourceType": "docker",
        },
        keep={"application": "applicationId"},
    ),
    step(
        "application.saveDockerProvider",
        {**BY_APPLICATION, "dockerImage": "$image", **NO_LOGIN},
    ),
    step(
        "application.saveEnvironment",
        {
            **BY_APPLICATION,
            "env": "A=1",
            "buildArgs": "",
            "buildSecrets": "",
            "createEnvFile": True,
        },
    ),
    step(
        "application.update",
        {
            **BY_APPLICATION,
            "registryId": "$registry",
            "rollbackRegistryId": "$registry",
            "rollbackActive": True,
            "autoDeploy": True,
        },
    ),
    step("application.one", BY_APPLICATION),
    step("application.search", {"name": "by client", "limit": 5}),
    step("application.deploy", {**BY_APPLICATION, "title": "Release 1"}),
    step("deployment.queueList"),
    ends(),
    step("application.one", BY_APPLICATION, until={"applicationStatus": ["done", "error"]}),
    step("application.redeploy", {**BY_APPLICATION, "title": "Release 2"}),
    ends(),
    step(
        "deployment.allByType",
        {"id": "$application", "type": "application"},
        keep={"deployment": "0.deploymentId"},
    ),
    step("deployment.allByServer", {"serverId": "$server"}),
    step("deployment.allCentralized"),
    step("deployment.readLogs", {"deploymentId": "$deployment", "tail": 20}),
    step("application.readLogs", {**BY_APPLICATION, "tail": 20, "since": "1h"}),
    step("application.stop", BY_APPLICATION),
    step("application.one", BY_APPLICATION, until={"applicationStatus": ["idle"]}),
    step("application.start", BY_APPLICATION),
    step("application.reload", {**BY_APPLICATION, "appName": "$name"}),
    step("application.one", BY_APPLICATION, until={"applicationStatus": ["done"]}),
    step(
        "deployment.all", BY_APPLICATION, until={"0.rollbackId": []}, keep={"point": "0.rollbackId"}
    ),
    step("rollback.rollback", {"rollbackId": "$point"}),
    ends(),
    step("application.deploy", BY_APPLICATION, keep={"newest": "deploymentId"}),
    step("deployment.killProcess", {"deploymentId": "$newest"}),
    step("application.killBuild", BY_APPLICATION),
    step("application.cancelDeployment", BY_APPLICATION),
    ends(),
    step("rollback.delete", {"rollbackId": "$point"}),
    step(
        "application.saveGitProvider",
        {
            **BY_APPLICATION,
            "customGitUrl": "https://git.example/a.git",
            "customGitBranch": "main",
            "customGitBuildPath": "/",
            "watchPaths": [],
        },
    ),
    step(
        "application.saveBuildType",
        {
            **BY_APPLICATION,
            "buildType": "dockerfile",
            "dockerfile": "Dockerfile",
            "dockerContextPath": "",
            "dockerBuildStage": "",
            "herokuVersion": "24",
            "railpackVersion": "0.15.4",
        },
    ),
    step("application.delete", BY_APPLICATION),
    step("registry.remove", {"registryId": "$extra"}),
]


def test_the_walk_calls_every_procedure_that_is_offered() -> None:
    offered = {name for name, row in read_published().items() if row.is_offered}

    assert {each["call"] for each in WALK} == offered


def join_as_member(port: Port, email: str) -> dict[str, Any]:
    """Accept an invitation by the form of the console; return the member."""
    invited = port.stack.call("organization.inviteMember", {"email": email})
    form = {"name": "Ada", "email": email, "password": "correct horse battery"}
    headers = {"origin": port.stack.url}
    joined = httpx2.post(f"{port.stack.url}{invited['path']}", data=form, headers=headers)
    assert joined.status_code == 303, joined.text
    members: list[dict[str, Any]] = port.stack.call("user.all")
    return next(each for each in members if each["user"]["email"] == email)


@pytest.mark.parametrize("driver", ["cli", "mcp"])
def test_a_client_of_dokploy_walks_over_every_procedure(
    port: Port, node_modules: Path, driver: str
) -> None:
    first = port.fleet.hosts[0].docker_host
    make_image(
        first,
        WAITS,
        files={"bin/sh": BUSYBOX, "bin/busybox": BUSYBOX},
        command=["/bin/sh", "-c", SCRIPT],
    )
    server_id = port.servers[0].server_id
    pushed = port.jobs.ended(port.jobs.push(server_id, port.registry_id, WAITS))
    assert pushed["state"] == "succeeded", pushed["error"]
    member = join_as_member(port, f"{driver}@example.com")
    kept = {
        "member": member["id"],
        "user": member["userId"],
        "host": f"http://{port.registry.host}",
        "registry": port.registry_id,
        "server": server_id,
        "name": f"walked-by-{driver}",
        "image": pushed["result"]["reference"].partition("@")[0],
    }
    walk = node_modules / f"walk-{driver}.json"
    walk.write_text(json.dumps({"walk": WALK, "kept": kept}))

    text = run(["node", "dokploy.mjs", driver, walk.name], node_modules, environment(port))
    seen = json.loads(text)

    failed = [f"{each['call']}: {each['error']}" for each in seen if "error" in each]
    polled = [
        each["value"][0] for each in seen if each["call"] == "deployment.all" and "value" in each
    ]
    failed += [str(each["errorMessage"]) for each in polled if each["status"] == "error"]
    assert not failed, "\n".join(failed)
    answers = {each["call"]: each["value"] for each in seen}
    assert {each["field"] for each in answers["application.update"]["warnings"]} == {"autoDeploy"}
    assert [each["status"] for each in polled][:3] == ["done"] * 3
    assert answers["settings.health"] == {"status": "ok"}
