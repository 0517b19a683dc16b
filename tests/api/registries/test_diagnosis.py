import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from shared.credentials.ecr import EcrSource
from shared.credentials.kinds import parse_source, source_context
from shared.vault import KeyRing, SealContext
from tests.api.asking import create_registry
from tests.api.fleet import TestServer, bad_error, bad_report, good_report
from tests.databases import Database
from tests.fakes import ecr
from tests.fakes.providers.google import ServiceAccount

KEYS = {"kind": "ecr", "accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET}
AD_HOC = {"registryUrl": "ghcr.io", "username": "github-user", "password": "ghp_secret"}
Asking = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
FAULT = {
    "code": "auth_bad_credentials",
    "stage": "auth",
    "remedy": bad_error()["remedy"],
}


async def test_the_password_of_a_test_is_sealed_for_its_job_and_gone_with_it(
    client: httpx2.AsyncClient, server: TestServer, database: Database, vault: KeyRing
) -> None:
    asking = asyncio.create_task(client.post("/api/registry.testRegistry", json=AD_HOC))
    job = await server.next_job()

    context = SealContext("password", job.organization_id, job.job_id, "ghcr.io", "github-user")
    assert vault.open(job.sealed["password"], context) == "ghp_secret"
    await server.finish(job, "succeeded", result=good_report())
    assert (await asking).json() is True
    assert database.execute("SELECT * FROM job_secret") == []


async def test_the_credential_of_a_test_is_sealed_for_its_job_and_waits_for_control(
    client: httpx2.AsyncClient, server: TestServer, database: Database, vault: KeyRing
) -> None:
    body = {"registryUrl": ecr.HOST, "credential": KEYS}

    answer = await client.post(
        "/api/registry.testRegistry", json=body, headers={"Prefer": "respond-async"}
    )

    job_id = answer.json()["jobId"]
    organization_id, command, sealed = stored_source(database)
    assert (command["username"], command["credential"]) == ("AWS", "ecr")
    opened = vault.open(sealed, source_context(organization_id, job_id, ecr.HOST))
    assert parse_source(opened) == EcrSource.model_validate(KEYS)
    job = (await client.get("/api/job.one", params={"jobId": job_id})).json()
    assert job["waiting"]["code"] == "login_pending"
    assert ecr.SECRET not in json.dumps([command, job])


@pytest.mark.parametrize(
    ("procedure", "username"),
    [("testRegistry", "_json_key"), ("diagnose", "_json_key"), ("diagnose", "_json_key_base64")],
)
async def test_a_key_of_google_as_the_password_is_a_credential(
    asking: Asking, database: Database, vault: KeyRing, procedure: str, username: str
) -> None:
    text = ServiceAccount().text
    given = text if username == "_json_key" else base64.b64encode(text.encode()).decode()
    body = {"registryUrl": "gcr.io", "username": username, "password": given}

    answer = await asking(f"/api/registry.{procedure}", body)

    organization_id, command, sealed = stored_source(database)
    assert (command["username"], command["credential"]) == ("oauth2accesstoken", "google")
    opened = vault.open(sealed, source_context(organization_id, answer["jobId"], "gcr.io"))
    assert json.loads(opened)["service_account_key"] == text


@pytest.fixture
def asking(client: httpx2.AsyncClient, server: TestServer) -> Asking:
    """Submit a request that answers its job."""

    async def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await client.post(path, json=body, headers={"Prefer": "respond-async"})
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return ask


def stored_source(database: Database) -> tuple[str, dict[str, Any], str]:
    """Return the organization, the command and the sealed source of the one test."""
    [(organization_id, command, sealed)] = database.execute(
        "SELECT organization_id, command, sealed FROM job JOIN job_secret USING (job_id)"
        " WHERE purpose = 'credential_source'"
    )
    assert isinstance(command, dict)
    return str(organization_id), command, str(sealed)


@pytest.mark.parametrize("password", ["no JSON", '{"type": "service_account"}'])
async def test_a_key_of_google_that_is_not_whole_is_refused_before_anything_happens(
    client: httpx2.AsyncClient, server: TestServer, database: Database, password: str
) -> None:
    body = {"registryUrl": "gcr.io", "username": "_json_key", "password": password}

    answer = await client.post("/api/registry.testRegistry", json=body)

    assert answer.status_code == 400
    assert "not the key of a service account" in answer.json()["message"]
    assert database.execute("SELECT 1 FROM job") == []


async def test_a_credential_is_tested_for_its_own_provider_only(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    body = {"registryUrl": "ghcr.io", "credential": KEYS}

    answer = await client.post("/api/registry.testRegistry", json=body)

    assert answer.status_code == 400
    assert database.execute("SELECT 1 FROM job") == []


async def test_a_member_tests_no_credential(
    client: httpx2.AsyncClient, member: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    body = {"registryUrl": ecr.HOST, "credential": {"kind": "ecr", "machineIdentity": True}}

    answer = await member.post("/api/registry.testRegistry", json=body)

    assert answer.status_code == 403
    assert database.execute("SELECT 1 FROM job") == []


async def test_a_test_tries_a_repository_below_the_prefix(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = await create_registry(client)

    _, job = await asyncio.gather(
        client.post("/api/registry.testRegistryById", json={"registryId": created["registryId"]}),
        server.succeed_next(good_report()),
    )

    assert job.command == {
        "host": "ghcr.io",
        "username": "github-username",
        "repository": "myorg/connection-test",
        "registry_id": created["registryId"],
        "credential": None,
        "rotation_id": None,
        "warnings": [],
        "ca_certificate": "",
        "client_certificate": "",
        "plain_http": False,
    }
    assert job.registry_id == created["registryId"]
    assert job.sealed == {}


async def test_doubts_travel_as_warnings(client: httpx2.AsyncClient, server: TestServer) -> None:
    ecr = "123456789.dkr.ecr.us-east-1.amazonaws.com"
    hub = {**AD_HOC, "registryUrl": "", "username": "me@example.com"}

    _, of_ecr = await asyncio.gather(
        client.post("/api/registry.testRegistry", json={**AD_HOC, "registryUrl": ecr}),
        server.succeed_next(good_report()),
    )
    _, of_hub = await asyncio.gather(
        client.post("/api/registry.testRegistry", json=hub), server.succeed_next(good_report())
    )

    assert "9" in of_ecr.command["warnings"][0]
    assert "me@example.com" not in of_hub.command["repository"]
    assert "set a prefix" in of_hub.command["warnings"][0]


@pytest.mark.parametrize("dialect", ["/api/", "/api/trpc/"])
async def test_a_failed_test_names_cause_stage_remedy_and_job(
    client: httpx2.AsyncClient, server: TestServer, dialect: str
) -> None:
    answer, job = await asyncio.gather(
        client.post(f"{dialect}registry.testRegistry", json=AD_HOC), server.fail_next(bad_error())
    )

    assert answer.status_code == 400
    body = answer.json()
    assert body["message"] == "ghcr.io refuses the username and password"
    assert body["data"]["cause"] == {**FAULT, "jobId": job.job_id}


async def test_a_failed_test_has_the_same_cause_in_trpcs_envelope(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    answer, job = await asyncio.gather(
        client.post("/api/trpc/registry.testRegistry?batch=1", json={"0": {"json": AD_HOC}}),
        server.fail_next(bad_error()),
    )

    [call] = answer.json()
    shape = call["error"]["json"]
    assert (shape["code"], shape["data"]["code"]) == (-32600, "BAD_REQUEST")
    assert shape["data"]["cause"] == {**FAULT, "jobId": job.job_id}


async def test_a_diagnosis_shows_the_ladder_good_or_bad(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = await create_registry(client)

    good, _ = await asyncio.gather(
        client.post("/api/registry.diagnose", json={"registryId": created["registryId"]}),
        server.succeed_next(good_report()),
    )
    bad, _ = await asyncio.gather(
        client.post("/api/registry.diagnose", json=AD_HOC), server.fail_next(bad_error())
    )

    assert [stage["outcome"] for stage in good.json()["stages"]] == ["ok"] * 11
    assert bad.status_code == 200
    assert bad.json() == bad_report().model_dump(mode="json", by_alias=True)


async def test_a_diagnosis_that_broke_down_is_an_error(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    lost = {"code": "worker_lost", "message": "the worker died", "retryable": False}

    answer, _ = await asyncio.gather(
        client.post("/api/registry.diagnose", json=AD_HOC), server.fail_next(lost)
    )

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (400, "worker_lost")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"registryUrl": "ghcr.io"},
        {"registryId": "x", **AD_HOC},
        {"registryId": "x", "password": "y"},
    ],
)
async def test_a_diagnosis_is_of_one_registry_exactly(
    client: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    answer = await client.post("/api/registry.diagnose", json=body)

    assert answer.status_code == 400
    assert answer.json()["issues"][0]["code"] == "custom"


async def test_a_stored_registry_is_tested_as_it_is_stored(client: httpx2.AsyncClient) -> None:
    created = await create_registry(client)

    answer = await client.post(
        "/api/registry.testRegistryById",
        json={"registryId": created["registryId"], "registryUrl": "evil.example.com"},
    )

    assert answer.status_code == 400
    assert answer.json()["issues"][0]["keys"] == ["registryUrl"]


async def test_without_a_server_it_is_412(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/api/registry.testRegistry", json=AD_HOC)

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (412, "no_server")


async def test_a_server_that_never_came_is_offline(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = (await client.post("/api/server.create", json={"name": "new"})).json()

    answer = await client.post(
        "/api/registry.testRegistry", json={**AD_HOC, "serverId": created["serverId"]}
    )

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (412, "server_offline")
    assert answer.json()["message"] == "the server new has not been online yet"
    assert database.execute("SELECT * FROM job") == []


async def test_a_server_that_went_away_is_offline_since_then(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    database.execute("UPDATE server SET seen_at = now() - interval '16 seconds'")

    by_id = await client.post(
        "/api/registry.testRegistry", json={**AD_HOC, "serverId": server.server_id}
    )
    by_choice = await client.post("/api/registry.testRegistry", json=AD_HOC)

    assert "since 20" in by_id.json()["message"]
    assert by_choice.json()["data"]["cause"]["code"] == "no_server"


async def test_a_caller_that_prefers_not_to_wait_gets_the_job(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    headers = {"prefer": "handling=lenient, respond-async"}

    plain = await client.post("/api/registry.testRegistry", json=AD_HOC, headers=headers)
    strict = await client.post(
        "/api/trpc/registry.testRegistry", json={"json": AD_HOC}, headers=headers
    )

    assert (plain.status_code, list(plain.json())) == (202, ["jobId"])
    assert strict.status_code == 202
    assert list(strict.json()["result"]["data"]["json"]) == ["jobId"]


async def test_a_caller_that_goes_away_cancels_its_test(
    client: httpx2.AsyncClient, app: Starlette, server: TestServer, database: Database
) -> None:
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/registry.testRegistry",
        "query_string": b"",
        "headers": [
            (b"x-api-key", client.headers["x-api-key"].encode()),
            (b"content-type", b"application/json"),
        ],
    }

    async def send(message: Any) -> None:
        sent.append(message)

    body = httpx2.Request("POST", "http://x", json=AD_HOC).content
    await messages.put({"type": "http.request", "body": body, "more_body": False})
    serving = asyncio.create_task(app(scope, messages.get, send))
    job = await server.next_job()
    await messages.put({"type": "http.disconnect"})
    await serving

    assert database.execute(
        "SELECT cancel_requested_at IS NOT NULL FROM job WHERE job_id = %s", job.job_id
    ) == [(True,)]
    await server.finish(job, "cancelled")
    assert database.execute("SELECT state FROM job") == [("cancelled",)]


async def test_tests_are_audited(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    await asyncio.gather(
        client.post("/api/registry.testRegistry", json=AD_HOC), server.succeed_next(good_report())
    )

    assert database.execute(
        "SELECT data->>'host', data->>'server' FROM audit_event WHERE action = 'registry.test'"
    ) == [("ghcr.io", server.server_id)]
