"""What is in a registry: read by a quick job on a server, and what the database knows of it."""

import asyncio
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.accounts.test_key_limits import create
from tests.api.asking import HUB, create_application, create_registry, open_client
from tests.api.deploying import DIGEST, create_deployable, deploy, reconcile, replace_next
from tests.api.fleet import TestServer
from tests.databases import Database

INDEX = "application/vnd.oci.image.index.v1+json"
FOUND: dict[str, Any] = {
    "reference": "ghcr.io/myorg/app:1",
    "digest": DIGEST,
    "mediaType": INDEX,
    "sizeBytes": 100,
    "createdAt": "2026-01-15T10:30:00Z",
    "labels": {"a": "b"},
    "platforms": [{"platform": "linux/amd64", "digest": DIGEST, "sizeBytes": 100}],
    "attachments": [{"kind": "signature", "digest": DIGEST, "tag": "sha256-a.sig"}],
    "warnings": ["the referrers cannot be read (pull_denied)"],
}


async def ask(
    client: httpx2.AsyncClient, server: TestServer, name: str, result: dict[str, Any], **asked: Any
) -> tuple[dict[str, Any], Any]:
    """Ask while the server answers; return the answer and the job's command."""
    asking = asyncio.create_task(client.get(f"/api/image.{name}", params=asked))
    job = await server.succeed_next(result)
    answer = await asking
    assert answer.status_code == 200, answer.text
    return answer.json(), job.command


async def test_an_image_is_inspected_with_the_login_that_fits(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client)

    found, command = await ask(client, server, "inspect", FOUND, image="ghcr.io/myorg/app:1")

    assert command["registry_id"] == registry["registryId"] == found["registryId"]
    assert (found["digest"], found["serverId"], found["running"]) == (DIGEST, server.server_id, [])
    assert found["platforms"] == FOUND["platforms"]
    assert found["attachments"] == [{**FOUND["attachments"][0], "artifactType": ""}]
    assert (found["gaps"], found["createdAt"]) == (FOUND["warnings"], "2026-01-15T10:30:00.000Z")


