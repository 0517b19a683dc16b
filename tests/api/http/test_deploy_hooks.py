"""A registry says what was pushed: that is deployed once, if it is who may say so."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import create_application, create_registry, open_client
from tests.api.deploy_hooks.test_pushes import GITHUB, HUB, distribution
from tests.api.deploy_hooks.test_signature import github, standard
from tests.api.deploying import DIGEST
from tests.api.fleet import TestServer
from tests.databases import Database

IMAGE = "ghcr.io/team/app"


@dataclass
class Hook:
    """A hook of an application, called by somebody without an API key."""

    caller: httpx2.AsyncClient
    application_id: str
    url: str
    secret: str

    async def call(self, body: object, **headers: str) -> httpx2.Response:
        """As the distribution registry does: with the header that it was given."""
        proof = {"authorization": f"Bearer {self.secret}"}
        return await self.caller.post(self.url, content=as_bytes(body), headers=proof | headers)

    async def deployed(self, body: object, **headers: str) -> dict[str, Any]:
        answer = await self.call(body, **headers)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


def as_bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


async def create_hook(
    client: httpx2.AsyncClient,
    caller: httpx2.AsyncClient,
    server: TestServer,
    image: str = IMAGE,
    application: dict[str, Any] | None = None,
    **more: Any,
) -> Hook:
    settings = {"serverIds": [server.server_id], **(application or {})}
    application_id = (await create_application(client, **settings))["applicationId"]
    chosen = {"applicationId": application_id}
    source = {**chosen, "dockerImage": image}
    assert (await client.post("/api/application.saveDockerProvider", json=source)).is_success
    made = (await client.post("/api/deployHook.create", json={**chosen, **more})).json()
    return Hook(caller, application_id, made["url"], made["secret"])


@pytest.fixture
async def hook(
    client: httpx2.AsyncClient, app: Starlette, server: TestServer
) -> AsyncIterator[Hook]:
    async with open_client(app, None) as caller:
        yield await create_hook(client, caller, server, tagFilter="1.*")


def count(database: Database) -> tuple[object, ...]:
    [row] = database.execute("SELECT (SELECT count(*) FROM deployment), (SELECT count(*) FROM job)")
    return row


async def test_a_hook_refuses_query_parameters_that_it_would_not_read(
    hook: Hook, database: Database
) -> None:
    hook.url += "?tag=2.0"
    answer = await hook.call(distribution("1.1"))

    assert answer.status_code == 400
    assert answer.json()["message"] == "a deploy hook reads no query parameters: tag"
    assert count(database) == (0, 0)


async def test_a_pushed_tag_is_deployed(
    client: httpx2.AsyncClient, hook: Hook, server: TestServer, database: Database
) -> None:
    answered = await hook.deployed(distribution("1.0", "1.1", "2.0"))

    chosen = {"deploymentId": answered["deploymentId"]}
    assert answered == {
        **chosen,
        "applicationId": hook.application_id,
        "image": "ghcr.io/team/app:1.1",
    }
    pulled = await server.succeed_next({"reference": "x", "digest": DIGEST})
    assert (pulled.kind, pulled.command["reference"]) == ("image.pull", "ghcr.io/team/app:1.1")
    shown = (await client.get("/api/deployment.one", params=chosen)).json()
    assert shown["applicationId"] == hook.application_id
    assert shown["title"] == "The tag 1.1 was pushed"
    assert count(database)[0] == 1
    [(requested_by, hook_id)] = database.execute(
        "SELECT requested_by, hook_id FROM deployment, deploy_hook"
    )
    assert requested_by == hook_id


async def test_a_push_is_accepted_with_each_kind_of_signature(
    hook: Hook, database: Database
) -> None:
    body = as_bytes(distribution("1.0"))
    now = int(time.time())
    proofs = (
        standard(body, sent=now, key=base64.b64decode(hook.secret.removeprefix("whsec_"))),
        github(body, hook.secret),
        {"authorization": hook.secret},
    )

    answers = [await hook.caller.post(hook.url, content=body, headers=proof) for proof in proofs]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    [(used,)] = database.execute(
        "SELECT last_used_at > now() - interval '1 minute' FROM deploy_hook"
    )
    assert used


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer whsec_another"},
        {"x-api-key": "wharf_any"},
        github(as_bytes(distribution("1.0")), "another"),
        standard(as_bytes(distribution("1.0")), sent=int(time.time())),
    ],
)
async def test_a_caller_without_the_secret_deploys_nothing(
    hook: Hook, database: Database, headers: dict[str, str]
) -> None:
    body = as_bytes(distribution("1.0"))

    answer = await hook.caller.post(hook.url, content=body, headers=headers)

    assert answer.status_code == 401
    assert answer.json()["data"]["cause"]["code"] == "hook_signature_invalid"
    assert count(database) == (0, 0)
    assert database.execute("SELECT last_used_at FROM deploy_hook") == [(None,)]


async def test_a_sender_that_cannot_sign_may_be_let_in_by_its_url(
    client: httpx2.AsyncClient, app: Starlette, server: TestServer
) -> None:
    async with open_client(app, None) as caller:
        hook = await create_hook(client, caller, server, "team/app", requireSignature=False)

        answer = await caller.post(hook.url, json=HUB)
        again = await caller.post(hook.url, json=HUB)

    assert answer.json()["image"] == "docker.io/team/app:1.4.2"
    assert again.json() == answer.json()


async def test_the_same_push_reported_twice_is_one_deployment(
    hook: Hook, database: Database
) -> None:
    calls = [hook.deployed(distribution("1.0")) for _ in range(4)]
    first, *others = await asyncio.gather(*calls)
    later = await hook.deployed(distribution("1.0"))

    assert [*others, later] == [first] * 4
    assert count(database)[0] == 1


async def test_the_sender_s_own_id_says_what_is_the_same(hook: Hook, database: Database) -> None:
    first = await hook.deployed(GITHUB, **{"x-github-delivery": "a"})
    again = await hook.deployed(GITHUB, **{"x-github-delivery": "a"})
    other = await hook.deployed(GITHUB, **{"x-github-delivery": "b"})

    assert first["deploymentId"] == again["deploymentId"] != other["deploymentId"]
    assert count(database)[0] == 2


async def test_a_push_that_was_caught_is_no_new_one_under_another_header(
    hook: Hook, database: Database
) -> None:
    body = as_bytes(distribution("1.0"))
    first = await hook.call(body, **github(body, hook.secret))
    for name in ("x-github-delivery", "webhook-id"):
        again = await hook.call(body, **github(body, hook.secret), **{name: "another"})
        assert again.json() == first.json()

    assert count(database)[0] == 1


async def test_deliveries_of_github_are_distinguished_by_their_signed_body(
    hook: Hook, database: Database
) -> None:
    ids: list[dict[str, str]] = [{"x-github-delivery": "a"}, {"x-github-delivery": "b"}, {}]
    body, later = as_bytes(GITHUB), as_bytes({**GITHUB, "at": "later"})
    first, *again = [
        await hook.deployed(body, **github(body, hook.secret), **given) for given in ids
    ]
    other = await hook.deployed(later, **github(later, hook.secret), **ids[0])

    assert again == [first] * 2
    assert other["deploymentId"] != first["deploymentId"]
    assert count(database)[0] == 2


async def test_an_id_may_be_what_no_text_is(hook: Hook, database: Database) -> None:
    body = distribution("1.0")
    body["events"][0]["id"] = "\ud800"

    assert await hook.deployed(body) == await hook.deployed(body)
    assert count(database)[0] == 1


@pytest.mark.parametrize(
    ("body", "ignored"),
    [
        (distribution("2.0"), "tag_not_wanted"),
        (distribution("1.0", host="quay.io"), "other_repository"),
        (distribution("1.0", action="pull"), "no_push"),
        ({"zen": "Design for failure."}, "no_push"),
        ([], "no_push"),
    ],
)
async def test_a_push_for_something_else_is_answered_and_ignored(
    hook: Hook, database: Database, body: object, ignored: str
) -> None:
    answered = await hook.deployed(body)

    assert answered["ignored"] == ignored
    assert set(answered) == {"ignored", "message"}
    assert count(database) == (0, 0)


@pytest.fixture
async def open_hook(
    client: httpx2.AsyncClient, app: Starlette, server: TestServer
) -> AsyncIterator[Hook]:
    async with open_client(app, None) as caller:
        yield await create_hook(client, caller, server, tagFilter="*")


async def test_a_signature_that_is_pushed_after_its_image_does_not_replace_it(
    open_hook: Hook, database: Database
) -> None:
    deployed = await open_hook.deployed(distribution("v1", f"sha256-{'a' * 64}.sig"))

    assert deployed["image"] == f"{IMAGE}:v1"
    assert count(database)[0] == 1


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
async def test_an_artifact_supersedes_no_deployment_that_waits(
    open_hook: Hook, database: Database, suffix: str
) -> None:
    await open_hook.deployed(distribution("v1"))
    before = database.execute("SELECT job_id, state FROM job ORDER BY job_id")

    ignored = await open_hook.deployed(distribution(f"sha256-{'a' * 64}{suffix}"))

    assert (ignored["ignored"], "is not an image" in ignored["message"]) == ("not_an_image", True)
    assert database.execute("SELECT job_id, state FROM job ORDER BY job_id") == before


async def test_an_application_that_is_built_by_now_is_left_alone(
    client: httpx2.AsyncClient, hook: Hook, database: Database
) -> None:
    source = {"applicationId": hook.application_id, "customGitUrl": "https://git.example/a.git"}
    assert (await client.post("/api/application.saveGitProvider", json=source)).is_success

    assert (await hook.deployed(distribution("1.0")))["ignored"] == "source_not_docker"
    assert count(database) == (0, 0)


async def test_pushes_by_its_own_builds_start_no_loop(
    client: httpx2.AsyncClient, app: Starlette, server: TestServer, database: Database
) -> None:
    registry = await create_registry(client, imagePrefix="team/")
    settings = {"appName": "app", "buildRegistryId": registry["registryId"]}
    async with open_client(app, None) as caller:
        hook = await create_hook(client, caller, server, application=settings)

        assert (await hook.deployed(distribution("1.0")))["ignored"] == "own_push"
    assert count(database) == (0, 0)


async def test_a_refusal_that_lasts_does_not_have_the_sender_try_for_ever(
    client: httpx2.AsyncClient, hook: Hook, server: TestServer
) -> None:
    nowhere = {"applicationId": hook.application_id, "serverIds": []}
    assert (await client.post("/api/application.update", json=nowhere)).is_success

    refused = await hook.deployed(distribution("1.0"))
    somewhere = {**nowhere, "serverIds": [server.server_id]}
    assert (await client.post("/api/application.update", json=somewhere)).is_success
    deployed = await hook.deployed(distribution("1.0"))

    assert (refused["ignored"], "no server" in refused["message"]) == ("no_target_server", True)
    assert deployed["image"] == "ghcr.io/team/app:1.0"


async def test_an_unreadable_body_is_refused(hook: Hook) -> None:
    unreadable = await hook.call(b"{")
    large = await hook.call(b" " * (1024 * 1024 + 1))
    requested = await hook.caller.get(hook.url)

    assert (unreadable.status_code, large.status_code) == (400, 413)
    assert (requested.status_code, requested.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["", "unknown", "a/b", "ä", "x" * 5000])
async def test_an_unknown_token_is_not_found(hook: Hook, path: str) -> None:
    answer = await hook.caller.post(f"/api/deploy/{path}", json=distribution("1.0"))

    assert answer.status_code == 404


async def test_wrong_secrets_from_one_address_are_slowed(hook: Hook, app: Starlette) -> None:
    app.state.resources.guesses.clock = lambda: 1000.0
    body = distribution("1.0")
    await hook.deployed(body)

    wrong = [await hook.call(body, authorization=f"Bearer whsec_{n}") for n in range(21)]
    github_answer = await hook.caller.post(
        hook.url, content=as_bytes(body), headers=github(as_bytes(body), "another")
    )
    good = await hook.call(body)

    assert [answer.status_code for answer in wrong] == [401] * 20 + [429]
    assert github_answer.json()["data"]["cause"]["code"] == "too_many_failures"
    # It was good within the last hour.
    assert good.status_code == 200


async def test_no_token_and_no_secret_is_logged_or_answered(
    hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    token = hook.url.rpartition("/")[2]

    answers = [
        await hook.call(distribution("1.0")),
        await hook.call(distribution("1.0"), authorization="Bearer wrong"),
        await hook.caller.get(hook.url),
        await hook.caller.post(f"{hook.url}/more"),
    ]

    logged = capsys.readouterr()
    seen = "".join([logged.out, logged.err, *(answer.text for answer in answers)])
    assert "procedure" in seen
    assert token not in seen
    assert hook.secret not in seen


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/api/Deploy/{}", {}),
        ("/api/trpc/deploy/{}", {}),
        ("/api/trpc/deploy/{}", {"json": {"json": {}}}),
        ("/api/trpc/deploy/{},server.all", {"params": {"batch": "1"}, "json": {}}),
    ],
)
async def test_a_token_is_not_logged_where_its_path_is_mistyped(
    client: httpx2.AsyncClient,
    hook: Hook,
    capsys: pytest.CaptureFixture[str],
    path: str,
    more: dict[str, Any],
) -> None:
    token = hook.url.rpartition("/")[2]
    capsys.readouterr()

    for caller in (hook.caller, client):
        await caller.post(path.format(token), **more)

    logged = capsys.readouterr().out
    assert "procedure=unknown" in logged
    assert token not in logged
