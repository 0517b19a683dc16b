import asyncio
import json
import re
from typing import Any

import httpx2
import pytest

from api.applications.fields import make_app_name
from tests.api.asking import create_application, create_registry, show_application
from tests.api.fleet import TestServer
from tests.databases import Database

HEALTH_CHECK = {"command": ["wget", "-q", "-O", "-", "http://127.0.0.1:8080/healthz"]}
PORT = {"publishedPort": 80, "targetPort": 8080}
BIND = {"type": "bind", "mountPath": "/data", "hostPath": "/srv/data"}
VOLUME = {"type": "volume", "mountPath": "/cache/", "volumeName": "cache", "readOnly": True}


async def update(
    client: httpx2.AsyncClient, application_id: str, **changes: Any
) -> httpx2.Response:
    return await client.post(
        "/api/application.update", json={"applicationId": application_id, **changes}
    )


async def test_an_application_is_shown_with_what_it_was_given_and_sensible_defaults(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_application(client, description="the shop")

    assert re.fullmatch(r"my-app-[a-z0-9]{6}", created["appName"])
    expected: dict[str, Any] = {
        "name": "My App",
        "description": "the shop",
        "sourceType": None,
        "buildType": "dockerfile",
        "dockerfile": "Dockerfile",
        "dockerContextPath": ".",
        "customGitBuildPath": "/",
        "buildArgs": "",
        "envNames": [],
        "buildSecretNames": [],
        "hasCustomGitToken": False,
        "registryId": None,
        "buildRegistryId": None,
        "rollbackRegistryId": None,
        "buildServerId": None,
        "serverIds": [],
        "healthCheck": None,
        "ports": [],
        "mounts": [],
        "rollbackActive": False,
        "replicas": 1,
        "rollbacksToKeep": 10,
        "latestWins": True,
        "lastVersion": 0,
        "platform": None,
    }
    assert {field: created[field] for field in expected} == expected
    assert await show_application(client, created["applicationId"]) == created
    assert (await client.get("/api/application.all")).json() == [created]


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My App", "my-app"),
        ("  Überladen & Co. ", "uberladen-co"),
        ("日本", "app"),
        ("-", "app"),
        ("x" * 200, "x" * 56),
        ("a" * 55 + " b", "a" * 55),
    ],
)
def test_an_app_name_is_made_of_the_name(name: str, slug: str) -> None:
    made = make_app_name(name)

    assert re.fullmatch(rf"{slug}-[a-z0-9]{{6}}", made)
    assert len(made) <= 63
    assert make_app_name(name) != made


async def test_all_settings_are_kept(client: httpx2.AsyncClient, server: TestServer) -> None:
    registries = [(await create_registry(client))["registryId"] for _ in range(3)]
    settings: dict[str, Any] = {
        "name": "Shop",
        "appName": "Shop.web_1",
        "description": "x",
        "sourceType": "drop",
        "platform": "linux/arm64/v8",
        "rollbackActive": True,
        "latestWins": False,
        **dict(
            zip(("registryId", "buildRegistryId", "rollbackRegistryId"), registries, strict=True)
        ),
        "buildServerId": server.server_id,
        "serverIds": [server.server_id],
        "replicas": 3,
        "rollbacksToKeep": 0,
        "healthCheck": HEALTH_CHECK,
        "ports": [{**PORT, "publishMode": "host"}],
        "mounts": [BIND, VOLUME],
    }

    created = await create_application(client, **settings)

    defaults = {"intervalSeconds": 30, "timeoutSeconds": 30, "startPeriodSeconds": 0, "retries": 3}
    expected = {
        **settings,
        "healthCheck": {**HEALTH_CHECK, **defaults},
        "ports": [{**PORT, "protocol": "tcp", "publishMode": "host"}],
        "mounts": [
            {**BIND, "volumeName": None, "readOnly": False},
            {**VOLUME, "mountPath": "/cache", "hostPath": None},
        ],
    }
    assert {field: created[field] for field in expected} == expected
    other = await create_application(client, name="other")
    assert (await update(client, other["applicationId"], **settings | {"appName": "b"})).json()
    changed = await show_application(client, other["applicationId"])
    assert {field: changed[field] for field in expected} == {**expected, "appName": "b"}


