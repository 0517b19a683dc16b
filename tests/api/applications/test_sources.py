from typing import Any

import httpx2
import pytest

from shared.vault import KeyRing, SealContext
from tests.api.asking import create_application, create_registry, show_application
from tests.databases import Database

URL = "https://git.example.com/myorg/app.git"
TOKEN = "glpat-hush-'\"$\\ 🔑"


async def save_git(
    client: httpx2.AsyncClient, application_id: str, **fields: Any
) -> httpx2.Response:
    body = {"applicationId": application_id, "customGitUrl": URL, **fields}
    return await client.post("/api/application.saveGitProvider", json=body)


async def save_docker(
    client: httpx2.AsyncClient, application_id: str, **fields: Any
) -> httpx2.Response:
    body = {"applicationId": application_id, "dockerImage": "nginx:1.29", **fields}
    return await client.post("/api/application.saveDockerProvider", json=body)


def stored_token(database: Database) -> tuple[Any, ...]:
    [row] = database.execute(
        "SELECT organization_id, application_id, git_host, git_username, git_token FROM application"
    )
    return row


async def test_a_registry_at_another_host_than_the_image_is_named(
    client: httpx2.AsyncClient,
) -> None:
    registry_id = (await create_registry(client))["registryId"]
    application_id = (await create_application(client))["applicationId"]

    elsewhere = await save_docker(client, application_id, registryId=registry_id)
    there = await save_docker(client, application_id, dockerImage="ghcr.io/a/b:1")

    message = "registryId has no effect: the image is at docker.io, the registry ghcr.io"
    assert message in elsewhere.headers["x-wharf-warnings"]
    assert "x-wharf-warnings" not in there.headers


