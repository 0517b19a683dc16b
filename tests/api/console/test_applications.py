"""The pages of applications: created step by step, changed, deployed, controlled, removed."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from tests.api.asking import create_application, create_registry, show_application
from tests.api.console.browsing import ORIGIN, Browser
from tests.api.console.hostile import HOSTILE, require_text
from tests.api.deploying import create_deployable, deploy, make_point
from tests.api.fleet import TestServer

IMAGE = {"name": "Shop", "sourceType": "docker", "dockerImage": "ghcr.io/acme/shop:1.4"}
GIT = {"name": "Shop", "sourceType": "git", "customGitUrl": "https://git.example/a.git"}
STEPS = ("source", "build", "run", "health")
TABS = ("", "/deployments", "/builds", "/logs", "/hooks", "/settings", "/remove")


async def walk(browser: Browser, *pages: dict[str, str]) -> httpx2.Response:
    """Send the four pages; each sends what the page before carried in hidden fields."""
    await browser.get("/applications/new")
    carried: dict[str, str] = {}
    for step, typed in zip(STEPS, pages, strict=True):
        answer = await browser.post("/applications/new", step=step, go="next", **carried, **typed)
        carried = {**carried, **typed}
        if answer.status_code == 303:
            break
        for name, text in typed.items():
            assert f'name="{name}" value="{text}"' in answer.text or name in SECRET, name
    return answer


SECRET = {"customGitToken"}


async def created(client: httpx2.AsyncClient) -> dict[str, Any]:
    [application] = (await client.get("/api/application.all")).json()
    found: dict[str, Any] = application
    return found


async def test_an_application_of_an_image_is_created_step_by_step(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    assert "There is no application yet" in (await owner.get("/applications")).text
    registry = (await create_registry(client))["registryId"]

    answer = await walk(
        owner,
        IMAGE,
        {"registryId": registry},
        {f"server-{server.server_id}": "true", "ports": "8080:80", "runtime": "container"},
        {"healthCommand": "curl -f localhost", "healthRetries": "5", "env": "A=1"},
    )

    assert answer.status_code == 303
    application = await created(client)
    assert answer.headers["location"] == f"/console/applications/{application['applicationId']}"
    assert application["sourceType"] == "docker"
    assert application["serverIds"] == [server.server_id]
    assert application["ports"][0]["publishedPort"] == 8080
    assert application["healthCheck"]["command"] == ["/bin/sh", "-c", "curl -f localhost"]
    assert application["healthCheck"]["retries"] == 5
    assert application["envNames"] == ["A"]


async def test_an_application_of_a_repository_is_created_with_its_build_and_token(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = (await create_registry(client))["registryId"]

    answer = await walk(
        owner,
        {**GIT, "customGitBranch": "main"},
        {
            "buildRegistryId": registry,
            "rollbackRegistryId": registry,
            "dockerfile": "web/Dockerfile",
        },
        {f"server-{server.server_id}": "true", "mounts": "data:/data"},
        {"customGitToken": "ghp_secret", "buildArgs": "V=2"},
    )

    assert answer.status_code == 303
    application = await created(client)
    assert application["dockerfile"] == "web/Dockerfile"
    assert application["rollbackActive"] is True
    assert application["mounts"][0]["volumeName"] == "data"
    assert application["hasCustomGitToken"] is True
    assert application["buildArgs"] == "V=2"


async def test_what_has_no_effect_yet_is_said_after_creating(owner: Browser) -> None:
    source = {**GIT, "customGitUrl": "git@git.example:team/a.git"}

    answer = await walk(owner, source, {}, {"runtime": "container"}, {})

    page = (await owner.get(answer.headers["location"].removeprefix("/console"))).text
    assert "Shop was created." in page and "builds need a deploy key" in page
    assert "Make and enter them in the settings" in page


async def test_a_plain_application_is_created_without_a_warning(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    place = {f"server-{server.server_id}": "true", "runtime": "container", "replicas": "1"}
    numbers = {"rolloutBatch": "0", "stopGraceSeconds": "10"}
    health = {"healthInterval": "30", "healthRetries": "3"}

    answer = await walk(owner, IMAGE, {"rollbacksToKeep": "10"}, {**place, **numbers}, health)

    page = (await owner.get(answer.headers["location"].removeprefix("/console"))).text
    assert 'role="status">Shop was created.</p>' in page


async def test_a_refused_step_keeps_what_was_typed_and_creates_nothing(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    await owner.get("/applications/new")
    before = {"step": "run", "go": "next", **IMAGE}

    answer = await owner.post("/applications/new", **before, ports="eighty")
    last = {**before, "step": "health", "env": "not a variable"}
    late = await owner.post("/applications/new", **last)
    token = {**before, **GIT, "step": "health", "env": "=", "customGitToken": "ghp_secret"}
    secret = await owner.post("/applications/new", **token)

    assert answer.status_code == 400
    assert ">eighty</textarea>" in answer.text and "eighty is not a port" in answer.text
    assert 'name="dockerImage" value="ghcr.io/acme/shop:1.4"' in answer.text
    assert late.status_code == 400 and ">not a variable</textarea>" in late.text
    assert secret.status_code == 400 and "ghp_secret" not in secret.text
    assert (await client.get("/api/application.all")).json() == []


async def test_a_step_back_keeps_everything(owner: Browser) -> None:
    await owner.get("/applications/new")

    answer = await owner.post("/applications/new", step="run", go="back", ports="1:2", **IMAGE)
    first = await owner.post("/applications/new", step="build", go="back", ports="1:2", **IMAGE)

    assert 'name="step" value="build"' in answer.text
    assert 'name="ports" value="1:2"' in answer.text
    assert 'value="docker" required checked' in first.text


@pytest.mark.parametrize(
    ("part", "typed", "changed"),
    [
        ("source", {"name": "New", "customGitUrl": "https://git.example/b.git"}, {"name": "New"}),
        ("build", {"dockerfile": "Other", "latestWins": "true"}, {"dockerfile": "Other"}),
        ("run", {"runtime": "service", "replicas": "3"}, {"replicas": 3, "serverIds": []}),
        ("health", {"healthCommand": "true", "healthShell": "no"}, {}),
        ("variables", {"env": "B=2"}, {"envNames": ["B"]}),
    ],
)
async def test_each_part_of_the_settings_is_changed_by_its_form(
    owner: Browser,
    client: httpx2.AsyncClient,
    part: str,
    typed: dict[str, str],
    changed: dict[str, Any],
) -> None:
    application_id = (await create_application(client, customGitUrl="https://git.example/a.git"))[
        "applicationId"
    ]
    await owner.get(f"/applications/{application_id}/settings")

    answer = await owner.post(f"/applications/{application_id}/settings", part=part, **typed)

    assert answer.status_code == 303, answer.text
    shown = await show_application(client, application_id)
    assert {name: shown[name] for name in changed} == changed
    if part == "health":
        assert shown["healthCheck"]["command"] == ["true"]


async def test_refused_settings_keep_what_was_typed(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    application_id = (await create_application(client, dockerImage="nginx"))["applicationId"]
    await owner.get(f"/applications/{application_id}/settings")

    answer = await owner.post(
        f"/applications/{application_id}/settings", part="run", ports="1:99999", mounts="a:/b"
    )

    assert answer.status_code == 400
    assert ">1:99999</textarea>" in answer.text and ">a:/b</textarea>" in answer.text


async def test_it_is_built_and_deployed_by_its_buttons(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    await owner.get(f"/applications/{application_id}")

    build = await owner.post(f"/applications/{application_id}/deploy", what="build", title="a")
    again = await owner.post(f"/applications/{application_id}/deploy", what="redeploy")
    whole = await owner.post(f"/applications/{application_id}/deploy", what="deploy", branch="dev")

    chosen = {"applicationId": application_id}
    builds = (await client.get("/api/build.all", params=chosen)).json()
    deployments = (await client.get("/api/deployment.all", params=chosen)).json()
    assert build.headers["location"] in {f"/console/builds/{each['buildId']}" for each in builds}
    assert {each.headers["location"] for each in (again, whole)} == {
        f"/console/deployments/{each['deploymentId']}" for each in deployments
    }
    assert (await owner.get(build.headers["location"].removeprefix("/console"))).status_code == 200


async def test_a_build_is_cancelled_by_its_form(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    await owner.get(f"/applications/{application_id}")
    build = await owner.post(f"/applications/{application_id}/deploy", what="build")
    path = build.headers["location"].removeprefix("/console")
    assert "Cancel the build" in (await owner.get(path)).text

    answer = await owner.post(f"{path}/cancel")

    assert answer.status_code == 303
    job = (await client.get("/api/job.all", params={"kind": "image.build"})).json()["jobs"][0]
    assert job["state"] == "cancelled"


async def test_what_runs_is_stopped_and_started_by_its_buttons(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], rollbackActive=True)
    application_id = application["applicationId"]
    refused = await owner.post(f"/applications/{application_id}/control/stop")
    assert refused.status_code == 412 and "not_deployed" in refused.text
    await make_point(client, server, application)
    page = (await owner.get(f"/applications/{application_id}")).text
    assert "version 1" in page and ">Restart</button>" in page

    for action in ("stop", "start", "reload"):
        answer = await owner.post(f"/applications/{application_id}/control/{action}")
        job_id = answer.headers["location"].removeprefix("/console/jobs/")
        job = (await client.get("/api/job.one", params={"jobId": job_id})).json()
        assert (job["kind"], job["command"]["action"]) == ("application.control", action)
    assert (await owner.post(f"/applications/{application_id}/control/x")).status_code == 404


async def test_logs_of_what_runs_are_shown_as_text(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], rollbackActive=True)
    await make_point(client, server, application)
    path = f"/applications/{application['applicationId']}/logs"
    assert "when you ask" in (await owner.get(path, tail="500")).text
    assert (await client.get("/api/job.all?kind=application.logs")).json()["jobs"] == []

    async with asyncio.TaskGroup() as group:
        asked = group.create_task(owner.post(path, tail="100", since="all", search=""))
        await server.succeed_next({"lines": [f"2026-12-01T00:00:00Z {HOSTILE}"], "isCut": False})

    page = asked.result().text
    assert "2026-12-01T00:00:00Z" in page and "&lt;b onclick" in page
    assert "<b onclick" not in page and "\x1b" not in page and "\u202e" not in page


async def test_a_deploy_hook_is_created_shown_once_and_removed(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    application_id = (await create_application(client, dockerImage="nginx"))["applicationId"]
    path = f"/applications/{application_id}/hooks"
    assert "There is no deploy hook" in (await owner.get(path)).text

    answer = await owner.post(path, tagFilter="v*", requireSignature="true")

    assert "/api/deploy/" in answer.text and "whsec_" in answer.text
    [hook] = (
        await client.get("/api/deployHook.all", params={"applicationId": application_id})
    ).json()
    assert (hook["tagFilter"], hook["requireSignature"]) == ("v*", True)
    assert "whsec_" not in (await owner.get(path)).text
    removed = await owner.post(f"{path}/{hook['hookId']}/remove")
    assert removed.status_code == 303
    assert "There is no deploy hook" in (await owner.get(path)).text


async def test_a_deploy_key_is_made_and_its_public_part_shown(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    url = "git@git.example:team/a.git"
    application_id = (await create_application(client, customGitUrl=url))["applicationId"]
    await owner.get(f"/applications/{application_id}/settings")

    answer = await owner.post(f"/applications/{application_id}/deploy-key")

    shown = await show_application(client, application_id)
    assert shown["customGitSSHPublicKey"].split()[1].replace("+", "&#43;") in answer.text or (
        shown["customGitSSHPublicKey"].split()[1] in answer.text
    )
    assert "PRIVATE KEY" not in answer.text


async def test_an_application_is_removed_after_a_page_that_asks(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    application_id = (await create_application(client, dockerImage="nginx"))["applicationId"]
    page = (await owner.get(f"/applications/{application_id}/remove")).text
    assert "Its containers keep running" in page

    answer = await owner.post(f"/applications/{application_id}/remove")

    assert answer.headers["location"] == "/console/applications"
    assert (await client.get("/api/application.all")).json() == []


async def test_an_upload_is_explained_with_its_command(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    application_id = (await create_application(client, sourceType="drop"))["applicationId"]

    page = (await owner.get(f"/applications/{application_id}")).text

    assert f"application.uploadContext?applicationId={application_id}" in page


async def test_a_viewer_sees_no_action_of_an_application_and_is_refused(
    viewer: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    root = f"/applications/{application_id}"
    for tab in TABS:
        page = (await viewer.get(f"{root}{tab}")).text
        body = page.partition("<main")[2].partition("</main>")[0]
        forms = re.findall("<form method[^>]*>", body)
        assert [form for form in forms if 'role="search"' not in form] == [], tab
    for path, fields in (
        (f"{root}/deploy", {"what": "redeploy"}),
        (f"{root}/control/stop", {}),
        (f"{root}/remove", {}),
        (f"{root}/settings", {"part": "variables", "env": "A=1"}),
        (f"{root}/hooks", {}),
        (f"{root}/deploy-key", {}),
        ("/applications/new", {"step": "health", **IMAGE}),
    ):
        assert (await viewer.post(path, **fields)).status_code == 403, path
    assert len((await client.get("/api/application.all")).json()) == 1


async def test_an_application_of_another_organization_is_not_found(
    outsider: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    built = await client.get("/api/build.all", params={"applicationId": application_id})
    build_id = built.json()[0]["buildId"]
    deployment_id = (await deploy(client, application_id))["deploymentId"]
    root = f"/applications/{application_id}"
    paths = [f"{root}{tab}" for tab in (*TABS, "/logs?tail=100")]

    for path in (*paths, f"/builds/{build_id}", f"/deployments/{deployment_id}"):
        assert (await outsider.get(path)).status_code == 404, path
    for path in (
        *(f"{root}/deploy", f"{root}/control/stop", f"{root}/remove", f"{root}/deploy-key"),
        *(f"{root}/hooks", f"/builds/{build_id}/cancel", f"/deployments/{deployment_id}/cancel"),
    ):
        assert (await outsider.post(path, what="redeploy")).status_code == 404, path


async def test_texts_of_people_and_git_servers_are_shown_as_text(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], description=HOSTILE)
    application_id = application["applicationId"]
    await client.post(
        "/api/application.update", json={"applicationId": application_id, "name": HOSTILE}
    )
    body = {"applicationId": application_id, "title": HOSTILE}
    built = (await client.post("/api/application.build", json=body)).json()
    error = {"code": HOSTILE, "message": HOSTILE, "remedy": HOSTILE, "retryable": False}
    await server.fail_next(error)

    paths = ["/applications", f"/builds/{built['buildId']}", "/rollbacks"]
    for path in (*paths, *(f"/applications/{application_id}{tab}" for tab in TABS)):
        require_text((await owner.get(path)).text)


async def test_sources_are_uploaded_by_the_script_with_the_token_of_the_page(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    made = await create_application(client, sourceType="drop")
    application_id = made["applicationId"]
    page = await owner.get(f"/applications/{application_id}")
    path = f"/console/applications/upload?applicationId={application_id}"
    headers = {"origin": ORIGIN, "content-type": "application/octet-stream"}

    without = await owner.client.post(path, content=b"a tar", headers=headers)
    with_token = {**headers, "x-csrf-token": owner.csrf}
    stored = await owner.client.post(path, content=b"a tar", headers=with_token)
    elsewhere = await owner.client.post(
        path, content=b"a tar", headers={**with_token, "origin": "https://evil.example"}
    )

    assert f'data-upload="{path}"' in page.text
    assert (without.status_code, elsewhere.status_code) == (403, 403)
    assert stored.json()["sizeBytes"] == len(b"a tar")
    built = await client.post("/api/application.build", json={"applicationId": application_id})
    assert built.status_code == 200, built.text
