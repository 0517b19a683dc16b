"""The pages of what is in a registry, and the digests of an application side by side."""

import asyncio
from typing import Any

import httpx2

from tests.api.asking import create_registry
from tests.api.console.browsing import Browser
from tests.api.deploying import DIGEST, OTHER, create_deployable, deploy, reconcile, replace_next
from tests.api.fleet import TestServer

IMAGE: dict[str, Any] = {
    "reference": "ghcr.io/myorg/app:1",
    "digest": DIGEST,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "sizeBytes": 3 * 1024 * 1024,
    "createdAt": "2026-01-15T10:30:00Z",
    "labels": {"<b>name</b>": "\x1b[31m<script>alert(1)</script>"},
    "platforms": [{"platform": "linux/arm64", "digest": OTHER, "sizeBytes": 1024}],
    "attachments": [{"kind": "sbom", "digest": OTHER, "artifactType": "application/spdx+json"}],
    "warnings": ["the referrers cannot be read (pull_denied)"],
}


async def see(
    browser: Browser, server: TestServer, result: dict[str, Any], path: str, **query: str
) -> str:
    """Open a page while the server answers; return its text."""
    opening = asyncio.create_task(browser.get(path, **query))
    await server.succeed_next(result)
    answer = await opening
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_registry_is_browsed_from_its_repositories_to_an_image(
    owner: Browser, viewer: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry_id = (await create_registry(client))["registryId"]
    root = f"/registries/{registry_id}"
    tags = {"names": ["1", "2"], "next": "n=2&last=2", "invalid": 3}

    registry = (await owner.get(root)).text
    listed = await see(viewer, server, {"names": ["myorg/app"]}, f"{root}/contents")
    tagged = await see(viewer, server, tags, f"{root}/contents/tags", repository="myorg/app")
    image = await see(viewer, server, IMAGE, f"{root}/contents/image", name="myorg/app:1")

    assert f'href="/console{root}/contents"' in registry
    assert f'href="/console{root}/contents/tags?repository=myorg/app"' in listed
    assert 'data-copy="ghcr.io/myorg/app"' in listed
    assert f'href="/console{root}/contents/image?name=myorg/app%3A1"' in tagged
    assert "after=n%3D2%26last%3D2" in tagged and "3 names are not valid" in tagged
    assert f'data-copy="{DIGEST}"' in image and f'data-copy="{OTHER}"' in image
    for shown in ("3.0 MiB", "linux/arm64", "SBOM", "application/spdx+json", "pull_denied"):
        assert shown in image
    assert "No application runs this digest" in image


async def test_what_a_registry_says_is_text(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry_id = (await create_registry(client))["registryId"]

    path = f"/registries/{registry_id}/contents/image"
    shown = await see(owner, server, IMAGE, path, name="myorg/app:1")

    assert "<script>alert" not in shown and "<b>name" not in shown and "\x1b" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown


async def test_a_worker_that_reports_other_text_than_names_is_not_believed(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry_id = (await create_registry(client))["registryId"]
    opening = asyncio.create_task(owner.get(f"/registries/{registry_id}/contents"))
    await server.succeed_next({"names": ["myorg/app", '"><script>alert(1)</script>']})

    answer = await opening

    assert "document_unreadable" in answer.text and "<script>alert" not in answer.text


async def test_a_registry_that_lists_nothing_says_so_with_what_is_known(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    path = f"/registries/{application['buildRegistryId']}/contents"
    empty: dict[str, Any] = {"names": []}
    refusal = {"names": [], "refusal": "cannot list the repositories of ghcr.io"}

    without = await see(owner, server, empty, path)
    known = await see(owner, server, refusal, path)

    assert (
        "No repository was found" in without and 'href="/console/images/push?registryId=' in without
    )
    assert "does not list its repositories" in known
    assert f"repository=myorg/{application['appName']}" in known


async def test_a_refusal_is_shown_where_another_image_can_be_chosen(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry_id = (await create_registry(client))["registryId"]
    path = f"/registries/{registry_id}/contents/image"
    opening = asyncio.create_task(owner.get(path, name="myorg/app:gone"))
    await server.fail_next(
        {"code": "image_not_found", "message": "no tag", "retryable": False, "remedy": "Look."}
    )

    answer = await opening
    outside = await owner.get(path, name="other/app:1")

    assert (answer.status_code, "image_not_found" in answer.text) == (400, True)
    assert 'name="name"' in answer.text
    assert (outside.status_code, "below the image prefix" in outside.text) == (400, True)


async def test_the_contents_of_another_organization_do_not_exist(
    outsider: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    root = f"/registries/{application['buildRegistryId']}/contents"

    answers = [
        await outsider.get(root),
        await outsider.get(f"{root}/tags", repository="myorg/app"),
        await outsider.get(f"{root}/image", name="myorg/app:1"),
        await outsider.get(f"/applications/{application['applicationId']}/digests"),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404, 404]


async def test_the_digests_of_an_application_stand_side_by_side(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    path = f"/applications/{application['applicationId']}"
    await deploy(client, application["applicationId"])
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    await replace_next(server)
    await reconcile(server)

    overview = (await owner.get(path)).text
    same = await see(owner, server, IMAGE, f"{path}/digests")
    moved = await see(owner, server, {**IMAGE, "digest": OTHER}, f"{path}/digests")

    assert f'action="/console{path}/digests"' in overview
    assert same.count(DIGEST) >= 3 and "the same as what runs" in same
    assert OTHER in moved and "not what runs: deploy it to run it" in moved
    assert "asked <time" in moved


async def test_a_registry_that_does_not_answer_leaves_the_other_digests(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    path = f"/applications/{application['applicationId']}/digests"
    opening = asyncio.create_task(owner.get(path))
    await server.fail_next(
        {"code": "conn_timeout", "message": "no answer", "retryable": True, "remedy": "Wait."}
    )

    answer = await opening

    # A script shows no part of an answer with an error's status.
    assert (answer.status_code, "conn_timeout" in answer.text) == (200, True)
    assert "The tag says now" in answer.text
