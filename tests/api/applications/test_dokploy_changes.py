"""Changes of an application as Dokploy's pipelines send them: carried out or named as no effect."""

from typing import Any

import httpx2
import pytest

from tests.api.asking import create_application, show_application

REPOSITORY = "https://git.example/a.git"


async def send(client: httpx2.AsyncClient, procedure: str, **body: Any) -> httpx2.Response:
    return await client.post(f"/api/{procedure}", json=body)


async def test_a_pipeline_that_names_the_next_image_changes_it(client: httpx2.AsyncClient) -> None:
    chosen = {"applicationId": (await create_application(client))["applicationId"]}

    answer = await send(client, "application.update", **chosen, dockerImage="ghcr.io/a/b:2")

    assert (answer.status_code, answer.text) == (200, "true")
    shown = await show_application(client, chosen["applicationId"])
    assert (shown["dockerImage"], shown["sourceType"]) == ("ghcr.io/a/b:2", "docker")


SENT: list[tuple[dict[str, Any], set[str]]] = [
    ({"env": "A=1", "buildArgs": "B=2"}, set()),
    ({"customGitUrl": REPOSITORY, "customGitBranch": "main", "dockerfile": "other"}, set()),
    ({"autoDeploy": True}, {"autoDeploy"}),
    ({"memoryLimit": "512m", "cpuLimit": "1"}, {"memoryLimit", "cpuLimit"}),
    ({"memoryLimit": None, "autoDeploy": None, "dockerBuildStage": ""}, set()),
    ({"networkIds": ["a"], "detachDokployNetwork": True}, {"networkIds", "detachDokployNetwork"}),
    ({"customGitUrl": REPOSITORY, "enableSubmodules": True}, set()),
    ({"customGitUrl": REPOSITORY, "enableSubmodules": False}, {"enableSubmodules"}),
    ({"rollbackActive": None, "description": None, "appName": None, "title": None}, set()),
    (
        {"username": None, "password": None, "registryUrl": None, "customGitSSHKeyId": None},
        set(),
    ),
]


@pytest.mark.parametrize(("sent", "without_effect"), SENT)
async def test_a_setting_without_effect_is_named_in_the_answer(
    client: httpx2.AsyncClient, sent: dict[str, Any], without_effect: set[str]
) -> None:
    created = await create_application(client)
    chosen = {"applicationId": created["applicationId"]}

    answer = await send(client, "application.update", **chosen, **sent)

    assert answer.status_code == 200, answer.text
    if without_effect:
        shown = answer.json()
        assert {each["field"] for each in shown.pop("warnings")} == without_effect
        assert shown == await show_application(client, created["applicationId"])
    else:
        assert answer.json() is True


@pytest.mark.parametrize(
    ("test", "command"),
    [
        (["CMD", "curl", "-f", "http://localhost/"], ["curl", "-f", "http://localhost/"]),
        (
            ["CMD-SHELL", "curl -f localhost || exit 1"],
            ["/bin/sh", "-c", "curl -f localhost || exit 1"],
        ),
    ],
)
async def test_a_health_check_of_swarm_is_taken(
    client: httpx2.AsyncClient, test: list[str], command: list[str]
) -> None:
    created = await create_application(client)
    swarm = {"Test": test, "Interval": 30_000_000_000, "Timeout": 1_500_000_000, "Retries": 5}

    answer = await send(
        client,
        "application.update",
        applicationId=created["applicationId"],
        healthCheckSwarm={**swarm, "StartPeriod": 0},
    )

    assert answer.text == "true"
    assert (await show_application(client, created["applicationId"]))["healthCheck"] == {
        "command": command,
        "intervalSeconds": 30,
        "timeoutSeconds": 2,
        "startPeriodSeconds": 0,
        "retries": 5,
    }


@pytest.mark.parametrize("none", [None, {"Test": ["NONE"]}, {}])
async def test_no_health_check_of_swarm_takes_ours_away(
    client: httpx2.AsyncClient, none: object
) -> None:
    created = await create_application(client, healthCheck={"command": ["true"]})

    await send(
        client,
        "application.update",
        applicationId=created["applicationId"],
        healthCheckSwarm=none,
    )

    assert (await show_application(client, created["applicationId"]))["healthCheck"] is None


async def test_a_health_check_of_no_known_form_is_refused(client: httpx2.AsyncClient) -> None:
    created = await create_application(client)
    body = {"applicationId": created["applicationId"], "healthCheckSwarm": {"Test": ["curl"]}}

    answer = await send(client, "application.update", **body)

    assert answer.status_code == 400
    assert "CMD-SHELL" in answer.text


async def test_a_source_that_dokploy_s_form_sends_as_null_stays(client: httpx2.AsyncClient) -> None:
    created = await create_application(client, customGitUrl=REPOSITORY)
    chosen = {"applicationId": created["applicationId"]}
    git: dict[str, Any] = {
        "customGitUrl": None,
        "customGitBranch": "next",
        "customGitBuildPath": None,
    }
    git |= {"customGitSSHKeyId": None, "watchPaths": None, "enableSubmodules": True}
    image = {"dockerImage": None, "username": None, "password": None, "registryUrl": None}

    saved = await send(client, "application.saveGitProvider", **chosen, **git)
    refused = await send(client, "application.saveDockerProvider", **chosen, **image)

    shown = await show_application(client, created["applicationId"])
    assert saved.text == "true"
    assert (shown["customGitUrl"], shown["customGitBranch"]) == (REPOSITORY, "next")
    assert refused.json()["data"]["cause"]["code"] == "source_invalid"


@pytest.mark.parametrize("source", ["docker", "git"])
async def test_a_source_may_be_named_before_it_is_saved(
    client: httpx2.AsyncClient, source: str
) -> None:
    created = await create_application(client, sourceType=source)

    assert created["sourceType"] is None
    [warning] = created["warnings"]
    assert warning["field"] == "sourceType"
    assert "application.save" in warning["message"]
