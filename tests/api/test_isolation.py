"""Organizations and roles: what is another's does not exist, what a role may not do is not done."""

from typing import Any

import httpx2

from api.routers import PROCEDURES
from tests.api.asking import GHCR, create_application, create_registry, upload_context
from tests.api.deploying import create_deployable, deploy, make_point
from tests.api.fleet import TestServer
from tests.databases import Database

TABLES = (
    *("registry", "server", "server_token", "application", "application_server", "build"),
    *("context", "context_token", "deployment", "deployment_server", "rollback"),
    *("webhook", "webhook_delivery", "deploy_hook", "signing_key"),
    *("job", "job_secret", "job_event", "audit_event"),
    *("member", "invitation", "password_reset"),
)
NO_LOOK_UP = {
    # Public: a worker that is shut out has nothing that would prove who it is.
    ("server.isRemoved", "serverId"),
    ("registry.create", "serverId"),
    ("registry.update", "serverId"),
    ("registry.update", "organizationId"),
    ("application.create", "environmentId"),
    ("application.update", "environmentId"),
    ("application.update", "organizationId"),
    ("application.update", "serverId"),
    ("application.update", "customGitSSHKeyId"),
    ("application.saveGitProvider", "customGitSSHKeyId"),
    # They narrow a search of the caller's own applications.
    ("application.search", "projectId"),
    # They narrow the caller's own audit log.
    ("auditLog.all", "objectId"),
    ("auditLog.all", "actorId"),
    ("application.search", "environmentId"),
}
IDS = ("Id", "Ids")
OWN = {"applicationId": "own application"}
COMPOSE = "services: {web: {image: nginx}}"
SIGNED = f"ghcr.io/a/b@sha256:{'1' * 64}"
AD_HOC = {"registryUrl": "ghcr.io", "username": "u", "password": "p"}

