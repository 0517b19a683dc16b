"""A compose file becomes one job: its images, each with the login that fits it."""

from typing import Any

import httpx2
import pytest

from shared.jobs.commands import ComposePull
from tests.api.asking import GHCR, HUB, create_registry
from tests.api.fleet import TestServer
from tests.databases import Database

FILE = """\
services:
  web: {image: "ghcr.io/myorg/web:1"}
  worker: {image: "ghcr.io/myorg/web:1"}
  database: {image: postgres}
  built: {build: .}
"""


async def ask(client: httpx2.AsyncClient, **body: Any) -> httpx2.Response:
    return await client.post("/api/trpc/compose.pull", json={"composeFile": FILE, **body})


async def create(client: httpx2.AsyncClient, prefix: str | None, **changes: Any) -> str:
    """A registry; gives its id."""
    row = await create_registry(client, imagePrefix=prefix, registryName=f"{prefix}", **changes)
    return str(row["registryId"])


def logins(database: Database) -> dict[str, str | None]:
    """Return the registry of each image of the newest job, by its first service."""
    [(command,)] = database.execute("SELECT command FROM job ORDER BY job_id DESC LIMIT 1")
    images = ComposePull.model_validate(command).images
    return {image.services[0]: image.registry_id for image in images}


async def test_a_compose_file_is_a_job_at_once_and_each_image_is_in_it_once(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry_id = await create(client, "myorg")

    answer = await ask(client)

    assert (answer.status_code, list(answer.json())) == (200, ["jobId"])
    [row] = database.execute("SELECT kind, job_class, server_id, registry_id, command FROM job")
    assert row[:4] == ("compose.pull", "transfer", server.server_id, registry_id)
    assert row[4] == {
        "compose": FILE,
        "images": [
            {
                "services": ["web", "worker"],
                "reference": "ghcr.io/myorg/web:1",
                "registry_id": registry_id,
                "only_if_missing": False,
                "can_be_built": False,
            },
            {
                "services": ["database"],
                "reference": "docker.io/library/postgres:latest",
                "registry_id": None,
                "only_if_missing": False,
                "can_be_built": False,
            },
        ],
        "variables": {},
        "profiles": [],
    }


async def test_only_variables_that_images_use_are_stored(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    file = "services: {web: {image: 'ghcr.io/myorg/web:${TAG:-1}', environment: [P=$PASSWORD]}}"
    env = "TAG=7\nPASSWORD=canary-of-env\nCOMPOSE_PROFILES=a,b\n"

    await ask(client, composeFile=file, envFile=env)

    [(command,)] = database.execute("SELECT command FROM job ORDER BY job_id DESC LIMIT 1")
    stored = ComposePull.model_validate(command)
    assert [image.reference for image in stored.images] == ["ghcr.io/myorg/web:7"]
    assert (stored.variables, stored.profiles) == ({"TAG": "7"}, ("a", "b"))
    assert "canary" not in str(database.execute("SELECT * FROM job"))


async def test_the_result_is_shown_with_its_job(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = (await ask(client)).json()["jobId"]
    image = {"service": "web", "reference": "ghcr.io/myorg/web:1", "digest": "sha256:0"}
    result = {"composeFile": "services: {}", "images": [image], "withoutImage": ["built"]}
    await server.succeed_next(result)

    job = (await client.get("/api/job.one", params={"jobId": job_id})).json()

    assert (job["state"], job["result"]) == ("succeeded", result)


async def test_a_list_of_jobs_leaves_the_long_texts_out(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    await ask(client)
    await server.succeed_next({"composeFile": "services: {}", "images": [], "withoutImage": []})

    [job] = (await client.get("/api/job.all")).json()["jobs"]

    assert "compose" not in job["command"] and job["command"]["images"]
    assert job["result"] == {"images": [], "withoutImage": []}


async def test_of_several_registries_the_one_with_the_longest_prefix_of_the_image_is_taken(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    await create(client, None)
    other = await create(client, "other")
    best = await create(client, "myorg/web")
    await create(client, "ghcr.io/myorg/")
    await create(client, "myorg/we")
    hub = await create(client, "mycompany/", registryUrl=HUB["registryUrl"])

    await ask(client)
    chosen = logins(database)
    await ask(client, registryIds=[other])

    # Where no prefix fits, a login of that host is better than none: it may well have the right.
    assert chosen == {"web": best, "database": hub}
    assert logins(database) == {"web": other, "database": None}


async def test_of_registries_that_fit_alike_the_oldest_is_taken(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    oldest, newest = await create(client, "myorg"), await create(client, "myorg")

    await ask(client, registryIds=[newest, oldest])

    assert logins(database)["web"] == oldest


async def test_without_any_registry_all_is_pulled_as_nobody(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    await create(client, "myorg")

    await ask(client, registryIds=[])

    assert logins(database) == {"web": None, "database": None}


async def test_anothers_registries_are_never_taken(
    client: httpx2.AsyncClient,
    stranger: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
) -> None:
    theirs = (await stranger.post("/api/registry.create", json=GHCR)).json()["registryId"]

    await ask(client)
    named = await ask(client, registryIds=[theirs])

    assert logins(database) == {"web": None, "database": None}
    assert named.status_code == 404


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("services: [", ("compose_invalid", "not YAML")),
        ("services: {web: {image: 'a:${TAG}'}}", ("compose_invalid", "image of web: the variable")),
        ("services: {web: {image: 'UPPER'}}", ("ref_invalid", "image of web")),
        ("services: {web: {image: '169.254.169.254/a'}}", ("network_refused", "169.254.169.254")),
        ("services: {web: {image: 'localhost:5000/a'}}", ("network_refused", "127.0.0.1")),
    ],
)
async def test_a_file_that_cannot_be_pinned_is_refused(
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    text: str,
    refused: tuple[str, str],
) -> None:
    answer = await ask(client, composeFile=text)

    code, message = refused
    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (400, code)
    assert message in answer.json()["message"]
    assert database.execute("SELECT * FROM job") == []


async def test_a_file_that_is_too_large_is_refused(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    for filling in ("#" * 192 * 1024, "é" * 96 * 1024):
        assert (await ask(client, composeFile=FILE + filling)).status_code == 400
