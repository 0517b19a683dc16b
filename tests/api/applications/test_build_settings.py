import json
from typing import Any

import httpx2
import pytest

from shared.vault import KeyRing, SealContext
from tests.api.asking import create_application, show_application
from tests.databases import Database

ENV = 'DATABASE_URL=postgresql://u:hush@db/app\nGREETING="hello hush"\n'
SECRETS = "NPM_TOKEN=npm_hush\nKEY='-----BEGIN-----\nhush\n-----END-----'"


async def save_build(
    client: httpx2.AsyncClient, application_id: str, **fields: Any
) -> httpx2.Response:
    body = {"applicationId": application_id, "buildType": "dockerfile", **fields}
    return await client.post("/api/application.saveBuildType", json=body)


async def save_environment(
    client: httpx2.AsyncClient, application_id: str, **fields: Any
) -> httpx2.Response:
    body = {"applicationId": application_id, **fields}
    return await client.post("/api/application.saveEnvironment", json=body)


def sealed(database: Database) -> tuple[Any, ...]:
    [row] = database.execute(
        "SELECT organization_id, application_id, env, build_secrets FROM application"
    )
    return row


async def test_a_build_as_dokploys_client_sends_it_is_stored(client: httpx2.AsyncClient) -> None:
    created = await create_application(client)
    ignored = {"herokuVersion": None, "railpackVersion": "0.15.4"}
    ignored_too = {"publishDirectory": None, "isStaticSpa": False}

    answer = await save_build(
        client,
        created["applicationId"],
        dockerfile="docker/Dockerfile",
        dockerContextPath="./app",
        **{"dockerBuildStage": "release", **ignored, **ignored_too},
    )

    assert answer.json() is True
    assert await show_application(client, created["applicationId"]) == {
        **created,
        "dockerfile": "docker/Dockerfile",
        "dockerContextPath": "app",
        "dockerBuildStage": "release",
    }
    await save_build(
        client,
        created["applicationId"],
        dockerfile=None,
        dockerContextPath="",
        dockerBuildStage=None,
    )
    assert await show_application(client, created["applicationId"]) == created


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"buildType": "nixpacks"}, "nixpacks is not built here: use dockerfile"),
        ({"buildType": "static"}, "static is not built here: use dockerfile"),
        ({"buildType": "make"}, "Invalid"),
        ({"dockerfile": "/etc/passwd"}, "Invalid path"),
        ({"dockerfile": "../Dockerfile"}, "Invalid path: must not lead out of the sources"),
        ({"dockerfile": "-f"}, "Invalid path"),
        ({"dockerContextPath": "a/../.."}, "Invalid path: must not lead out of the sources"),
        ({"dockerBuildStage": "--target"}, "Invalid string"),
        ({"dockerfile": "x" * 501}, "Too big"),
    ],
)
async def test_a_build_that_is_none_of_ours_is_refused_in_a_sentence(
    client: httpx2.AsyncClient, change: dict[str, Any], message: str
) -> None:
    created = await create_application(client)

    answer = await save_build(client, created["applicationId"], **change)

    assert answer.status_code == 400
    assert answer.json()["issues"][0]["message"].startswith(message)
    assert await show_application(client, created["applicationId"]) == created


async def test_variables_are_sealed_and_only_their_names_are_shown(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing
) -> None:
    created = await create_application(client)

    answer = await save_environment(
        client,
        created["applicationId"],
        env=ENV,
        buildArgs="NODE_VERSION=22\nB=x y",
        buildSecrets=SECRETS,
        createEnvFile=True,
    )

    organization_id, application_id, env, secrets = sealed(database)
    environment = SealContext("environment", organization_id, application_id, "", "")
    build = SealContext("build_secrets", organization_id, application_id, "", "")
    assert json.loads(vault.open(env, environment)) == {
        "DATABASE_URL": "postgresql://u:hush@db/app",
        "GREETING": "hello hush",
    }
    assert json.loads(vault.open(secrets, build)) == {
        "NPM_TOKEN": "npm_hush",
        "KEY": "-----BEGIN-----\nhush\n-----END-----",
    }
    assert answer.json() is True
    assert await show_application(client, application_id) == {
        **created,
        "envNames": ["DATABASE_URL", "GREETING"],
        "buildSecretNames": ["KEY", "NPM_TOKEN"],
        "buildArgs": 'B="x y"\nNODE_VERSION=22',
    }
    assert "hush" not in str(database.execute("SELECT * FROM audit_event"))
    removed = await client.post("/api/application.remove", json={"applicationId": application_id})
    assert "hush" not in removed.text


async def test_only_those_variables_change_that_are_given(
    client: httpx2.AsyncClient, database: Database
) -> None:
    application_id = (await create_application(client))["applicationId"]
    await save_environment(client, application_id, env=ENV, buildArgs="A=1", buildSecrets=SECRETS)
    before = sealed(database)

    await save_environment(client, application_id, buildArgs="A=2")
    stored = sealed(database)
    await save_environment(client, application_id, env=None, buildSecrets="# nothing\n")

    shown = await show_application(client, application_id)
    assert stored == before
    assert sealed(database)[2:] == (None, None)
    assert (shown["envNames"], shown["buildSecretNames"], shown["buildArgs"]) == ([], [], "A=2")


@pytest.mark.parametrize("field", ["env", "buildArgs", "buildSecrets"])
async def test_lines_that_are_no_variables_are_refused_without_being_repeated(
    client: httpx2.AsyncClient, database: Database, field: str
) -> None:
    application_id = (await create_application(client))["applicationId"]
    before = sealed(database)
    texts = ["hush", "A=1\nhush", 'A="hush', "A=1\nA=hush", "A=hush\0", "A=" + "hush" * 20_000]

    for text in texts:
        answer = await save_environment(client, application_id, **{field: text})
        assert answer.status_code == 400, text[:20]
        assert answer.json()["issues"][0]["path"] == [field]
        assert "hush" not in answer.text

    assert sealed(database) == before


async def test_saved_settings_are_audited_by_name(
    client: httpx2.AsyncClient, database: Database
) -> None:
    application_id = (await create_application(client))["applicationId"]
    await save_environment(client, application_id, env=ENV, createEnvFile=False)
    await save_build(client, application_id)

    rows = database.execute(
        "SELECT action, data->'changed' FROM audit_event ORDER BY audit_event_id"
    )

    assert rows == [
        ("application.create", None),
        ("application.saveEnvironment", ["env"]),
        (
            "application.saveBuildType",
            ["build_type"],
        ),
    ]
