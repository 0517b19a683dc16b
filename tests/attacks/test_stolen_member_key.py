"""Attacks of somebody who has a member's key, and a server of the organization."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from psycopg.types.json import Jsonb

from api.main import create_app
from api.routers import PROCEDURES
from shared.settings import ApiSettings
from shared.vault import PrivateKey
from tests.api.asking import ADMIN_KEY, GHCR, create_application, open_client
from tests.api.fleet import TestServer, open_server
from tests.databases import Database

IMAGE = "ghcr.io/myorg/app:1"
DIGEST = f"sha256:{'0' * 64}"
COMPOSE = f"services:\n  web:\n    image: {IMAGE}\n"


class Scene:
    """An organization: its administrator, a member, the member's server and another one."""

    def __init__(
        self,
        admin: httpx2.AsyncClient,
        member: httpx2.AsyncClient,
        mine: TestServer,
        other: TestServer,
        database: Database,
    ) -> None:
        self.admin, self.member, self.mine, self.other = admin, member, mine, other
        self.database = database

    async def ask(self, procedure: str, **requested: Any) -> tuple[int, str]:
        """How the member is answered: the status, and the code of the error."""
        method = PROCEDURES[procedure].method
        given: Any = {"params": requested} if method == "GET" else {"json": requested}
        answer = await self.member.request(method, f"/api/{procedure}", **given)
        cause = answer.json().get("data", {}).get("cause", {})
        return answer.status_code, str(cause.get("code", ""))

    async def add_registry(self, **more: Any) -> str:
        answer = await self.admin.post("/api/registry.create", json={**GHCR, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["registryId"])

    async def upload(self, application_id: str) -> int:
        answer = await self.member.post(
            "/api/application.uploadContext",
            params={"applicationId": application_id},
            content=b"a tar",
            headers={"content-type": "application/x-tar"},
        )
        return answer.status_code

    def add_point(self, application_id: str) -> str:
        """A rollback point of the application, as control writes one."""
        image = f"ghcr.io/myorg/app@{DIGEST}"
        self.database.execute(
            "INSERT INTO build (build_id, organization_id, application_id, version, title,"
            " reference, make_job_id) SELECT 'build', organization_id, application_id, 1, '', %s,"
            " 'job' FROM application WHERE application_id = %s",
            image,
            application_id,
        )
        self.database.execute(
            "INSERT INTO rollback (rollback_id, organization_id, application_id, deployment_id,"
            " build_id, version, reference, digest, settings, settings_hash)"
            " SELECT 'point', organization_id, application_id, 'deployment', build_id, version,"
            " reference, %s, '{}', '' FROM build WHERE build_id = 'build'",
            DIGEST,
        )
        return "point"

    def count_jobs(self) -> int:
        [(count,)] = self.database.execute("SELECT count(*) FROM job")
        assert isinstance(count, int)
        return count


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    settings = ApiSettings.model_validate(
        {
            "database_url": database.url("wharf_api"),
            "vault_public_key": str(PrivateKey.generate().public),
            "admin_key": ADMIN_KEY,
            "server_database_url": database.network_url(),
            "data_dir": tmp_path / "data",
        }
    )
    app = create_app(settings, patience=timedelta(seconds=1))
    async with app.router.lifespan_context(app), open_client(app, ADMIN_KEY) as admin:
        key = (await admin.post("/api/apiKey.create", json={"name": "stolen"})).json()["key"]
        async with (
            open_client(app, key) as member,
            open_server(admin, database, "mine") as mine,
            open_server(admin, database, "other") as other,
        ):
            yield Scene(admin, member, mine, other, database)


async def test_a_member_calls_no_procedure_of_administrators(scene: Scene) -> None:
    requested = {name for name, one in PROCEDURES.items() if one.role == "admin"}
    assert {"server.create", "apiKey.create", "registry.update", "application.update"} <= requested

    for name in sorted(requested):
        assert await scene.ask(name) == (403, "forbidden"), name


async def test_a_login_is_tested_from_no_server_that_its_registry_does_not_name(
    scene: Scene,
) -> None:
    registry_id = await scene.add_registry(allowedServers=[scene.other.server_id])
    server_id = scene.mine.server_id
    refused = (412, "registry_not_allowed")

    for procedure in ("registry.testRegistryById", "registry.diagnose"):
        assert await scene.ask(procedure, registryId=registry_id, serverId=server_id) == refused
    assert await scene.ask("registry.testOnServers", serverIds=[server_id]) == refused

    assert scene.count_jobs() == 0


async def test_a_test_on_all_servers_goes_to_those_alone_that_a_registry_names(
    scene: Scene,
) -> None:
    await scene.add_registry(allowedServers=[scene.other.server_id])

    await scene.member.post(
        "/api/registry.testOnServers", json={}, headers={"prefer": "respond-async"}
    )

    jobs = scene.database.execute("SELECT server_id FROM job")
    assert jobs == [(scene.other.server_id,)]


async def test_a_login_is_used_from_no_server_that_its_registry_does_not_name(
    scene: Scene,
) -> None:
    registry_id = await scene.add_registry(allowedServers=[scene.other.server_id])
    at_mine = {"registryId": registry_id, "serverId": scene.mine.server_id}
    refused = (412, "registry_not_allowed")

    assert await scene.ask("image.pull", image=IMAGE, **at_mine) == refused
    assert await scene.ask("image.push", image=IMAGE, **at_mine) == refused
    assert await scene.ask("image.copy", image=IMAGE, tag="2", **at_mine) == refused
    requested = {"composeFile": COMPOSE, "serverId": scene.mine.server_id}
    named = requested | {"registryIds": [registry_id]}
    assert await scene.ask("compose.pull", **named) == refused
    assert scene.count_jobs() == 0

    assert (await scene.ask("compose.pull", **requested))[0] == 200
    images = scene.database.execute("SELECT command #>> '{images,0,registry_id}' FROM job")
    assert images == [(None,)]


async def test_a_login_that_is_for_one_application_is_used_for_nothing_else(scene: Scene) -> None:
    ours = await create_application(scene.admin, name="Ours", dockerImage=IMAGE)
    registry_id = await scene.add_registry(allowedApplications=[ours["applicationId"]])
    other = await create_application(
        scene.admin,
        dockerImage=IMAGE,
        registryId=registry_id,
        serverIds=[scene.mine.server_id],
    )
    refused = (412, "registry_not_allowed")

    assert await scene.ask("image.pull", image=IMAGE, registryId=registry_id) == refused
    assert await scene.ask("application.deploy", applicationId=other["applicationId"]) == refused
    assert await scene.ask("application.build", applicationId=other["applicationId"]) == refused

    assert scene.count_jobs() == 0


async def test_a_member_does_not_build_and_deploy_what_names_other_keys(scene: Scene) -> None:
    key = (await scene.admin.post("/api/apiKey.create", json={"name": "pipeline"})).json()
    application = await create_application(
        scene.admin,
        dockerImage=IMAGE,
        serverIds=[scene.mine.server_id],
        allowedKeys=[key["apiKeyId"]],
    )
    chosen = {"applicationId": application["applicationId"]}

    assert await scene.upload(application["applicationId"]) == 403
    for procedure in ("application.build", "application.deploy", "application.redeploy"):
        assert await scene.ask(procedure, **chosen) == (403, "forbidden")
    point = scene.add_point(application["applicationId"])
    for procedure in ("rollback.rollback", "rollback.delete"):
        assert await scene.ask(procedure, rollbackId=point) == (403, "forbidden")

    assert scene.count_jobs() == 0
    assert scene.database.execute("SELECT 1 FROM context") == []
    assert scene.database.execute("SELECT 1 FROM rollback WHERE dropped_at IS NULL")


async def test_a_member_does_not_write_the_images_of_what_names_other_keys(scene: Scene) -> None:
    key = (await scene.admin.post("/api/apiKey.create", json={"name": "pipeline"})).json()
    registry_id = await scene.add_registry()
    pushed = await create_application(
        scene.admin,
        name="Shop",
        appName="shop",
        buildRegistryId=registry_id,
        allowedKeys=[key["apiKeyId"]],
    )
    for name in ("Kept", "Ready"):
        ready = {"dockerImage": "ghcr.io/myorg/ready:1"} if name == "Ready" else {}
        await create_application(
            scene.admin, name=name, appName=name.lower(), allowedKeys=[key["apiKeyId"]], **ready
        )
    refused = (403, "forbidden")
    to = {"registryId": registry_id, "serverId": scene.mine.server_id}

    assert await scene.ask("image.push", image="mine:1", name="shop", tag="v7", **to) == refused
    assert await scene.ask("image.push", image="mine:1", name="ready", tag="1", **to) == refused
    assert await scene.ask("image.copy", image=IMAGE, name="shop:v7", **to) == refused
    for target in ("ghcr.io/myorg/shop:v7", "kept:v1"):
        assert await scene.ask("image.tag", source="mine:1", target=target) == refused
    assert scene.count_jobs() == 0

    mine = {"applicationId": pushed["applicationId"], "allowedKeys": []}
    assert (await scene.admin.post("/api/application.update", json=mine)).is_success
    answer = await scene.member.post(
        "/api/image.push", json={"image": "mine:1", "name": "shop", "tag": "v7", **to}
    )
    assert answer.is_success, answer.text


async def test_a_member_does_not_cancel_what_names_other_keys(scene: Scene) -> None:
    application = await create_application(
        scene.admin, dockerImage=IMAGE, serverIds=[scene.mine.server_id]
    )
    application_id = application["applicationId"]
    deployment = await scene.admin.post(
        "/api/application.deploy", json={"applicationId": application_id}
    )
    job_id, deployment_id = deployment.json()["jobId"], deployment.json()["deploymentId"]
    key = (await scene.admin.post("/api/apiKey.create", json={"name": "pipeline"})).json()
    named = {"applicationId": application_id, "allowedKeys": [key["apiKeyId"]]}
    assert (await scene.admin.post("/api/application.update", json=named)).is_success

    refused = [
        await scene.ask("job.cancel", jobId=job_id),
        await scene.ask("deployment.cancel", deploymentId=deployment_id),
        await scene.ask("application.cancelDeployment", applicationId=application_id),
        await scene.ask("build.cancel", buildId=deployment.json()["buildId"]),
    ]

    assert refused == [(403, "forbidden")] * 4
    states = scene.database.execute("SELECT DISTINCT state FROM job")
    assert states == [("queued",)]


@pytest.mark.parametrize("held", ["env", "buildSecrets", "mounts"])
async def test_a_member_uploads_no_code_that_would_run_with_secrets_or_host_paths(
    scene: Scene, held: str
) -> None:
    application = await create_application(scene.admin, sourceType="drop")
    application_id = application["applicationId"]
    context = await scene.admin.post(
        "/api/application.uploadContext",
        params={"applicationId": application_id},
        content=b"a tar",
        headers={"content-type": "application/x-tar"},
    )
    change, requested = "application.saveEnvironment", dict[str, Any]({held: "TOKEN=hush"})
    if held == "mounts":
        mount = {"type": "bind", "hostPath": "/", "mountPath": "/host"}
        change, requested = "application.update", {"mounts": [mount]}
    saved = await scene.admin.post(
        f"/api/{change}", json={"applicationId": application_id, **requested}
    )
    assert saved.status_code == 200, saved.text

    assert await scene.upload(application_id) == 403
    built = await scene.ask(
        "application.build",
        applicationId=application_id,
        contextId=context.json()["contextId"],
    )
    assert built == (403, "forbidden")

    assert scene.count_jobs() == 0


async def test_a_key_that_an_application_names_may_upload(scene: Scene) -> None:
    [(key_id,)] = scene.database.execute("SELECT api_key_id FROM api_key WHERE name = 'stolen'")
    application = await create_application(
        scene.admin, sourceType="drop", allowedKeys=[str(key_id)]
    )
    saved = {"applicationId": application["applicationId"], "buildSecrets": "TOKEN=hush"}
    await scene.admin.post("/api/application.saveEnvironment", json=saved)

    assert await scene.upload(application["applicationId"]) == 200


async def test_a_member_does_not_deploy_to_a_host_path_that_the_server_does_not_allow(
    scene: Scene,
) -> None:
    engine = {"engine_version": "28", "host_paths": ["/srv/data"]}
    scene.database.execute("UPDATE server SET engine = %s", Jsonb(engine))
    application = await create_application(
        scene.admin,
        dockerImage=IMAGE,
        buildRegistryId=await scene.add_registry(),
        serverIds=[scene.mine.server_id],
        mounts=[{"type": "bind", "hostPath": "/srv/data-of-others", "mountPath": "/data"}],
    )

    deployed = await scene.ask("application.deploy", applicationId=application["applicationId"])

    assert deployed == (412, "host_path_not_allowed")
    assert scene.count_jobs() == 0


async def test_a_member_does_not_see_where_in_a_host_a_webhook_goes(scene: Scene) -> None:
    url = "https://ci.example.com/hooks/what-nobody-may-see?token=nor-this"
    created = await scene.admin.post("/api/webhook.create", json={"url": url})
    webhook_id = created.json()["webhookId"]

    shown = await scene.member.get("/api/webhook.one", params={"webhookId": webhook_id})
    [listed] = (await scene.member.get("/api/webhook.all")).json()

    assert shown.json()["url"] == listed["url"] == "https://ci.example.com/…"
    whole = await scene.admin.get("/api/webhook.one", params={"webhookId": webhook_id})
    assert whole.json()["url"] == url
