"""Keys that are limited to applications: nothing else exists for them, or is theirs to change."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import psycopg
import pytest
from starlette.applications import Starlette

from api.procedure.application_limits import OWN_FACTS, OWN_LISTS, OWNERS
from api.procedure.auth import proof_of
from api.routers import PROCEDURES
from tests.api.accounts.test_key_limits import create
from tests.api.asking import create_application, open_client, upload_context
from tests.api.deploying import create_deployable, deploy, make_point
from tests.api.fleet import TestServer
from tests.api.test_isolation import MATRIX, create_hook, snapshot
from tests.databases import Database

ALIASES = {field.title().replace("_", "") for field in OWNERS}
ABOUT_ONE = {f"{alias[0].lower()}{alias[1:]}" for alias in ALIASES}
VALUES = {"name": "x", "image": "nginx", "source": "a", "target": "b", "url": "https://h.example/"}


@pytest.fixture
async def own(client: httpx2.AsyncClient) -> dict[str, Any]:
    """The application of the limited key."""
    return await create_application(client, name="own", dockerImage="nginx")


@pytest.fixture
async def limited(
    client: httpx2.AsyncClient, app: Starlette, own: dict[str, Any]
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose administrator's key is limited to one application."""
    key = await create(client, role="admin", applicationIds=[own["applicationId"]])
    async with open_client(app, key["key"]) as limited:
        yield limited


async def make_others(client: httpx2.AsyncClient, server: TestServer) -> dict[str, str]:
    """Make one of everything that an application has, of another application."""
    deployable = await create_deployable(client, [server], rollbackActive=True)
    point = await make_point(client, server, deployable)
    chosen = deployable["applicationId"]
    deployment = await deploy(client, chosen)
    return {
        "applicationId": chosen,
        "buildId": point["buildId"],
        "contextId": (await upload_context(client, chosen))["contextId"],
        "deploymentId": deployment["deploymentId"],
        "hookId": await create_hook(client),
        "jobId": deployment["servers"][0]["jobIds"][0],
        "rollbackId": point["rollbackId"],
    }


def bodies(name: str) -> list[dict[str, Any]]:
    """The inputs of the procedure that name a thing of an application."""
    return [body for each, body in MATRIX if each == name and ABOUT_ONE & body.keys()]


@pytest.mark.parametrize(
    "name", sorted(name for name, each in PROCEDURES.items() if each.role is not None)
)
def test_each_procedure_is_about_an_application_or_refused(name: str) -> None:
    is_listed = name in OWN_LISTS | OWN_FACTS
    takes = {field for field in OWNERS if field in PROCEDURES[name].input.model_fields}

    assert is_listed or not takes or bodies(name), "test_isolation names no request of it"
    assert name not in OWN_LISTS | OWN_FACTS or PROCEDURES[name].kind == "query"


async def test_a_thing_of_another_application_is_not_found_and_nothing_happens(
    client: httpx2.AsyncClient,
    limited: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    own: dict[str, Any],
) -> None:
    others = await make_others(client, server)
    before = snapshot(database)
    asked = 0

    for name in PROCEDURES:
        for body in bodies(name):
            request = {**body, **{key: others[key] for key in ABOUT_ONE & body.keys()}}
            if "own application" in body.values():
                request["applicationId"] = own["applicationId"]
                if not (ABOUT_ONE & body.keys()) - {"applicationId"}:
                    continue  # about its own application, with another organization's server
            answer = await limited.post(f"/api/trpc/{name}", json=request)

            assert answer.status_code == 404, (name, answer.text)
            assert snapshot(database) == before, name
            asked += 1
    watched = await limited.get("/api/job.events", params={"jobId": others["jobId"]})
    upload = await limited.post(
        f"/api/application.uploadContext?applicationId={others['applicationId']}",
        content=b"x",
        headers={"content-type": "application/x-tar"},
    )

    assert asked > 30
    assert (watched.status_code, upload.status_code) == (404, 404)
    assert snapshot(database) == before


async def test_what_is_not_about_an_application_is_refused(
    limited: httpx2.AsyncClient, database: Database
) -> None:
    before = snapshot(database)
    refused = {
        name: body
        for name, body in [*MATRIX, *((name, VALUES) for name in PROCEDURES)]
        if not ABOUT_ONE & body.keys()
        and PROCEDURES[name].role is not None
        and name not in OWN_LISTS | OWN_FACTS
    }

    for name, body in refused.items():
        method = "GET" if PROCEDURES[name].kind == "query" else "POST"
        sent = {"params": body} if method == "GET" else {"json": body}
        answer = await limited.request(method, f"/api/{name}", **sent)  # type: ignore[arg-type]
        assert answer.status_code in {400, 403}, (name, answer.text)
        if answer.status_code == 403:
            reason = f"this call of {name} names none" if bodies(name) else f"{name} is not about"
            assert f"this API key is limited to applications, and {reason}" in answer.text
    assert len(refused) > 40
    assert snapshot(database) == before