async def test_a_git_repository_as_dokploys_client_sends_it_is_the_source(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_application(client)

    answer = await save_git(
        client,
        created["applicationId"],
        customGitBranch="main",
        customGitBuildPath="/apps/web/",
        watchPaths=["src/**"],
        enableSubmodules=False,
        customGitSSHKeyId=None,
    )

    assert answer.json() is True
    assert await show_application(client, created["applicationId"]) == {
        **created,
        "sourceType": "git",
        "customGitUrl": URL,
        "customGitBranch": "main",
        "customGitBuildPath": "/apps/web",
    }


async def test_settings_that_are_not_named_stay_for_a_repository_and_not_for_another_one(
    client: httpx2.AsyncClient,
) -> None:
    application_id = (await create_application(client))["applicationId"]
    commit = {"customGitCommit": "a" * 40}
    await save_git(client, application_id, **commit, customGitBranch="x", customGitBuildPath="y")
    before = await show_application(client, application_id)

    await save_git(client, application_id, customGitBranch="z")
    same = await show_application(client, application_id)
    await save_git(client, application_id, customGitUrl="https://git.example.com/other.git")

    other = await show_application(client, application_id)
    names = ("customGitCommit", "customGitBranch", "customGitBuildPath")
    assert [before[name] for name in names] == ["a" * 40, "x", "/y"]
    assert [same[name] for name in names] == ["a" * 40, "z", "/y"]
    assert [other[name] for name in names] == [None, None, "/"]


@pytest.mark.parametrize("username", ["oauth2", None])
async def test_a_token_is_sealed_for_its_host_and_shown_by_nothing(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing, username: str | None
) -> None:
    application_id = (await create_application(client))["applicationId"]

    answer = await save_git(
        client, application_id, customGitToken=TOKEN, customGitUsername=username
    )

    organization_id, stored_id, host, user, sealed = stored_token(database)
    assert (host, user) == ("git.example.com", username or "git")
    context = SealContext("git_token", organization_id, stored_id, host, user)
    assert vault.open(sealed, context) == TOKEN
    shown = await client.get("/api/application.one", params={"applicationId": application_id})
    assert shown.json()["hasCustomGitToken"] is True
    events = str(database.execute("SELECT data FROM audit_event"))
    assert "'git_token'" in events
    assert "hush" not in answer.text + shown.text + events


async def test_a_token_stays_with_its_host_and_goes_when_it_is_taken_away(
    client: httpx2.AsyncClient, database: Database
) -> None:
    application_id = (await create_application(client))["applicationId"]
    await save_git(client, application_id, customGitToken=TOKEN)
    first = stored_token(database)

    other_repository = await save_git(
        client, application_id, customGitUrl="https://GIT.example.com:443/other.git"
    )
    stored = stored_token(database)
    await save_git(client, application_id, customGitToken=None)

    assert other_repository.json() is True
    assert stored == first
    assert stored_token(database)[-1] is None


@pytest.mark.parametrize(
    "change",
    [
        {"customGitUrl": "https://evil.example/app.git"},
        {"customGitUrl": "https://git.example.com:8443/app.git"},
        {"customGitUsername": "other"},
        {"customGitUsername": None},
    ],
)
async def test_another_host_or_username_needs_the_token_again(
    client: httpx2.AsyncClient, database: Database, change: dict[str, Any]
) -> None:
    application_id = (await create_application(client))["applicationId"]
    await save_git(client, application_id, customGitToken=TOKEN)
    before = database.execute("SELECT * FROM application")

    refused = await save_git(client, application_id, **change)
    after = database.execute("SELECT * FROM application")
    taken = await save_git(client, application_id, **change, customGitToken="new")

    assert refused.status_code == 400
    assert refused.json()["data"]["cause"]["code"] == "password_needed"
    assert after == before
    assert taken.json() is True


async def test_a_token_is_not_sent_in_clear(client: httpx2.AsyncClient) -> None:
    application_id = (await create_application(client))["applicationId"]
    plain = {"customGitUrl": "http://git.example.com/app.git"}

    open_to_all = await save_git(client, application_id, **plain)
    with_token = await save_git(client, application_id, **plain, customGitToken=TOKEN)
    await save_git(client, application_id, customGitToken=TOKEN)
    with_token_kept = await save_git(client, application_id, **plain)

    assert open_to_all.json() is True
    for refused in (with_token, with_token_kept):
        assert refused.status_code == 400
        assert refused.json()["data"]["cause"]["code"] == "source_invalid"


BAD_GIT: list[dict[str, Any]] = [
    {"customGitUrl": "https://user:hush@git.example.com/app.git"},
    {"customGitUrl": "file:///srv/app.git"},
    {"customGitUrl": "ext::sh -c hush"},
    {"customGitUrl": "/srv/app.git"},
    {"customGitUrl": "--upload-pack=hush"},
    {"customGitUrl": "https://169.254.169.254/app.git"},
    {"customGitUrl": "https://git.example.com/" + "x" * 500},
    {"customGitUrl": "https://git.example.com/" + "x" * 500_000},
    {"customGitUrl": None},
    {"customGitBranch": "--upload-pack=hush"},
    {"customGitBranch": "a b"},
    {"customGitCommit": "HEAD"},
    {"customGitBuildPath": "/../x"},
    {"customGitToken": ""},
    {"customGitToken": "hush" * 5000},
    {"customGitToken": "hush\0"},
    {"customGitUsername": " "},
    {"customGitSSHKeyId": "key-1"},
    {"colour": "red"},
]


async def test_a_repository_that_cannot_be_fetched_is_refused_and_nothing_is_written(
    client: httpx2.AsyncClient, database: Database
) -> None:
    application_id = (await create_application(client))["applicationId"]
    before = database.execute("SELECT * FROM application")

    for change in BAD_GIT:
        answer = await save_git(client, application_id, **change)
        assert answer.status_code == 400, str(change)[:100]
        assert "hush" not in answer.text

    assert database.execute("SELECT * FROM application") == before


async def test_a_ready_image_as_dokploys_client_sends_it_is_the_source(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_application(client)

    answer = await save_docker(
        client, created["applicationId"], username=None, password="", registryUrl=None
    )

    assert answer.json() is True
    assert await show_application(client, created["applicationId"]) == {
        **created,
        "sourceType": "docker",
        "dockerImage": "nginx:1.29",
    }


async def test_a_ready_image_is_pulled_from_a_stored_registry(client: httpx2.AsyncClient) -> None:
    application_id = (await create_application(client))["applicationId"]
    registry_id = (await create_registry(client))["registryId"]

    await save_docker(client, application_id, dockerImage="ghcr.io/a/b", registryId=registry_id)
    await save_docker(client, application_id, dockerImage="ghcr.io/a/c")

    shown = await show_application(client, application_id)
    assert (shown["dockerImage"], shown["registryId"]) == ("ghcr.io/a/c", registry_id)


@pytest.mark.parametrize(
    "change",
    [
        {"password": "hush"},
        {"username": "me"},
        {"registryUrl": "ghcr.io"},
        {"dockerImage": "Not An Image"},
        {"dockerImage": "--privileged"},
        {"dockerImage": "169.254.169.254/a/b"},
        {"dockerImage": ""},
        {"dockerImage": None},
    ],
)
async def test_an_image_that_cannot_be_pulled_is_refused(
    client: httpx2.AsyncClient, change: dict[str, Any]
) -> None:
    created = await create_application(client)

    answer = await save_docker(client, created["applicationId"], **change)

    assert answer.status_code == 400
    assert "hush" not in answer.text
    assert await show_application(client, created["applicationId"]) == created