# The inputs of each procedure that names a thing; ids stand for one of the other organization.
MATRIX: list[tuple[str, dict[str, Any]]] = [
    ("registry.one", {"registryId": "registry"}),
    ("registry.update", {"registryId": "registry", "registryName": "mine now"}),
    ("registry.remove", {"registryId": "registry"}),
    ("registry.rotate", {"registryId": "registry", "password": "mine now"}),
    ("registry.cancelRotation", {"registryId": "registry"}),
    ("registry.rollbackCredential", {"registryId": "registry"}),
    ("registry.testRegistry", {**AD_HOC, "serverId": "server"}),
    ("registry.testRegistryById", {"registryId": "registry"}),
    ("registry.testRegistryById", {"registryId": "own registry", "serverId": "server"}),
    ("registry.diagnose", {"registryId": "registry"}),
    ("registry.diagnose", {**AD_HOC, "serverId": "server"}),
    ("registry.testOnServers", {"registryIds": ["registry"]}),
    ("registry.testOnServers", {"registryIds": ["own registry"], "serverIds": ["server"]}),
    ("registry.matrix", {"registryId": "registry"}),
    ("registry.matrix", {"serverId": "server"}),
    ("server.one", {"serverId": "server"}),
    ("server.update", {"serverId": "server", "name": "mine now"}),
    ("server.validate", {"serverId": "server"}),
    ("server.createJoinToken", {"serverId": "server"}),
    ("server.check", {"serverId": "server"}),
    ("server.remove", {"serverId": "server"}),
    ("server.pause", {"serverId": "server"}),
    ("server.drain", {"serverId": "server"}),
    ("server.resume", {"serverId": "server"}),
    ("application.create", {"name": "x", "registryId": "registry"}),
    ("application.create", {"name": "x", "buildRegistryId": "registry"}),
    ("application.create", {"name": "x", "rollbackRegistryId": "registry"}),
    ("application.create", {"name": "x", "buildServerId": "server"}),
    ("application.create", {"name": "x", "serverId": "server"}),
    ("application.create", {"name": "x", "serverIds": ["server"]}),
    ("application.one", {"applicationId": "application"}),
    ("application.update", {"applicationId": "application", "name": "mine now"}),
    ("application.update", {**OWN, "registryId": "registry"}),
    ("application.update", {**OWN, "buildRegistryId": "registry"}),
    ("application.update", {**OWN, "rollbackRegistryId": "registry"}),
    ("application.update", {**OWN, "buildServerId": "server"}),
    ("application.update", {**OWN, "serverIds": ["server"]}),
    ("application.remove", {"applicationId": "application"}),
    (
        "application.saveGitProvider",
        {"applicationId": "application", "customGitUrl": "https://git.example/a.git"},
    ),
    ("application.generateDeployKey", {"applicationId": "application"}),
    ("application.saveDockerProvider", {"applicationId": "application", "dockerImage": "nginx"}),
    ("application.saveDockerProvider", {**OWN, "dockerImage": "nginx", "registryId": "registry"}),
    ("application.saveBuildType", {"applicationId": "application", "buildType": "dockerfile"}),
    ("application.saveEnvironment", {"applicationId": "application", "env": "A=1"}),
    ("application.build", {"applicationId": "application"}),
    ("application.build", {**OWN, "contextId": "context"}),
    ("build.all", {"applicationId": "application"}),
    ("build.one", {"buildId": "build"}),
    ("build.cancel", {"buildId": "build"}),
    ("application.deploy", {"applicationId": "application"}),
    ("application.deploy", {**OWN, "buildId": "build"}),
    ("application.redeploy", {"applicationId": "application"}),
    ("application.deploy", {**OWN, "contextId": "context"}),
    ("application.cancelDeployment", {"applicationId": "application"}),
    ("application.stop", {"applicationId": "application"}),
    ("application.start", {"applicationId": "application"}),
    ("application.reload", {"applicationId": "application"}),
    ("application.readLogs", {"applicationId": "application"}),
    ("rollback.all", {"applicationId": "application"}),
    ("rollback.verify", {"applicationId": "application"}),
    ("rollback.rollback", {"rollbackId": "rollback"}),
    ("rollback.rollback", {"rollbackId": "rollback", "newestDeploymentId": "deployment"}),
    ("rollback.delete", {"rollbackId": "rollback"}),
    ("deployment.all", {"applicationId": "application"}),
    ("deployment.allByServer", {"serverId": "server"}),
    ("deployment.one", {"deploymentId": "deployment"}),
    ("deployment.cancel", {"deploymentId": "deployment"}),
    ("deployment.readLogs", {"deploymentId": "deployment"}),
    ("image.pull", {"image": "nginx", "serverId": "server"}),
    ("image.pull", {"image": "ghcr.io/a/b", "registryId": "registry"}),
    ("image.push", {"image": "app", "registryId": "registry"}),
    ("image.push", {"image": "app", "registryId": "own registry", "serverId": "server"}),
    ("image.copy", {"image": "quay.io/a/b", "registryId": "registry"}),
    (
        "image.copy",
        {"image": "ghcr.io/a/b", "registryId": "own registry", "sourceRegistryId": "registry"},
    ),
    (
        "image.copy",
        {"image": "quay.io/a/b", "registryId": "own registry", "serverId": "server"},
    ),
    ("image.tag", {"source": "a", "target": "b", "serverId": "server"}),
    ("image.inspect", {"image": "nginx", "serverId": "server"}),
    ("image.inspect", {"image": "ghcr.io/a/b", "registryId": "registry"}),
    ("image.inspect", {"image": "ghcr.io/a/b", "applicationId": "application"}),
    ("image.tags", {"registryId": "registry", "repository": "myorg/a"}),
    ("image.tags", {"registryId": "own registry", "repository": "myorg/a", "serverId": "server"}),
    ("image.repositories", {"registryId": "registry"}),
    ("image.repositories", {"registryId": "own registry", "serverId": "server"}),
    ("compose.pull", {"composeFile": COMPOSE, "serverId": "server"}),
    ("compose.pull", {"composeFile": COMPOSE, "registryIds": ["own registry", "registry"]}),
    ("job.one", {"jobId": "job"}),
    ("job.cancel", {"jobId": "job"}),
    ("job.retry", {"jobId": "job"}),
    ("job.all", {"serverId": "server"}),
    ("job.all", {"registryId": "registry"}),
    ("job.all", {"applicationId": "application"}),
    ("signature.sign", {"image": SIGNED, "registryId": "registry", "signingKeyId": "own signing"}),
    ("signature.sign", {"image": SIGNED, "registryId": "own registry", "signingKeyId": "signing"}),
    (
        "signature.sign",
        {
            "image": SIGNED,
            "registryId": "own registry",
            "signingKeyId": "own signing",
            "serverId": "server",
        },
    ),
    ("signature.verify", {"image": SIGNED, "registryId": "registry"}),
    ("signature.verify", {"image": SIGNED, "applicationId": "application"}),
    ("signature.verify", {"image": SIGNED, "signingKeyId": "signing"}),
    ("signature.verify", {"image": SIGNED, "serverId": "server"}),
    ("signaturePolicy.one", {"applicationId": "application"}),
    ("signaturePolicy.set", {"applicationId": "application"}),
    ("signaturePolicy.set", {"mode": "warn", "signingKeyIds": ["signing"]}),
    ("scanPolicy.one", {"applicationId": "application"}),
    ("scanPolicy.set", {"applicationId": "application"}),
    ("scan.run", {"image": SIGNED, "registryId": "registry"}),
    ("scan.run", {"image": SIGNED, "applicationId": "application"}),
    ("scan.run", {"image": SIGNED, "serverId": "server"}),
    ("sbom.search", {"name": "openssl", "applicationId": "application"}),
    ("signingKey.one", {"signingKeyId": "signing"}),
    ("signingKey.retire", {"signingKeyId": "signing"}),
    ("signingKey.remove", {"signingKeyId": "signing"}),
    ("webhook.one", {"webhookId": "webhook"}),
    ("webhook.update", {"webhookId": "webhook", "enabled": False}),
    ("webhook.remove", {"webhookId": "webhook"}),
    ("webhook.deliveries", {"webhookId": "webhook"}),
    ("webhook.redeliver", {"deliveryId": "delivery"}),
    ("deployHook.create", {"applicationId": "application"}),
    ("deployHook.all", {"applicationId": "application"}),
    ("deployHook.remove", {"hookId": "hook"}),
    ("apiKey.create", {"name": "mine", "applicationIds": ["application"]}),
    ("apiKey.remove", {"apiKeyId": "key"}),
    ("user.deleteApiKey", {"apiKeyId": "key"}),
    ("user.remove", {"userId": "user"}),
    ("user.createPasswordReset", {"userId": "user"}),
    ("organization.updateMemberRole", {"memberId": "member", "role": "viewer"}),
    ("organization.updateMemberNetworks", {"memberId": "member", "networks": []}),
    ("organization.removeInvitation", {"invitationId": "invitation"}),
    ("application.delete", {"applicationId": "application"}),
    ("application.killBuild", {"applicationId": "application"}),
    ("deployment.killProcess", {"deploymentId": "deployment"}),
    ("project.one", {"projectId": "organization"}),
    ("environment.one", {"environmentId": "organization"}),
    ("environment.byProjectId", {"projectId": "organization"}),
]