async def test_lists_show_only_what_belongs_to_its_applications(
    client: httpx2.AsyncClient,
    limited: httpx2.AsyncClient,
    server: TestServer,
    own: dict[str, Any],
) -> None:
    others = await make_others(client, server)
    chosen = own["applicationId"]
    await client.post("/api/image.pull", json={"image": "nginx"})
    await client.post(
        "/api/application.update", json={"applicationId": chosen, "serverIds": [server.server_id]}
    )
    answer = await limited.post("/api/application.deploy", json={"applicationId": chosen})
    deployed = answer.json()["deploymentId"]

    [listed] = (await limited.get("/api/application.all")).json()
    [project] = (await limited.get("/api/project.all")).json()
    jobs = (await limited.get("/api/job.all")).json()["jobs"]
    counted = (await limited.get("/api/job.statistics")).json()["now"]
    of_server = await limited.get(
        "/api/deployment.allByServer", params={"serverId": server.server_id}
    )
    foreign = await limited.get(
        "/api/deployment.allByType", params={"id": others["applicationId"], "type": "application"}
    )

    assert listed["applicationId"] == chosen
    assert [each["name"] for each in project["environments"][0]["applications"]] == ["own"]
    assert jobs
    assert counted["queued"] + counted["running"] == len(jobs)
    for answer in (
        of_server,
        await limited.get("/api/deployment.allCentralized"),
        await limited.get("/api/deployment.queueList"),
    ):
        rows = answer.json()
        assert {row.get("deploymentId") or row["id"] for row in rows} == {deployed}
    assert foreign.status_code == 404


async def test_it_builds_deploys_and_changes_its_own_application(
    limited: httpx2.AsyncClient, server: TestServer, own: dict[str, Any]
) -> None:
    chosen = {"applicationId": own["applicationId"]}
    change = {**chosen, "serverIds": [server.server_id], "description": "mine"}

    changed = await limited.post("/api/application.update", json=change)
    deployed = await limited.post("/api/application.deploy", json=chosen)
    job = deployed.json()["servers"][0]["jobIds"][0]

    assert changed.status_code == 200, changed.text
    assert deployed.is_success, deployed.text
    assert (await limited.get("/api/job.one", params={"jobId": job})).status_code == 200
    assert (await limited.post("/api/job.cancel", json={"jobId": job})).status_code == 200
    assert (await upload_context(limited, own["applicationId"]))["contextId"]


async def test_it_calls_what_may_be_about_no_application_with_one_of_its_own(
    limited: httpx2.AsyncClient, server: TestServer, own: dict[str, Any]
) -> None:
    chosen = {"applicationId": own["applicationId"]}
    wait = {"prefer": "respond-async"}

    for name in ("image.inspect", "signature.verify"):
        asked = {**chosen, "image": "ghcr.io/a/b:1"}
        answer = await limited.get(f"/api/{name}", params=asked, headers=wait)
        assert answer.status_code == 202, answer.text
        job = {"jobId": answer.json()["jobId"]}
        assert (await limited.get("/api/job.one", params=job)).status_code == 200
    policy = await limited.post("/api/signaturePolicy.set", json={**chosen, "mode": "warn"})

    assert policy.status_code == 200, policy.text
    assert (await limited.get("/api/signaturePolicy.one", params=chosen)).json() == policy.json()


async def test_it_stays_limited_when_its_application_is_removed(
    client: httpx2.AsyncClient, limited: httpx2.AsyncClient, own: dict[str, Any]
) -> None:
    await create_application(client, name="other")

    removed = await limited.post(
        "/api/application.remove", json={"applicationId": own["applicationId"]}
    )

    assert removed.status_code == 200, removed.text
    assert (await limited.get("/api/application.all")).json() == []
    assert (await limited.get("/api/registry.all")).status_code == 403


async def test_the_database_refuses_what_is_beyond_the_key(
    client: httpx2.AsyncClient, app: Starlette, own: dict[str, Any], database: Database
) -> None:
    other = await create_application(client, name="other")
    key = await create(client, role="admin", applicationIds=[own["applicationId"]])
    statements = {
        "UPDATE application SET name = 'mine' WHERE application_id = %s": other["applicationId"],
        "UPDATE organization SET name = 'mine' WHERE organization_id = %s": own["organizationId"],
        "INSERT INTO api_key (api_key_id, organization_id, name, role, start, key_hash)"
        " VALUES ('more', %s, 'more', 'admin', '', 'x')": own["organizationId"],
        "INSERT INTO invitation (invitation_id, organization_id, role, token_hash)"
        " VALUES ('more', %s, 'admin', 'x')": own["organizationId"],
    }

    with psycopg.connect(database.url("wharf_api")) as connection:
        for statement, value in statements.items():
            proof = proof_of(key["key"]).hex()
            connection.execute("SELECT set_config('wharf.proof', %s, true)", (proof,))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement, (value,))
            connection.rollback()


async def test_no_key_is_limited_to_an_application_that_does_not_exist(
    client: httpx2.AsyncClient,
) -> None:
    body = {"name": "x", "applicationIds": ["nothing"]}

    answer = await client.post("/api/apiKey.create", json=body)

    assert answer.status_code == 404
    assert answer.json()["message"] == "Application not found"
