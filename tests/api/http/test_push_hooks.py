"""A git host says that a branch was pushed: the commit is built and deployed once."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import create_application, create_registry, open_client
from tests.api.deploy_hooks.test_commits import AFTER, GITHUB, GITLAB
from tests.api.deploy_hooks.test_signature import github
from tests.api.fleet import TestServer
from tests.api.http.test_deploy_hooks import Hook, as_bytes, count
from tests.databases import Database

REPOSITORY = "https://github.example/acme/shop.git"


async def create_hook(
    client: httpx2.AsyncClient, caller: httpx2.AsyncClient, server: TestServer, **more: Any
) -> Hook:
    registry = await create_registry(client)
    application = await create_application(
        client,
        customGitUrl=REPOSITORY,
        buildRegistryId=registry["registryId"],
        serverIds=[server.server_id],
    )
    chosen = {"applicationId": application["applicationId"]}
    made = await client.post("/api/deployHook.create", json={**chosen, **more})
    assert made.status_code == 200, made.text
    shown = made.json()
    return Hook(caller, application["applicationId"], shown["url"], shown["secret"])


@pytest.fixture
async def hook(
    client: httpx2.AsyncClient, app: Starlette, server: TestServer
) -> AsyncIterator[Hook]:
    async with open_client(app, None) as caller:
        yield await create_hook(client, caller, server, pathFilters=["src/*"])


async def test_a_pushed_commit_is_built_and_deployed(
    client: httpx2.AsyncClient, hook: Hook, server: TestServer
) -> None:
    answered = await hook.deployed(GITHUB)

    job = await server.next_job()
    chosen = {"deploymentId": answered["deploymentId"]}
    shown = (await client.get("/api/deployment.one", params=chosen)).json()
    assert answered == {
        **chosen,
        "applicationId": hook.application_id,
        "branch": "main",
        "commit": AFTER,
    }
    assert job.kind == "image.build"
    assert AFTER in str(job.command)
    assert (shown["title"], shown["buildId"]) == ("Mend the shop", answered["deploymentId"])


async def test_each_sender_is_verified_by_its_own_header(hook: Hook, database: Database) -> None:
    body = as_bytes(GITHUB)
    made = hmac.digest(hook.secret.encode(), body, hashlib.sha256).hex()
    proofs = [
        github(body, hook.secret),
        {"x-gitea-signature": made},
        {"x-gitlab-token": hook.secret},
        {"authorization": f"Bearer {hook.secret}"},
    ]
    wrong = [
        {"x-hub-signature-256": f"sha256={'0' * 64}"},
        {"x-gitea-signature": "0" * 64},
        {"x-gitlab-token": "guess"},
        {},
    ]

    refused = [await hook.caller.post(hook.url, content=body, headers=each) for each in wrong]
    before = count(database)
    good = [await hook.caller.post(hook.url, content=body, headers=each) for each in proofs]

    assert {each.status_code for each in refused} == {401}
    assert before[0] == 0
    assert {each.status_code for each in good} == {200}


async def test_a_push_reported_again_is_the_same_deployment(hook: Hook, database: Database) -> None:
    first = await hook.deployed(GITLAB, **{"x-gitlab-event-uuid": "one"})
    again = await hook.deployed(GITLAB, **{"x-gitlab-event-uuid": "two"})

    assert first == again
    assert count(database)[0] == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({**GITHUB, "ref": "refs/heads/next"}, "branch_not_wanted"),
        (
            {**GITHUB, "commits": [{"added": ["README"], "modified": [], "removed": []}]},
            "paths_not_wanted",
        ),
        ({"zen": "ping"}, "no_push"),
        ({**GITHUB, "repository": {"clone_url": "https://github.example/a/b"}}, "other_repository"),
    ],
)
async def test_a_push_that_is_not_wanted_is_answered_and_ignored(
    hook: Hook, database: Database, body: dict[str, Any], code: str
) -> None:
    assert (await hook.deployed(body))["ignored"] == code
    assert count(database)[0] == 0


async def test_filters_of_the_other_source_are_named(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    built = await create_application(client, customGitUrl=REPOSITORY)
    ready = await create_application(client, dockerImage="ghcr.io/a/b:1")

    def create(application: dict[str, Any], **more: Any) -> Any:
        body = {"applicationId": application["applicationId"], **more}
        return client.post("/api/deployHook.create", json=body)

    of_built = (await create(built, tagFilter="v*", branchFilter="main")).json()
    of_ready = (await create(ready, tagFilter="v*", pathFilters=["src/*"])).json()

    assert [each["field"] for each in of_built["warnings"]] == ["tagFilter"]
    assert [each["field"] for each in of_ready["warnings"]] == ["pathFilters"]
