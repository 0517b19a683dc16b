"""A client that somebody generates of /openapi.json changes what it names, and nothing else."""

import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import httpx2
import pytest
from starlette.applications import Starlette

from api.fields.shapes import Change
from api.http.openapi.document import make_document
from api.http.openapi.examples import EXAMPLES
from api.routers import PROCEDURES
from tests.api.asking import ADMIN_KEY, create_application, create_registry, show_application
from tests.api.events.reading import serving
from tests.api.fleet import TestServer

NAME = "wharf_generated"
WARNING = re.compile("Unsupported content type|duplicate|omitted|Unable to parse")


@dataclass(frozen=True)
class Generated:
    """The client's package, and what its generator complained of."""

    complaints: list[str]

    def operation(self, procedure: str) -> ModuleType:
        router, _, verb = procedure.partition(".")
        return importlib.import_module(
            f"{NAME}.api.{_snake(router)}.{_snake(router)}_{_snake(verb)}"
        )

    def body(self, procedure: str) -> Any:
        """The type of the operation's body, which may be left out if no field is required."""
        function = self.operation(procedure).sync_detailed
        annotation = inspect.signature(function).parameters["body"].annotation
        return next(iter(get_args(annotation)), annotation)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    folder = tmp_path_factory.mktemp("generated")
    document = make_document(PROCEDURES.values())
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "config.yaml").write_text("post_hooks: []\n")
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("openapi-python-client")), "generate"),
            *("--path", str(folder / "openapi.json"), "--config", str(folder / "config.yaml")),
            *("--meta", "none", "--output-path", str(folder / NAME)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    try:
        message = (done.stdout + done.stderr).splitlines()
        yield Generated([line for line in message if WARNING.search(line)])
    finally:
        sys.path.remove(str(folder))


CHANGES: dict[str, dict[str, Any]] = {
    "registry.update": {"registryName": "renamed"},
    "server.update": {"description": "renamed"},
    "webhook.update": {"enabled": False},
    "application.update": {"name": "renamed"},
    "application.saveBuildType": {"buildType": "dockerfile", "dockerBuildStage": "other"},
    "application.saveEnvironment": {"buildArgs": "C=4"},
    "application.saveGitProvider": {
        "customGitUrl": "https://git.example/a.git",
        "customGitBranch": "other",
    },
    "application.saveDockerProvider": {"dockerImage": "ghcr.io/a/b:2"},
    "organization.updateSettings": {"rotateAfterDays": 30},
}
"""One change of everything that can be updated, with what the procedure needs besides."""

RUN = {
    "description": "the shop",
    "runtime": "service",
    "replicas": 3,
    "rollbackActive": True,
    "rollbacksToKeep": 25,
    "latestWins": False,
    "rolloutBatch": 2,
    "rolloutOnFailure": "rollback",
    "healthCheck": {"command": ["true"], "retries": 7},
    "ports": [{"publishedPort": 80, "targetPort": 8080, "publishMode": "host"}],
    "mounts": [{"type": "volume", "mountPath": "/data", "volumeName": "data", "readOnly": True}],
}


def test_the_whole_document_becomes_a_typed_client(generated: Generated) -> None:
    tars = [
        "Unsupported content type application/x-tar",
        "Unsupported content type application/gzip",
    ]
    assert generated.complaints == tars


def test_no_update_has_a_default_in_its_schema() -> None:
    document = make_document(PROCEDURES.values())
    updates = {name for name, each in PROCEDURES.items() if issubclass(each.input, Change)}

    found = [name for name in updates if '"default"' in json.dumps(_body_schema(document, name))]

    assert updates == set(CHANGES)
    assert found == []


@pytest.mark.parametrize("procedure", sorted(CHANGES))
def test_a_generated_update_sends_what_it_was_given_and_no_more(
    generated: Generated, procedure: str
) -> None:
    document = make_document(PROCEDURES.values())
    needed = _body_schema(document, procedure).get("required", [])

    given = {_snake(name): "dockerfile" if name == "buildType" else "x" for name in needed}
    body = generated.body(procedure)(**given)

    assert set(body.to_dict()) == set(needed)


async def test_a_generated_client_creates_lists_and_gets_errors_with_their_codes(
    generated: Generated, app: Starlette
) -> None:
    package = importlib.import_module(NAME)
    models = importlib.import_module(f"{NAME}.models")
    async with serving(app) as (_, url), _open(package, url) as theirs:

        async def call(procedure: str, **arguments: Any) -> Any:
            return await generated.operation(procedure).asyncio(client=theirs, **arguments)

        login = EXAMPLES["registry.create"].request
        created = await call("registry.create", body=models.RegistryCreateInput.from_dict(login))
        listed = await call("registry.all")
        chosen = {"registryId": created.registry_id}
        change = {**chosen, "username": "somebody else"}
        refused = await call("registry.update", body=models.RegistryUpdateInput.from_dict(change))

    assert isinstance(created, models.CreatedRegistry)
    assert [each.registry_id for each in listed] == [created.registry_id]
    assert isinstance(refused, models.Error)
    assert refused.data.cause.code == "password_needed"
    assert refused.data.http_status == 400


async def test_one_change_leaves_all_else_as_it_was(
    generated: Generated, app: Starlette, client: httpx2.AsyncClient, server: TestServer
) -> None:
    chosen = await _make_all(client, server)
    package = importlib.import_module(NAME)
    wrong: dict[str, Any] = {}
    async with serving(app) as (_, url), _open(package, url) as theirs:
        for procedure, change in CHANGES.items():
            before = await _show(client, chosen[procedure])
            requested = {_snake(key): part for key, part in (chosen[procedure] | change).items()}
            body = generated.body(procedure)(**requested)
            answer = await generated.operation(procedure).asyncio_detailed(client=theirs, body=body)
            assert answer.status_code == 200, answer.content
            after = await _show(client, chosen[procedure])
            changed = {key for key in before if before[key] != after[key]}
            if changed != set(change) - {"buildType", "customGitUrl"}:
                wrong[procedure] = {key: (before[key], after[key]) for key in changed}

    assert wrong == {}


def _open(package: ModuleType, url: str) -> Any:
    """A generated client with the admin key."""
    return package.AuthenticatedClient(
        base_url=url, token=ADMIN_KEY, prefix="", auth_header_name="x-api-key"
    )


def _body_schema(document: dict[str, Any], procedure: str) -> dict[str, Any]:
    content = document["paths"][f"/api/{procedure}"]["post"]["requestBody"]["content"]
    reference: str = content["application/json"]["schema"]["$ref"]
    schema: dict[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return schema


async def _make_all(client: httpx2.AsyncClient, server: TestServer) -> dict[str, dict[str, str]]:
    """One of each, with nothing at its default; gives what each procedure chooses it by."""
    registry = await create_registry(client)
    registry_id = registry["registryId"]
    git = await create_application(
        client,
        **RUN,
        registryId=registry_id,
        buildRegistryId=registry_id,
        rollbackRegistryId=registry_id,
        buildServerId=server.server_id,
        serverIds=[server.server_id],
        platform="linux/amd64",
    )
    chosen = {"applicationId": git["applicationId"]}
    await _save(
        client,
        "saveGitProvider",
        **chosen,
        customGitUrl="https://git.example/a.git",
        customGitBranch="main",
        customGitBuildPath="/below",
        customGitUsername="me",
        customGitToken="secret",
    )
    way = {"dockerfile": "Other", "dockerContextPath": "below", "dockerBuildStage": "release"}
    await _save(client, "saveBuildType", **chosen, buildType="dockerfile", **way)
    await _save(client, "saveEnvironment", **chosen, env="A=1", buildArgs="C=3", buildSecrets="B=2")
    image = await create_application(client, dockerImage="ghcr.io/a/b:1", registryId=registry_id)
    update = {"serverId": server.server_id, "description": "first", "roles": ["build"]}
    assert (await client.post("/api/server.update", json=update)).status_code == 200
    hook = {"url": "https://a.example/hook", "events": ["build.ended"]}
    webhook = (await client.post("/api/webhook.create", json=hook)).json()
    of_image = {"applicationId": image["applicationId"]}
    return {
        "registry.update": {"registryId": registry_id},
        "server.update": {"serverId": server.server_id},
        "webhook.update": {"webhookId": webhook["webhookId"]},
        **{name: chosen for name in CHANGES if name.startswith("application.")},
        "application.saveDockerProvider": of_image,
        "organization.updateSettings": {},
    }


async def _save(client: httpx2.AsyncClient, verb: str, **body: Any) -> None:
    answer = await client.post(f"/api/application.{verb}", json=body)
    assert answer.json() is True, answer.text


async def _show(client: httpx2.AsyncClient, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Return a chosen object, or the settings of the organization; without what moves by itself."""
    if not chosen:
        settings: dict[str, Any] = (await client.get("/api/organization.settings")).json()
        return settings
    [(name, value)] = chosen.items()
    if name == "applicationId":
        return await show_application(client, value)
    answer = await client.get(f"/api/{name.removesuffix('Id')}.one", params={name: value})
    moving = {"seenAt", "clockAheadSeconds", "disabledAt"}
    return {key: part for key, part in answer.json().items() if key not in moving}


def _snake(name: str) -> str:
    return re.sub("([A-Z])", lambda found: f"_{found[0].lower()}", name)