async def test_an_image_that_no_login_fits_is_inspected_without_one(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    await create_registry(client)

    found, command = await ask(client, server, "inspect", FOUND, image="ghcr.io/others/app:1")

    assert command["registry_id"] is None is found["registryId"]


async def test_what_runs_an_image_is_named(
    client: httpx2.AsyncClient, server: TestServer, app: Starlette
) -> None:
    application = await create_deployable(client, [server])
    await deploy(client, application["applicationId"])
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    await replace_next(server)
    await reconcile(server)

    image = f"ghcr.io/myorg/app@{DIGEST}"
    found, _ = await ask(client, server, "inspect", FOUND, image=image)
    other = {**FOUND, "digest": f"sha256:{'e' * 64}"}
    moved, _ = await ask(client, server, "inspect", other, image="ghcr.io/myorg/app:1")
    own = (await create_application(client, name="own"))["applicationId"]
    key = await create(client, role="viewer", applicationIds=[own])
    async with open_client(app, key["key"]) as limited:
        hidden, _ = await ask(limited, server, "inspect", FOUND, image=image, applicationId=own)

    [place] = found["running"]
    assert place["applicationId"] == application["applicationId"]
    assert (place["serverId"], place["applicationName"]) == (
        server.server_id,
        application["name"],
    )
    assert moved["running"] == hidden["running"] == []


async def test_an_application_s_image_is_read_with_its_own_registry(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    # A registry for this application alone is not for an image that nobody has named.
    registry_id = application["buildRegistryId"]
    limits = {"registryId": registry_id, "allowedApplications": [application["applicationId"]]}
    assert (await client.post("/api/registry.update", json=limits)).json() is True
    image = "ghcr.io/elsewhere/app:1"

    found, command = await ask(
        client, server, "inspect", FOUND, image=image, applicationId=application["applicationId"]
    )
    refused = await client.get(
        "/api/image.inspect", params={"image": "ghcr.io/myorg/app:1", "registryId": registry_id}
    )

    assert command["registry_id"] == registry_id == found["registryId"]
    assert refused.json()["data"]["cause"]["code"] == "registry_not_allowed"


async def test_tags_are_listed_page_by_page(client: httpx2.AsyncClient, server: TestServer) -> None:
    registry = await create_registry(client)
    chosen = {"registryId": registry["registryId"], "repository": "myorg/app"}
    page = {"names": ["1", "2"], "next": "n=2&last=2", "invalid": 1}

    first, _ = await ask(client, server, "tags", page, **chosen, limit=2)
    last, command = await ask(
        client, server, "tags", {"names": ["3"]}, **chosen, limit=2, after=first["next"]
    )

    assert first == {
        "registryId": registry["registryId"],
        "serverId": server.server_id,
        "repository": "myorg/app",
        "tags": ["1", "2"],
        "next": "n=2&last=2",
        "leftOut": 1,
    }
    assert (command["after"], command["limit"]) == ("n=2&last=2", 2)
    assert (last["tags"], last["next"]) == (["3"], None)


@pytest.mark.parametrize(
    ("name", "asked", "word"),
    [
        ("tags", {"repository": "other/app"}, "below the image prefix"),
        ("tags", {"repository": "myorganization/app"}, "below the image prefix"),
        ("tags", {"repository": "myorg/<b>"}, "not a repository name"),
        ("tags", {"repository": "../myorg/app"}, "not a repository name"),
        ("inspect", {"image": "ghcr.io/other/app:1"}, "below the image prefix"),
        ("inspect", {"image": "quay.io/myorg/app:1"}, "the registry is ghcr.io"),
        ("inspect", {"image": "ghcr.io/myorg/app:<script>"}, "not a tag"),
    ],
)
@pytest.mark.usefixtures("server")
async def test_only_what_is_below_the_prefix_is_read_with_a_login(
    client: httpx2.AsyncClient, database: Database, name: str, asked: dict[str, str], word: str
) -> None:
    registry = await create_registry(client)

    answer = await client.get(
        f"/api/image.{name}", params={"registryId": registry["registryId"], **asked}
    )

    assert (answer.status_code, word in answer.text) == (400, True), answer.text
    assert database.execute("SELECT count(*) FROM job") == [(0,)]


async def test_repositories_are_listed_below_the_prefix(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client)

    found, command = await ask(
        client,
        server,
        "repositories",
        {"names": ["myorg/app"], "next": "n=100&last=myorg%2Fapp"},
        registryId=registry["registryId"],
    )

    assert (command["host"], command["prefix"]) == ("ghcr.io", "myorg")
    assert (found["source"], found["repositories"]) == ("registry", ["myorg/app"])
    assert (found["finding"], found["next"]) == (None, "n=100&last=myorg%2Fapp")


async def test_a_registry_without_a_list_answers_what_applications_and_jobs_name(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    hub = await create_registry(client, **HUB)
    pull = {"image": "ghcr.io/myorg/pulled:1", "registryId": application["buildRegistryId"]}
    assert (await client.post("/api/image.pull", json=pull)).status_code == 200
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    refusal = {"names": [], "refusal": "cannot list the repositories of ghcr.io"}

    found, _ = await ask(
        client, server, "repositories", refusal, registryId=application["buildRegistryId"]
    )
    of_hub, _ = await ask(client, server, "repositories", refusal, registryId=hub["registryId"])

    assert (found["source"], found["next"]) == ("known", None)
    assert found["repositories"] == [f"myorg/{application['appName']}", "myorg/pulled"]
    assert "does not list its repositories" in found["finding"]
    assert of_hub["repositories"] == []


async def test_a_viewer_reads_and_a_caller_need_not_wait(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client)
    chosen = {"registryId": registry["registryId"]}
    key = {"name": "dashboard", "role": "viewer"}
    created = (await client.post("/api/apiKey.create", json=key)).json()

    async with open_client(app, created["key"]) as viewer:
        found, _ = await ask(viewer, server, "repositories", {"names": ["myorg/a"]}, **chosen)
        accepted = await viewer.get(
            "/api/image.repositories", params=chosen, headers={"prefer": "respond-async"}
        )

    assert found["repositories"] == ["myorg/a"]
    assert (accepted.status_code, list(accepted.json())) == (202, ["jobId"])


async def test_a_refusal_of_the_registry_is_the_answer_s_error(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    asking = asyncio.create_task(client.get("/api/image.inspect", params={"image": "nginx:gone"}))
    await server.fail_next(
        {"code": "image_not_found", "message": "no such tag", "retryable": False, "remedy": "Look."}
    )

    answer = await asking

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (400, "image_not_found")
