"""Clients that others wrote: the seed's requests by curl, tRPC's own client, Dokploy's own CLI.

And a client that is generated from the OpenAPI document, which Spectral reads first.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from api.http.openapi.document import make_document
from api.routers import PROCEDURES
from tests.journeys.conftest import PASSWORD, Port, environment, run
from tests.journeys.deployments.test_deployments import dockerfile
from tests.journeys.test_builds import serve
from tests.worker.engine.contexts import make_base
from tests.worker.local.conditions import wait_until

NPX = ("npx", "--no-install")
DOKPLOY = (*NPX, "dokploy")


def test_the_openapi_document_keeps_the_rules_of_spectral(node_modules: Path) -> None:
    document = make_document(PROCEDURES.values())
    (node_modules / "openapi.json").write_text(json.dumps(document))

    rules = ("--ruleset", "spectral.yaml", "--fail-severity", "hint")
    run([*NPX, "spectral", "lint", "openapi.json", *rules], node_modules, {})


def test_a_generated_typescript_client_creates_lists_and_gets_typed_errors(
    port: Port, node_modules: Path
) -> None:
    document = f"{port.stack.url}/openapi.json"
    options = ("--output", "schema.ts", "--default-non-nullable=false")
    run([*NPX, "openapi-typescript", document, *options], node_modules, {})
    run([*NPX, "tsc", *TYPESCRIPT, "openapi.ts"], node_modules, {})

    seen = json.loads(run(["node", "openapi.js"], node_modules, environment(port)))

    assert seen["one"] == seen["removed"] == seen["created"]
    assert seen["created"]["registryId"] in seen["listed"]
    assert (seen["status"], seen["code"]) == (400, "password_needed")
    assert (seen["started"], list(seen["accepted"])) == (202, ["jobId"])


@pytest.mark.parametrize("link", ["batched", "single", "streamed"])
def test_a_stock_trpc_client_lists_creates_tests_and_gets_typed_errors(
    port: Port, node_modules: Path, link: str
) -> None:
    seen = json.loads(run(["node", "trpc.mjs"], node_modules, environment(port)))[link]

    lives = [seen[name].pop("login")["state"] for name in ("created", "one", "removed")]
    assert lives == ["untested", "untested", "accepted"]
    assert seen["one"] == seen["created"]
    assert seen["removed"] == seen["created"] | {"registryName": "renamed"}
    assert "password" not in seen["created"]
    assert seen["tested"] is True
    assert seen["updated"] is True
    assert seen["wrong"]["isClientError"]
    assert seen["wrong"]["data"]["httpStatus"] == 400
    assert seen["wrong"]["data"]["cause"]["code"] == "auth_bad_credentials"
    assert seen["missing"]["data"]["code"] == "NOT_FOUND"
    assert "registryName" in seen["invalid"]["data"]["zodError"]["fieldErrors"]


def test_a_stock_trpc_client_follows_a_job_to_its_end(port: Port, node_modules: Path) -> None:
    seen = json.loads(run(["node", "trpc.mjs"], node_modules, environment(port)))

    events = [each for each in seen["followed"] if each["kind"] != "snapshot"]
    assert [int(each["id"]) for each in events] == [*range(1, len(events) + 1)]
    assert events[-1]["state"] in {"succeeded", "failed"}
    assert seen["unknown"]["data"]["code"] == "NOT_FOUND"


def test_the_seed_s_complete_workflow_runs_the_image_that_it_pushed(
    port: Port, node_modules: Path, tmp_path: Path
) -> None:
    make_base(port.fleet.hosts[0].docker_host)
    repository = serve(port, tmp_path / "git", dockerfile("one", "well"))
    config = {
        "appName": "my-app",
        "customGitUrl": repository.url,
        "buildServerId": port.servers[0].server_id,
        "serverIds": [server.server_id for server in port.servers],
    }

    seen = json.loads(
        run(
            ["node", "seed.mjs"],
            node_modules,
            environment(port) | {"OTHER_CONFIG": json.dumps(config)},
        )
    )

    assert seen["tested"] is True
    chosen = {"deploymentId": seen["deployment"]["deploymentId"]}
    wait_until(partial(has_ended, port, chosen), seconds=60)
    shown = port.stack.call("deployment.one", chosen)
    repository.stop()
    assert (shown["state"], shown["error"]) == ("succeeded", None)
    assert shown["reference"] == f"{port.registry.host}/mycompany/my-app@{shown['digest']}"
    for host in port.fleet.hosts:
        assert running(host.docker_host, "my-app") == shown["reference"]
        docker(host.docker_host, "rm", "--force", "my-app")
    application = {"applicationId": seen["application"]["applicationId"]}
    port.stack.call("application.remove", application)
    port.stack.call("registry.remove", {"registryId": seen["registry"]["registryId"]})


def has_ended(port: Port, chosen: dict[str, str]) -> bool:
    return port.stack.call("deployment.one", chosen)["finishedAt"] is not None


def running(docker_host: str, name: str) -> str:
    """The image of a running container by the digest that its Engine has for it."""
    state = docker(docker_host, "inspect", "--format", "{{.State.Running}} {{.Image}}", name)
    is_running, _, image_id = state.strip().partition(" ")
    assert is_running == "true"
    return docker(docker_host, "inspect", "--format", "{{index .RepoDigests 0}}", image_id).strip()


def docker(docker_host: str, *words: str) -> str:
    return run(["docker", *words], Path.cwd(), {"DOCKER_HOST": docker_host})


def test_dokploy_s_own_cli_manages_registries(port: Port, node_modules: Path) -> None:
    def cli(*words: str) -> Any:
        text = run(
            [*DOKPLOY, "registry", *words, "--json"],
            node_modules,
            environment(port),
        )
        return json.loads(text)

    login = [
        *("--username", "porter", "--password", PASSWORD),
        *("--registryUrl", f"http://{port.registry.host}"),
        *("--registryType", "cloud", "--imagePrefix", "team"),
    ]
    verified = run(
        [*DOKPLOY, "auth", "-u", port.stack.url, "-t", port.stack.admin_key],
        node_modules,
        {},
    )
    created = cli("create", "--registryName", "by CLI", *login)
    chosen = ["--registryId", created["registryId"]]

    assert "Authenticated successfully" in verified
    assert created["registryId"] in [row["registryId"] for row in cli("all")]
    assert cli("one", *chosen) == created
    assert cli("test-registry", *login) is True
    assert cli("test-registry-by-id", *chosen) is True
    assert cli("update", *chosen, "--registryName", "renamed") is True
    assert cli("one", *chosen)["registryName"] == "renamed"
    assert cli("remove", *chosen)["registryId"] == created["registryId"]
    assert created["registryId"] not in [row["registryId"] for row in cli("all")]


def test_every_curl_of_the_seed_works_as_pasted(port: Port, tmp_path: Path) -> None:
    def curl(*words: str) -> Any:
        head = ["-H", f"x-api-key: {port.stack.admin_key}"]
        return json.loads(run(["curl", "-sS", *words, *head], tmp_path, {}))

    def post(procedure: str, body: dict[str, str]) -> Any:
        data = ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        return curl("-X", "POST", f"{port.stack.url}/api/trpc/{procedure}", *data)

    made = [post("registry.create", example) for example in SEED_CREATES]
    rows = curl(f"{port.stack.url}/api/trpc/registry.all")
    chosen = {"registryId": made[0]["registryId"]}
    one = curl(
        f"{port.stack.url}/api/trpc/registry.one",
        *("-H", "Content-Type: application/json", "-d", json.dumps(chosen)),
    )
    changed = post(
        "registry.update",
        chosen
        | {
            "registryName": "Docker Hub Production",
            "username": "newusername",
            "password": "newpassword",
        },
    )
    test = {"registryUrl": port.registry.host, "username": "porter", "password": PASSWORD}
    tested = post("registry.testRegistry", test | {"registryType": "cloud"})
    chosen_server = post("registry.testRegistry", test | {"serverId": port.servers[1].server_id})
    by_id = post("registry.testRegistryById", {"registryId": port.registry_id})
    removed = [
        post("registry.remove", {"registryId": row["registryId"]})["registryId"] for row in made
    ]

    assert set(one) >= {*SEED_FIELDS, "allowedServers", "provider", "passwordDueAt"}
    assert one == next(row for row in rows if row["registryId"] == chosen["registryId"])
    assert [row["registryUrl"] for row in made] == [row["registryUrl"] for row in SEED_CREATES]
    assert changed is True
    assert tested is chosen_server is by_id is True
    assert removed == [row["registryId"] for row in made]


TYPESCRIPT = (
    *("--strict", "--skipLibCheck", "--module", "nodenext"),
    *("--target", "es2022", "--lib", "es2022,dom"),
)
SEED_FIELDS = [
    *("registryId", "registryName", "registryUrl", "username", "imagePrefix"),
    *("registryType", "createdAt", "organizationId"),
]
HUB = {
    "registryName": "Docker Hub",
    "registryUrl": "https://index.docker.io/v1/",
    "username": "dockerhubuser",
    "password": "dockerhub-token",
    "registryType": "cloud",
    "imagePrefix": "mycompany/",
}
GHCR = {
    "registryName": "GitHub Container Registry",
    "registryUrl": "ghcr.io",
    "username": "github-username",
    "password": "ghp_xxxxxxxxxxxxxxxxxxxx",
    "registryType": "cloud",
    "imagePrefix": "ghcr.io/myorg/",
}
ECR = {
    "registryName": "AWS ECR",
    "registryUrl": "123456789.dkr.ecr.us-east-1.amazonaws.com",
    "username": "AWS",
    "password": "<ecr-token>",
    "registryType": "cloud",
    "imagePrefix": "123456789.dkr.ecr.us-east-1.amazonaws.com/",
}
GCR = {
    "registryName": "Google Container Registry",
    "registryUrl": "gcr.io",
    "username": "_json_key",
    "password": "<service-account-json>",
    "registryType": "cloud",
    "imagePrefix": "gcr.io/my-project/",
}
ACR = {
    "registryName": "Azure Container Registry",
    "registryUrl": "myregistry.azurecr.io",
    "username": "myregistry",
    "password": "<acr-password>",
    "registryType": "cloud",
}
SELF_HOSTED = {
    "registryName": "Self-Hosted Registry",
    "registryUrl": "registry.example.com:5000",
    "username": "admin",
    "password": "registry-password",
    "registryType": "selfHosted",
}
SEED_CREATES = [HUB, GHCR, ECR, GCR, ACR, SELF_HOSTED]
