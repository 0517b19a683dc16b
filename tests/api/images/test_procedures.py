import asyncio
from typing import Any

import httpx2
import pytest

from tests.api.asking import HUB, create_registry
from tests.api.fleet import TestServer
from tests.databases import Database

DIGEST = "sha256:" + "a" * 64


async def ask(client: httpx2.AsyncClient, name: str, body: dict[str, Any]) -> httpx2.Response:
    return await client.post(f"/api/{name}", json=body)


def job_row(database: Database, column: str) -> Any:
    [[value]] = database.execute(f"SELECT {column} FROM job")
    return value


def exclusive_key(database: Database) -> str:
    """Without the organization that it begins with."""
    organization_id, _, key = job_row(database, "exclusive_key").partition(":")
    assert organization_id == job_row(database, "organization_id")
    return str(key)


async def test_a_pull_is_a_job_at_once(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    answer = await ask(client, "image.pull", {"image": "nginx"})

    assert (answer.status_code, list(answer.json())) == (200, ["jobId", "joined"])
    assert answer.json()["joined"] is False
    assert job_row(database, "command") == {
        "reference": "docker.io/library/nginx:latest",
        "registry_id": None,
        "made_by": None,
        "policy": None,
        "control_check": None,
        "preflight": False,
        "platform": None,
    }
    expected = f"pull:{server.server_id}:docker.io/library/nginx:latest"
    assert exclusive_key(database) == expected


async def test_a_pull_by_tag_is_joined_until_it_has_begun(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    """Once it has begun, what the tag means may have been looked up: it may have moved since."""
    first = (await ask(client, "image.pull", {"image": "nginx"})).json()
    second = (await ask(client, "image.pull", {"image": "docker.io/library/nginx:latest"})).json()
    await server.next_job()
    third = (await ask(client, "image.pull", {"image": "nginx"})).json()
    fourth = (await ask(client, "image.pull", {"image": "nginx"})).json()

    assert second == {"jobId": first["jobId"], "joined": True}
    assert third["jobId"] != first["jobId"]
    assert third["joined"] is False
    assert fourth == {"jobId": third["jobId"], "joined": True}


async def test_a_pull_by_digest_is_joined_until_it_has_ended(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    body = {"image": f"ghcr.io/myorg/app@{DIGEST}"}
    first = (await ask(client, "image.pull", body)).json()
    job = await server.next_job()
    second = (await ask(client, "image.pull", body)).json()
    await server.finish(job, "succeeded", result={"reference": body["image"]})
    third = (await ask(client, "image.pull", body)).json()

    assert second == {"jobId": first["jobId"], "joined": True}
    assert third["jobId"] != first["jobId"]


async def test_only_the_same_pull_is_joined(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await create_registry(client)
    body = {"image": f"ghcr.io/myorg/app@{DIGEST}"}
    other = (await ask(client, "server.create", {"name": "other"})).json()
    for more in (
        {"registryId": None},
        {"registryId": registry["registryId"]},
        {"serverId": other["serverId"]},
    ):
        answer = await ask(client, "image.pull", {**body, **more})
        assert answer.json()["joined"] is False

    assert len(database.execute("SELECT job_id FROM job")) == 3


async def test_many_who_pull_the_same_at_once_share_one_job(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    body = {"image": f"ghcr.io/myorg/app@{DIGEST}"}

    answers = await asyncio.gather(*(ask(client, "image.pull", body) for _ in range(10)))

    assert len({answer.json()["jobId"] for answer in answers}) == 1
    assert [answer.json()["joined"] for answer in answers].count(False) == 1


async def test_an_image_is_the_application_that_takes_turns(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await create_registry(client)
    await ask(client, "image.pull", {"image": "ghcr.io/myorg/app:1"})
    await ask(client, "image.push", {"image": "app:2", "registryId": registry["registryId"]})

    assert database.execute("SELECT DISTINCT fair_key FROM job") == [("ghcr.io/myorg/app",)]


async def test_a_pull_with_a_registry_uses_its_credential(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await create_registry(client)

    await ask(
        client,
        "image.pull",
        {"image": f"ghcr.io/myorg/app@{DIGEST}", "registryId": registry["registryId"]},
    )

    assert job_row(database, "registry_id") == registry["registryId"]
    assert job_row(database, "command->>'reference'") == f"ghcr.io/myorg/app@{DIGEST}"


async def test_a_credential_is_not_sent_to_another_registry(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await create_registry(client)

    answer = await ask(
        client, "image.pull", {"image": "quay.io/a/b", "registryId": registry["registryId"]}
    )

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (400, "ref_invalid")
    assert database.execute("SELECT * FROM job") == []


@pytest.mark.parametrize(
    ("body", "reference"),
    [
        ({"image": "my-app"}, "docker.io/mycompany/my-app:latest"),
        ({"image": "my-app:v2"}, "docker.io/mycompany/my-app:v2"),
        ({"image": "my-app:v2", "tag": "v3"}, "docker.io/mycompany/my-app:v3"),
        ({"image": "mycompany/my-app:v2"}, "docker.io/mycompany/my-app:v2"),
        ({"image": "team/app:v2"}, "docker.io/mycompany/team/app:v2"),
        ({"image": "quay.io/team/app:v2"}, "docker.io/mycompany/team/app:v2"),
        ({"image": "my-app:v2", "name": "web"}, "docker.io/mycompany/web:v2"),
        ({"image": "my-app:v2", "name": "web:v9"}, "docker.io/mycompany/web:v9"),
        ({"image": "my-app", "name": "docker.io/other/web"}, "docker.io/other/web:latest"),
        ({"image": DIGEST, "name": "web", "tag": "v1"}, "docker.io/mycompany/web:v1"),
    ],
)
async def test_a_push_goes_below_the_prefix(
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    body: dict[str, str],
    reference: str,
) -> None:
    registry = (await ask(client, "registry.create", HUB)).json()

    answer = await ask(client, "image.push", {**body, "registryId": registry["registryId"]})

    assert answer.status_code == 200, answer.text
    assert job_row(database, "command") == {
        "source": body["image"],
        "reference": reference,
        "registry_id": registry["registryId"],
    }
    assert exclusive_key(database) == f"push:{reference}"


async def test_a_push_of_an_image_already_named_for_the_registry_keeps_its_name(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await create_registry(client)

    await ask(
        client,
        "image.push",
        {"image": "ghcr.io/elsewhere/app:1", "registryId": registry["registryId"]},
    )

    assert job_row(database, "command->>'reference'") == "ghcr.io/elsewhere/app:1"


@pytest.mark.parametrize(
    "body",
    [
        {"image": "My-App"},
        {"image": "app", "tag": "-bad"},
        {"image": "app", "name": "UPPER"},
        {"image": "app", "name": "quay.io/x/y"},
        {"image": "app", "name": "web:1", "tag": "2"},
        {"image": "app", "name": f"web@{DIGEST}"},
        {"image": DIGEST},
        {"image": "app; rm -rf /"},
        {"image": ""},
    ],
)
async def test_a_bad_push_is_refused(
    client: httpx2.AsyncClient, server: TestServer, database: Database, body: dict[str, str]
) -> None:
    registry = await create_registry(client)

    answer = await ask(client, "image.push", {**body, "registryId": registry["registryId"]})

    assert answer.status_code == 400
    assert database.execute("SELECT * FROM job") == []


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"image": "quay.io/team/app:2"}, ("quay.io/team/app:2", "ghcr.io/myorg/team/app:2")),
        ({"image": "nginx"}, ("docker.io/library/nginx:latest", "ghcr.io/myorg/nginx:latest")),
        (
            {"image": f"quay.io/team/app@{DIGEST}", "name": "app", "tag": "stable"},
            (f"quay.io/team/app@{DIGEST}", "ghcr.io/myorg/app:stable"),
        ),
        (
            {"image": "ghcr.io/myorg/app:2", "tag": "stable"},
            ("ghcr.io/myorg/app:2", "ghcr.io/myorg/app:stable"),
        ),
        (
            {"image": f"ghcr.io/myorg/app:stable@{DIGEST}", "tag": "stable"},
            (f"ghcr.io/myorg/app:stable@{DIGEST}", "ghcr.io/myorg/app:stable"),
        ),
    ],
)
async def test_a_copy_goes_below_the_prefix_of_the_other_registry(
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    body: dict[str, str],
    names: tuple[str, str],
) -> None:
    registry = await create_registry(client)
    source, reference = names

    answer = await ask(client, "image.copy", {**body, "registryId": registry["registryId"]})

    assert answer.status_code == 200, answer.text
    assert job_row(database, "command") == {
        "source": source,
        "reference": reference,
        "source_registry_id": registry["registryId"] if source.startswith("ghcr.io") else None,
        "registry_id": registry["registryId"],
    }
    assert exclusive_key(database) == f"push:{reference}"


@pytest.mark.parametrize(
    "body",
    [
        {"image": f"quay.io/team/app@{DIGEST}"},
        {"image": "ghcr.io/myorg/app:2"},
        {"image": "quay.io/team/app:2", "name": "quay.io/team/app"},
        {"image": "quay.io/team/app:2", "sourceRegistryId": "own"},
        {"image": "127.0.0.1/team/app:2"},
    ],
)
async def test_a_bad_copy_is_refused(
    client: httpx2.AsyncClient, server: TestServer, database: Database, body: dict[str, str]
) -> None:
    registry_id = (await create_registry(client))["registryId"]
    named = {name: registry_id if value == "own" else value for name, value in body.items()}

    answer = await ask(client, "image.copy", {**named, "registryId": registry_id})

    assert answer.status_code == 400, answer.text
    assert database.execute("SELECT * FROM job") == []


async def test_a_transfer_may_wait_for_its_server(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = (await ask(client, "server.create", {"name": "away"})).json()

    named = await ask(client, "image.pull", {"image": "a", "serverId": created["serverId"]})
    unnamed = await ask(client, "image.pull", {"image": "a"})

    assert named.status_code == 200
    assert unnamed.json()["data"]["cause"]["code"] == "no_server"


async def test_a_tag_is_waited_for(client: httpx2.AsyncClient, server: TestServer) -> None:
    answer, job = await asyncio.gather(
        ask(client, "image.tag", {"source": DIGEST, "target": "ghcr.io/myorg/app"}),
        server.succeed_next({"reference": "ghcr.io/myorg/app:latest", "image_id": DIGEST}),
    )

    assert job.command == {"source": DIGEST, "reference": "ghcr.io/myorg/app:latest"}
    assert answer.json() == {
        "reference": "ghcr.io/myorg/app:latest",
        "digest": None,
        "imageId": DIGEST,
        "sizeBytes": None,
        "verifiedBy": None,
    }


@pytest.mark.parametrize(
    "body",
    [
        {"source": "app", "target": "BAD"},
        {"source": "BAD", "target": "app"},
        {"source": "app", "target": f"app@{DIGEST}"},
    ],
)
async def test_a_bad_tag_is_refused(
    client: httpx2.AsyncClient, server: TestServer, body: dict[str, str]
) -> None:
    assert (await ask(client, "image.tag", body)).status_code == 400


async def test_a_pull_without_a_registry_chooses_the_account_with_the_longest_prefix(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    whole = await create_registry(client, registryName="whole", imagePrefix=None)
    team = await create_registry(client, registryName="team", imagePrefix="team")
    app = await create_registry(client, registryName="app", imagePrefix="team/app")
    database.execute(
        "UPDATE registry SET allowed_servers = '{another}' WHERE registry_id = %s",
        app["registryId"],
    )
    named = {"image": "ghcr.io/team/app:4", "registryId": app["registryId"]} | {
        "serverId": server.server_id
    }

    for image, more in (
        ("ghcr.io/team/app:1", {}),
        ("ghcr.io/other/app:2", {}),
        ("ghcr.io/team/app:3", {"registryId": None}),
    ):
        answer = await ask(client, "image.pull", {"image": image, **more})
        assert answer.status_code == 200, answer.text
    refused = await ask(client, "image.pull", named)

    rows: list[tuple[Any, ...]] = database.execute(
        "SELECT registry_id FROM job ORDER BY command->>'reference' DESC"
    )
    assert [row[0] for row in rows] == [None, team["registryId"], whole["registryId"]]
    assert refused.json()["data"]["cause"]["code"] == "registry_not_allowed"


async def test_a_copy_reads_with_the_account_whose_prefix_fits(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    source = await create_registry(client, imagePrefix="team")
    keep = await create_registry(client, registryUrl="keep.example", imagePrefix="kept")
    body = {"registryId": keep["registryId"], "image": "ghcr.io/team/app:1"}

    await ask(client, "image.copy", body)
    await ask(client, "image.copy", body | {"image": "ghcr.io/other/app:2"})

    rows: list[tuple[Any, ...]] = database.execute(
        "SELECT command->>'source_registry_id' FROM job ORDER BY command->>'source' DESC"
    )
    assert [row[0] for row in rows] == [source["registryId"], None]