def snapshot(database: Database) -> list[Any]:
    keys = database.execute("SELECT api_key_id, role, name FROM api_key ORDER BY 1")
    return [keys, *(database.execute(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES)]


async def build_something(client: httpx2.AsyncClient) -> dict[str, Any]:
    chosen = {"applicationId": (await create_application(client))["applicationId"]}
    source = {**chosen, "customGitUrl": "https://git.example/a.git"}
    assert (await client.post("/api/application.saveGitProvider", json=source)).is_success
    built: dict[str, Any] = (await client.post("/api/application.build", json=chosen)).json()
    return built


async def create_signing_key(client: httpx2.AsyncClient) -> str:
    return str(
        (await client.post("/api/signingKey.create", json={"name": "a"})).json()["signingKeyId"]
    )


async def create_hook(client: httpx2.AsyncClient) -> str:
    chosen = {"applicationId": (await create_application(client))["applicationId"]}
    image = {**chosen, "dockerImage": "nginx"}
    await client.post("/api/application.saveDockerProvider", json=image)
    return str((await client.post("/api/deployHook.create", json=chosen)).json()["hookId"])


def test_the_matrix_names_every_procedure_that_takes_an_id() -> None:
    takes = {
        (name, alias)
        for name, procedure in PROCEDURES.items()
        for alias in procedure.input.model_json_schema()["properties"]
        if alias.endswith(IDS)
    }

    assert takes - NO_LOOK_UP == {
        (name, field) for name, body in MATRIX for field in body if field.endswith(IDS)
    }


async def test_an_object_of_another_organization_is_not_found_and_nothing_happens(
    client: httpx2.AsyncClient,
    stranger: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
) -> None:
    [key, *_] = (await client.get("/api/apiKey.all")).json()
    webhook = {"url": "https://hooks.example/a"}
    subscribed = (await client.post("/api/webhook.create", json=webhook)).json()["webhookId"]
    deployable = await create_deployable(client, [server], rollbackActive=True)
    point = await make_point(client, server, deployable)
    sent = await client.get("/api/webhook.deliveries", params={"webhookId": subscribed})
    job = (await client.post("/api/image.pull", json={"image": "nginx"})).json()
    ids = {
        "registry": (await create_registry(client))["registryId"],
        "own registry": (await create_registry(stranger))["registryId"],
        "application": (built := await build_something(client))["applicationId"],
        "build": built["buildId"],
        "deployment": (await deploy(client, deployable["applicationId"]))["deploymentId"],
        "rollback": point["rollbackId"],
        "own application": (await create_application(stranger))["applicationId"],
        "server": server.server_id,
        "context": (await upload_context(client, built["applicationId"]))["contextId"],
        "webhook": subscribed,
        "signing": await create_signing_key(client),
        "own signing": await create_signing_key(stranger),
        "hook": await create_hook(client),
        "delivery": sent.json()[0]["deliveryId"],
        "job": job["jobId"],
        "key": key["apiKeyId"],
        "organization": key["organizationId"],
        "invitation": (await client.post("/api/organization.inviteMember", json={})).json()[
            "invitationId"
        ],
        **add_member(database, key["organizationId"]),
    }
    before = snapshot(database)

    for name, body in MATRIX:
        foreign = {
            field: [ids[name] for name in value]
            if isinstance(value, list)
            else ids.get(value, value)
            for field, value in body.items()
        }
        answer = await stranger.post(f"/api/trpc/{name}", json=foreign)
        if name == "job.all":
            assert answer.json()["jobs"] == []
        else:
            assert answer.status_code == 404, (name, answer.text)
        assert snapshot(database) == before, name


def add_member(database: Database, organization_id: str) -> dict[str, str]:
    """Store a member; return the ids."""
    database.execute(
        "INSERT INTO user_account (user_id, email, name, salt, derivation, proof_hash)"
        " VALUES ('user-1', 'ada@example.com', 'Ada', '', '{}', '')"
    )
    database.execute(
        "INSERT INTO member (member_id, organization_id, user_id, role)"
        " VALUES ('member-1', %s, 'user-1', 'admin')",
        organization_id,
    )
    return {"user": "user-1", "member": "member-1"}


async def test_lists_show_only_the_callers_own(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, server: TestServer
) -> None:
    await create_registry(client)
    await create_application(client)
    await client.post("/api/image.pull", json={"image": "nginx"})
    await client.post("/api/webhook.create", json={"url": "https://hooks.example/a"})

    assert (await stranger.get("/api/webhook.all")).json() == []
    assert (await stranger.get("/api/registry.all")).json() == []
    assert (await stranger.get("/api/application.all")).json() == []
    assert (await stranger.get("/api/server.all")).json() == []
    assert (await stranger.get("/api/job.all")).json()["jobs"] == []
    assert [key["name"] for key in (await stranger.get("/api/apiKey.all")).json()] == ["second"]


async def test_anothers_server_is_never_the_one_chosen(
    stranger: httpx2.AsyncClient, server: TestServer
) -> None:
    answer = await stranger.post("/api/registry.testRegistry", json=AD_HOC)

    assert answer.json()["data"]["cause"]["code"] == "no_server"


async def test_a_member_may_use_and_not_change(
    client: httpx2.AsyncClient, member: httpx2.AsyncClient, database: Database
) -> None:
    registry = await create_registry(client)
    chosen = {"registryId": registry["registryId"]}
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()
    application = await create_application(client)
    of_application = {"applicationId": application["applicationId"]}
    before = snapshot(database)
    changes: dict[str, dict[str, Any]] = {
        "registry.create": GHCR,
        "registry.update": {**chosen, "registryName": "x"},
        "registry.remove": chosen,
        "registry.rotate": {**chosen, "password": "mine now"},
        "registry.cancelRotation": chosen,
        "registry.rollbackCredential": chosen,
        "server.create": {"name": "beta"},
        "server.update": {"serverId": created["serverId"], "name": "mine now"},
        "server.remove": {"serverId": created["serverId"]},
        "server.createJoinToken": {"serverId": created["serverId"]},
        "server.pause": {"serverId": created["serverId"]},
        "server.drain": {"serverId": created["serverId"]},
        "server.resume": {"serverId": created["serverId"]},
        "application.create": {"name": "x"},
        "application.update": {**of_application, "name": "x"},
        "application.remove": of_application,
        "application.saveGitProvider": {**of_application, "customGitUrl": "https://git.example/a"},
        "application.generateDeployKey": of_application,
        "application.saveDockerProvider": {**of_application, "dockerImage": "nginx"},
        "application.saveBuildType": {**of_application, "buildType": "dockerfile"},
        "application.saveEnvironment": {**of_application, "env": "A=1"},
        "organization.updateSettings": {"rotateAfterDays": 1},
        "signaturePolicy.set": {"mode": "warn"},
        "scanPolicy.set": {"mode": "warn"},
        "signingKey.create": {"name": "x"},
        "signingKey.retire": {"signingKeyId": "x"},
        "signingKey.remove": {"signingKeyId": "x"},
        "webhook.create": {"url": "https://hooks.example/a"},
        "webhook.update": {"webhookId": "x", "enabled": False},
        "webhook.remove": {"webhookId": "x"},
        "deployHook.create": of_application,
        "deployHook.remove": {"hookId": "x"},
        "apiKey.create": {"name": "x", "role": "admin"},
        "apiKey.remove": {"apiKeyId": "x"},
        "user.createApiKey": {"name": "x", "metadata": {"organizationId": "x"}},
        "user.deleteApiKey": {"apiKeyId": "x"},
        "user.remove": {"userId": "x"},
        "user.createPasswordReset": {"userId": "x"},
        "organization.inviteMember": {},
        "organization.allInvitations": {},
        "organization.removeInvitation": {"invitationId": "x"},
        "organization.updateMemberRole": {"memberId": "x", "role": "viewer"},
        "organization.updateMemberNetworks": {"memberId": "x", "networks": []},
        "auditLog.all": {},
        "auditLog.export": {},
        "application.delete": of_application,
        "restore.one": {},
        "restore.resume": {},
    }

    refused = {
        name: (await member.request(PROCEDURES[name].method, f"/api/{name}", json=body)).status_code
        for name, body in changes.items()
    }

    assert set(refused.values()) == {403}
    assert snapshot(database) == before
    assert set(refused) == {
        name for name, procedure in PROCEDURES.items() if procedure.role == "admin"
    }
    assert (await member.get("/api/registry.one", params=chosen)).json() == registry
    assert (await member.get("/api/application.all")).json() == [application]
    pulled = await member.post(
        "/api/image.pull", json={"image": "nginx", "serverId": created["serverId"]}
    )
    cancelled = await member.post("/api/job.cancel", json={"jobId": pulled.json()["jobId"]})
    assert cancelled.json() == {"state": "cancelled"}


async def test_a_member_without_the_right_is_refused_in_trpcs_words(
    member: httpx2.AsyncClient,
) -> None:
    answer = await member.post("/api/trpc/registry.create", json={"json": {}})

    shape = answer.json()["error"]["json"]
    assert (answer.status_code, shape["code"], shape["data"]["code"]) == (403, -32003, "FORBIDDEN")
