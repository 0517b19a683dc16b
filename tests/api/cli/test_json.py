"""``--json`` of every command is the API's answer, as the OpenAPI document has it."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from starlette.applications import Starlette

from api.cli.command import Shown
from api.http.openapi.document import make_document
from api.routers import PROCEDURES
from tests.api.cli.registered import leaves
from tests.api.cli.running import Ran, run
from tests.api.cli.working import working
from tests.api.deploying import DIGEST
from tests.api.events.reading import serving
from tests.api.field_probes import SCANNED
from tests.api.fleet import TestServer
from tests.api.scene import Scene, open_scene
from tests.databases import Database

DOCTOR = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "isGood", "found", "remedy"],
        "additionalProperties": False,
        "properties": {
            **{key: {"type": "string"} for key in ("name", "found", "remedy")},
            "isGood": {"type": "boolean"},
        },
    },
}


@dataclass(frozen=True)
class Case:
    """Words after the command; ``instead``: the answer is that of the other procedure."""

    words: str = ""
    instead: bool = False
    text: str = ""


FROM, TO = "ghcr.io/myorg/app:1", "--to $registry"
CASES = {
    "whoami": [Case()],
    "registry list": [Case()],
    "registry show": [Case("$registry")],
    "registry create": [Case("new quay.io --username bob --password-stdin", text="x")],
    "registry update": [Case("$registry --rotate-after-days 3")],
    "registry test": [Case("$registry")],
    "registry matrix": [Case(), Case("--test --registry $registry --server $server", instead=True)],
    "registry cancel": [Case("$testing")],
    "registry rollback": [Case("$kept_login")],
    "registry remove": [Case("new --yes")],
    "server list": [Case()],
    "server show": [Case("alpha")],
    "server create": [Case("one"), Case("one --renew", instead=True)],
    "server add": [Case("two"), Case("two --renew", instead=True)],
    "server update": [Case("one --name three")],
    "server pause": [Case("three")],
    "server drain": [Case("three")],
    "server resume": [Case("three")],
    "server check": [Case("three"), Case("alpha --path", instead=True)],
    "server remove": [Case("three --yes")],
    "app list": [Case()],
    "app show": [Case("kept")],
    "app create": [Case("fresh --image ghcr.io/a/b:1")],
    "app update": [Case("fresh --replicas 1")],
    "app upload": [Case("$application -", text="a tar")],
    "app stop": [Case("kept"), Case("kept --wait", instead=True)],
    "app start": [Case("kept"), Case("kept --wait", instead=True)],
    "app restart": [Case("kept"), Case("kept --wait", instead=True)],
    "app logs": [Case("kept")],
    "app remove": [Case("fresh --yes")],
    "image push": [Case(f"a:1 {TO}"), Case(f"a:1 {TO} --wait", instead=True)],
    "image pull": [Case(FROM), Case(f"{FROM} --wait", instead=True)],
    "image copy": [Case(f"quay.io/a/b:1 {TO}"), Case(f"quay.io/a/b:1 {TO} --wait", instead=True)],
    "image tag": [Case("a:1 a:2")],
    "image ls": [Case("$registry"), Case("$registry myorg/app", instead=True)],
    "image inspect": [Case(FROM)],
    "image sign": [Case(f"ghcr.io/myorg/my-app@{DIGEST} {TO} --with $signing")],
    "image verify": [Case(FROM)],
    "compose pull": [Case("$compose_file"), Case("$compose_file --wait", instead=True)],
    "job list": [Case()],
    "job show": [Case("$job")],
    "job watch": [Case("$job")],
    "job logs": [Case("$job")],
    "job cancel": [Case("$queued")],
    "job retry": [Case("$cancelled_pull"), Case("$cancelled_pull --wait", instead=True)],
    "build": [Case("kept"), Case("kept --wait", instead=True)],
    "builds list": [Case("kept")],
    "builds show": [Case("$build")],
    "builds cancel": [Case("$new_build")],
    "deploy": [Case("kept --build $build"), Case("kept --build $build --wait", instead=True)],
    "deployments list": [Case("kept"), Case(), Case("--server alpha")],
    "deployments show": [Case("$deployment")],
    "deployments logs": [Case("$deployment")],
    "deployments cancel": [Case("$new_deployment")],
    "rollback": [Case("kept --to $point"), Case("kept --to $point --wait", instead=True)],
    "rollbacks list": [Case("kept"), Case("kept --verify", instead=True)],
    "rollbacks remove": [Case("kept $point --yes")],
    "sbom search": [Case("openssl --below 4")],
    "sbom packages": [Case(SCANNED)],
    "deploy-hook create": [Case("image")],
    "deploy-hook list": [Case("image")],
    "deploy-hook remove": [Case("image $hook --yes")],
    "deploy-key": [Case("$ssh_application"), Case("$ssh_application --show", instead=True)],
    "host-key": [Case("$ssh_application SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU")],
    "webhook list": [Case()],
    "webhook show": [Case("$webhook")],
    "webhook create": [Case("https://b.example/")],
    "webhook update": [Case("https://b.example/ --disable")],
    "webhook deliveries": [Case("$subscribed")],
    "webhook redeliver": [Case("$subscribed $delivery")],
    "webhook remove": [Case("https://b.example/ --yes")],
    "key list": [Case()],
    "key create": [Case("pipeline")],
    "key remove": [Case("pipeline --yes")],
    "signing-key list": [Case()],
    "signing-key show": [Case("$signing")],
    "signing-key create": [Case("made")],
    "signing-key retire": [Case("made")],
    "signing-key remove": [Case("made --yes")],
    "policy show": [Case(), Case("--app kept")],
    "policy set": [Case("--app kept --mode off --base-registry ghcr.io")],
    "user list": [Case()],
    "user invite": [Case("a@b.example")],
    "user invitations": [Case()],
    "user uninvite": [Case("a@b.example --yes")],
    "audit list": [Case()],
    "organization show": [Case()],
    "quota": [Case()],
    "organization update": [Case("--rotate-after-days 30")],
    "resume": [Case(), Case("--list", instead=True)],
    "doctor": [Case()],
}
CANCELLING = [name for name in CASES if name.endswith(" cancel")]
MAY_FAIL = ("doctor", "server check three")
"""Commands that exit with 1 if they find a fault, and show it."""

ELSEWHERE = {"registry rotate", "user update", "user limit", "user remove", "user reset"}
"""Their tests are beside those of their nouns: they need a worker, or people, of their own."""


@pytest.fixture
async def scene(
    client: httpx2.AsyncClient, database: Database, server: TestServer, tmp_path: Path
) -> AsyncIterator[Scene]:
    async with open_scene(client, database, server) as scene:
        for name in ("testing", "kept_login", "ssh_application", "new_build", "new_deployment"):
            await scene.make(name)
        await scene.make("hook")
        await scene.make("cancelled_pull")
        (tmp_path / "compose.yaml").write_text("services: {web: {image: 'ghcr.io/a/web:1'}}\n")
        scene.names["compose_file"] = str(tmp_path / "compose.yaml")
        for state, name in (("succeeded", "job"), ("queued", "queued")):
            page = (await client.get("/api/job.all", params={"state": state})).json()
            scene.names[name] = page["jobs"][0]["jobId"]
        yield scene


def shown_by_command() -> dict[str, Shown]:
    found = {name: getattr(command.callback, "shown", None) for name, command in leaves()}
    return {name: shown for name, shown in found.items() if shown is not None}


def schema_of(document: dict[str, Any], shown: Shown, *, instead: bool) -> dict[str, Any]:
    procedure = shown.instead if instead else shown.procedure
    if procedure == "wharf doctor":
        return DOCTOR
    [operation] = document["paths"][f"/api/{procedure}"].values()
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    if instead and shown.many:
        schema = {"type": "array", "items": schema}
    return {**schema, "components": document["components"]}


def test_every_command_that_shows_something_has_a_case() -> None:
    assert set(CASES) | ELSEWHERE == set(shown_by_command())
    for name, shown in shown_by_command().items():
        if name not in ELSEWHERE:
            assert any(case.instead for case in CASES[name]) == (shown.instead is not None), name


def test_every_command_with_json_has_quiet() -> None:
    for name, command in leaves():
        options = {parameter.name for parameter in command.params}
        assert ("as_json" in options) == ("quiet" in options) == (name in shown_by_command()), name


@pytest.mark.timeout(600)
async def test_every_answer_has_the_schema_of_its_procedure(
    app: Starlette, server: TestServer, scene: Scene
) -> None:
    document, shown = make_document(PROCEDURES.values()), shown_by_command()
    wrong: list[str] = []

    async def try_all(url: str, names: list[str]) -> None:
        for name in names:
            for case in CASES[name]:
                words = scene.filled(case.words.split())
                ran = await run(url, *name.split(), *words, "--json", text=case.text)
                schema = schema_of(document, shown[name], instead=case.instead)
                wrong.extend(faults(f"{name} {case.words}", ran, schema))

    async with serving(app) as (_, url):
        # What is cancelled must not have ended before.
        await try_all(url, CANCELLING)
        async with working(server):
            await try_all(url, [name for name in CASES if name not in CANCELLING])

    assert not wrong, "\n".join(wrong)


def faults(words: str, ran: Ran, schema: dict[str, Any]) -> Iterator[str]:
    if ran.code != 0 and not words.startswith(MAY_FAIL):
        yield f"{words} ended with {ran.code}: {ran.err}"
        return
    validator = jsonschema_rs.Draft202012Validator(schema)
    for error in validator.iter_errors(json.loads(ran.out)):
        yield f"{words}: {error.message} at {error.instance_path}"


async def test_quiet_writes_ids_alone(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer
) -> None:
    async with serving(app) as (_, url):
        listed = await run(url, "server", "list", "--quiet")
        made = await run(url, "webhook", "create", "https://a.example/", "-q")
        both = await run(url, "server", "list", "--quiet", "--json")

    [webhook] = (await client.get("/api/webhook.all")).json()
    assert listed == Ran(0, f"{server.server_id}\n", "")
    assert made == Ran(0, f"{webhook['webhookId']}\n", "The secret is shown only once.\n")
    assert (both.code, both.out) == (2, "")