async def test_an_update_changes_what_it_names_and_nothing_else(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = await create_application(
        client, serverIds=[server.server_id], ports=[PORT], platform="linux/amd64"
    )
    application_id = created["applicationId"]

    assert named(await update(client, application_id, replicas=2)) == {"replicas"}
    assert await show_application(client, application_id) == {**created, "replicas": 2}
    assert (await update(client, application_id, serverIds=[], platform=None)).json() is True
    assert await show_application(client, application_id) == {
        **created,
        "replicas": 2,
        "serverIds": [],
        "serverId": None,
        "platform": None,
    }


async def test_fields_of_dokploys_that_have_no_effect_are_named_in_the_warnings(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = await create_application(client, environmentId="env-1", serverId=None)
    placed = await create_application(client, environmentId=None, serverId=server.server_id)
    unused = {"environmentId": "env-2", "autoDeploy": True, "memoryLimit": "512m"}

    answer = await update(
        client, created["applicationId"], **unused, serverId="x", watchPaths=[], command=None
    )

    [warning] = created.pop("warnings")
    assert (warning["field"], warning["code"]) == ("environmentId", "no_effect")
    assert "warnings" not in placed
    assert placed["serverIds"] == [server.server_id]
    assert {each["field"] for each in answer.json()["warnings"]} == {*unused, "serverId"}
    assert named(answer) == {*unused, "serverId"}
    assert await show_application(client, created["applicationId"]) == created


async def test_an_update_takes_what_pipelines_send_in_dokploys_words(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_application(client, name="web")

    answer = await update(
        client,
        created["applicationId"],
        customGitUrl="https://git.example/a.git",
        customGitBranch="main",
        dockerfile="docker/Dockerfile",
        env="A=1\nB=2",
        buildArgs="C=3",
        dockerBuildStage="",
        description=None,
        appName=None,
    )

    assert (answer.json(), named(answer)) == (True, {"appName"})
    assert await show_application(client, created["applicationId"]) == {
        **created,
        "sourceType": "git",
        "customGitUrl": "https://git.example/a.git",
        "customGitBranch": "main",
        "dockerfile": "docker/Dockerfile",
        "envNames": ["A", "B"],
        "buildArgs": "C=3",
    }


async def test_a_new_image_is_named_as_without_effect_where_the_source_is_git(
    client: httpx2.AsyncClient,
) -> None:
    image = await create_application(client, dockerImage="ghcr.io/a/web:1.0")
    git = await create_application(client, customGitUrl="https://git.example/a.git")

    of_image = await update(client, image["applicationId"], dockerImage="ghcr.io/a/web:2.0")
    of_git = await update(client, git["applicationId"], dockerImage="ghcr.io/a/web:2.0")

    shown = await show_application(client, image["applicationId"])
    assert (shown["dockerImage"], named(of_image)) == ("ghcr.io/a/web:2.0", set())
    assert named(of_git) == {"dockerImage"}


async def test_settings_that_do_not_apply_to_the_runtime_are_named(
    client: httpx2.AsyncClient,
) -> None:
    port = {"publishedPort": 80, "targetPort": 80, "publishMode": "host"}
    settings = {"replicas": 3, "ports": [port], "healthCheck": {"command": ["true"]}}

    answers = {
        runtime: await client.post(
            "/api/application.create", json={"name": "web", "runtime": runtime, **settings}
        )
        for runtime in ("container", "service", "none")
    }

    assert {runtime: named(answer) for runtime, answer in answers.items()} == {
        "container": {"replicas", "publishMode"},
        "service": set(),
        "none": {"replicas", "ports", "publishMode", "healthCheck"},
    }


async def test_two_sources_need_a_word_on_which_is_meant(client: httpx2.AsyncClient) -> None:
    both = {"dockerImage": "ghcr.io/a/b:1", "customGitUrl": "https://git.example/a.git"}

    answer = await client.post("/api/application.create", json={"name": "web", **both})
    chosen = await create_application(client, **both, sourceType="docker")
    branch_alone = await client.post(
        "/api/application.create", json={"name": "web", "customGitBranch": "main"}
    )

    assert answer.json()["data"]["cause"]["code"] == "source_invalid"
    assert [each["field"] for each in chosen["warnings"]] == ["customGitUrl"]
    assert branch_alone.status_code == 400
    assert branch_alone.json()["data"]["cause"]["remedy"] == "Leave customGitBranch out."


def named(answer: httpx2.Response) -> set[str]:
    """The fields of the answer's warnings."""
    return {each["field"] for each in json.loads(answer.headers.get("x-wharf-warnings", "[]"))}


async def test_an_app_name_that_is_taken_is_a_conflict_in_whatever_case(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    await create_application(client, appName="web")
    other = await create_application(client)
    await create_application(stranger, appName="web")

    answers = [
        await client.post("/api/application.create", json={"name": "x", "appName": "WEB"}),
        await update(client, other["applicationId"], appName="web"),
    ]

    for answer in answers:
        assert answer.status_code == 409
        assert answer.json()["data"]["cause"]["code"] == "name_taken"
    assert len((await client.get("/api/application.all")).json()) == 2


async def test_a_source_that_was_not_saved_cannot_be_chosen(client: httpx2.AsyncClient) -> None:
    created = await create_application(client)

    for source in ("git", "docker"):
        refused = await update(client, created["applicationId"], sourceType=source)
        assert refused.json()["data"]["cause"]["code"] == "source_invalid"
    assert (await update(client, created["applicationId"], sourceType="drop")).json() is True


BAD: list[tuple[str, dict[str, Any]]] = [
    ("unknown field", {"colour": "red"}),
    ("snake case", {"app_name": "x"}),
    ("number for text", {"name": 1}),
    ("empty name", {"name": ""}),
    ("long name", {"name": "x" * 201}),
    ("half a megabyte", {"description": "x" * 500_000}),
    ("nul", {"name": "a\0b"}),
    ("surrogate", {"name": "\ud800"}),
    ("app name of no grammar", {"appName": "my app"}),
    ("app name as an option", {"appName": "--privileged"}),
    ("app name as a path", {"appName": ".."}),
    ("app name that no repository has", {"appName": "a..b"}),
    ("long app name", {"appName": "x" * 64}),
    ("app name with a line", {"appName": "x\n"}),
    ("source of others", {"sourceType": "github"}),
    ("source of nobody", {"sourceType": "ftp"}),
    ("platform", {"platform": "linux"}),
    ("platform as an option", {"platform": "--linux/amd64"}),
    ("no replicas", {"replicas": 0}),
    ("many replicas", {"replicas": 101}),
    ("half a replica", {"replicas": 1.5}),
    ("rollbacks", {"rollbacksToKeep": -1}),
    ("word for a switch", {"rollbackActive": "yes"}),
    ("null for a switch", {"latestWins": None}),
    ("empty id", {"registryId": ""}),
    ("servers twice", {"serverIds": ["a", "a"]}),
    ("many servers", {"serverIds": [str(number) for number in range(101)]}),
    ("server as text", {"serverIds": "a"}),
    ("health check without a command", {"healthCheck": {}}),
    ("health check of no words", {"healthCheck": {"command": []}}),
    ("health check with a nul", {"healthCheck": {"command": ["a\0"]}}),
    ("health check of a shell", {"healthCheck": {"command": "true"}}),
    ("health check at once", {"healthCheck": {"command": ["true"], "intervalSeconds": 0}}),
    ("unknown field below", {"healthCheck": {"command": ["true"], "colour": "red"}}),
    ("port zero", {"ports": [{**PORT, "targetPort": 0}]}),
    ("port beyond", {"ports": [{**PORT, "publishedPort": 65536}]}),
    ("port of another protocol", {"ports": [{**PORT, "protocol": "icmp"}]}),
    ("port twice", {"ports": [PORT, {**PORT, "targetPort": 9}]}),
    ("many ports", {"ports": [PORT] * 51}),
    ("mount of no kind", {"mounts": [{**BIND, "type": "file"}]}),
    ("mount without its source", {"mounts": [{"type": "bind", "mountPath": "/data"}]}),
    ("mount of two sources", {"mounts": [{**BIND, "volumeName": "cache"}]}),
    ("mount of the other source", {"mounts": [{**VOLUME, "type": "bind"}]}),
    ("relative mount", {"mounts": [{**BIND, "mountPath": "data"}]}),
    ("relative host path", {"mounts": [{**BIND, "hostPath": "srv"}]}),
    ("mount that leads out", {"mounts": [{**BIND, "hostPath": "/srv/../etc"}]}),
    ("mount over all", {"mounts": [{**BIND, "mountPath": "/"}]}),
    ("mount with options", {"mounts": [{**BIND, "hostPath": "/srv:/etc,rw"}]}),
    ("volume as a path", {"mounts": [{**VOLUME, "volumeName": "../cache"}]}),
    ("mount twice", {"mounts": [BIND, {**BIND, "mountPath": "/data/"}]}),
]


async def test_bad_input_is_refused_and_nothing_is_written(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_application(client)
    before = database.execute("SELECT * FROM application")
    headers = {"content-type": "application/json"}
    procedures = {
        "create": {"name": "x"},
        "update": {"applicationId": created["applicationId"]},
    }

    for what, change in BAD:
        for procedure, body in procedures.items():
            answer = await client.post(
                f"/api/application.{procedure}",
                content=json.dumps({**body, **change}),
                headers=headers,
            )
            assert answer.status_code == 400, (what, procedure, answer.text)

    assert database.execute("SELECT * FROM application") == before
    assert database.execute("SELECT action FROM audit_event") == [("application.create",)]


@pytest.mark.parametrize("field", ["registryId", "buildRegistryId", "rollbackRegistryId"])
async def test_a_registry_in_use_is_not_removed(client: httpx2.AsyncClient, field: str) -> None:
    registry = await create_registry(client)
    chosen = {"registryId": registry["registryId"]}
    created = await create_application(client, **{field: registry["registryId"]})
    await create_application(client, name="another")

    refused = await client.post("/api/registry.remove", json=chosen)
    await update(client, created["applicationId"], **{field: None})
    removed = await client.post("/api/registry.remove", json=chosen)

    assert refused.status_code == 409
    assert "is used by 1 application: My App (" in refused.json()["message"]
    assert refused.json()["data"]["cause"]["code"] == "in_use"
    assert removed.json() == registry


@pytest.mark.parametrize("field", ["buildServerId", "serverIds"])
async def test_a_server_in_use_is_not_removed(
    client: httpx2.AsyncClient, server: TestServer, field: str
) -> None:
    chosen = {"serverId": server.server_id}
    value = [server.server_id] if field == "serverIds" else server.server_id
    created = [await create_application(client, **{field: value}) for _ in range(12)]

    refused = await client.post("/api/server.remove", json=chosen)
    for application in created:
        await client.post(
            "/api/application.remove", json={"applicationId": application["applicationId"]}
        )
    removed = await client.post("/api/server.remove", json=chosen)

    assert refused.status_code == 409
    assert refused.json()["message"] == (
        f"the server alpha is used by applications: {', '.join(['My App'] * 10)} and 2 more"
    )
    assert removed.status_code == 200


async def test_a_removed_server_is_not_found(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = await create_application(client)
    await client.post("/api/server.remove", json={"serverId": server.server_id})

    answers = [
        await update(client, created["applicationId"], serverIds=[server.server_id]),
        await update(client, created["applicationId"], buildServerId=server.server_id),
    ]

    assert [answer.status_code for answer in answers] == [404, 404]


@pytest.mark.parametrize("what", ["server", "registry"])
async def test_an_object_that_is_removed_at_the_same_time_is_not_used(
    client: httpx2.AsyncClient, what: str
) -> None:
    for number in range(8):
        server = await client.post("/api/server.create", json={"name": f"server {number}"})
        created = server.json() if what == "server" else await create_registry(client)
        chosen = created[f"{what}Id"]
        use = {"serverIds": [chosen]} if what == "server" else {"buildRegistryId": chosen}

        used, gone = await asyncio.gather(
            client.post("/api/application.create", json={"name": "x", **use}),
            client.post(f"/api/{what}.remove", json={f"{what}Id": chosen}),
        )

        assert (used.status_code, gone.status_code) in {(200, 409), (404, 200)}


async def test_a_removed_application_is_shown_once_more_and_gone(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    created = await create_application(client, serverIds=[server.server_id])
    chosen = {"applicationId": created["applicationId"]}

    first = await client.post("/api/application.remove", json=chosen)
    second = await client.post("/api/application.remove", json=chosen)

    assert (first.status_code, first.json()) == (200, created)
    assert second.status_code == 404
    assert database.execute("SELECT * FROM application_server") == []


async def test_changes_are_audited(client: httpx2.AsyncClient, database: Database) -> None:
    created = await create_application(client, appName="web")
    await update(client, created["applicationId"], replicas=2, serverIds=[], environmentId="x")
    await client.post("/api/application.remove", json={"applicationId": created["applicationId"]})

    rows = database.execute(
        "SELECT action, object_id, data->>'app_name', data->'changed' FROM audit_event"
        " ORDER BY audit_event_id"
    )

    assert rows == [
        ("application.create", created["applicationId"], "web", None),
        ("application.update", created["applicationId"], "web", ["replicas", "server_ids"]),
        ("application.remove", created["applicationId"], "web", None),
    ]
