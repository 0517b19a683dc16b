"""A password goes through everything that the product does with one, and is found nowhere."""

import base64
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.fakes.web import open_fake
from tests.journeys.canary import (
    broker_keys,
    files,
    leaks,
    record_traffic,
    spellings,
    tables,
)
from tests.journeys.conftest import Port
from tests.serving import open_loop, serving
from worker.local.images import make_image
from worker.local.processes import free_port
from worker.local.registry import LocalRegistry

USER = "porter"


async def echo(request: web.Request) -> web.StreamResponse:
    """A registry that repeats what it received: the header, and the password in clear."""
    proof = request.headers.get("Authorization")
    headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
    if proof is None:
        challenge = {"WWW-Authenticate": 'Basic realm="echo"'}
        return web.json_response({"errors": []}, status=401, headers=headers | challenge)
    echoed = base64.b64decode(proof.removeprefix("Basic ")).decode()
    if request.path == "/v2/":
        return web.json_response({}, headers=headers | {"X-Echo": echoed})
    errors = [{"code": "DENIED", "message": f"{proof} {echoed}", "detail": echoed}]
    return web.json_response({"errors": errors}, status=403, headers=headers)


@dataclass
class Caller:
    """Asks the API with the admin key and keeps every answer."""

    port: Port
    password: str
    answers: dict[str, bytes] = field(default_factory=dict)

    def ask(self, procedure: str, body: Mapping[str, Any]) -> Any:
        answer = httpx2.post(
            f"{self.port.stack.url}/api/trpc/{procedure}",
            json=dict(body),
            headers={"x-api-key": self.port.stack.admin_key},
            timeout=60,
        )
        self.answers[f"{procedure} #{len(self.answers)}"] = answer.content
        return answer.json()

    def login(self, host: str, **changes: str) -> dict[str, Any]:
        return {
            "registryUrl": host,
            "username": USER,
            "password": self.password,
            "imagePrefix": "team",
            "plainHttp": True,
            **changes,
        }

    def test(self, host: str, **changes: str) -> None:
        """By both procedures, on both servers."""
        for server in self.port.servers:
            place = {"serverId": server.server_id}
            for procedure in ("registry.testRegistry", "registry.diagnose"):
                self.ask(procedure, self.login(host, **changes) | place)

    def create(self, host: str) -> str:
        body = self.login(host) | {"registryName": host}
        return str(self.ask("registry.create", body)["registryId"])

    def push(self, registry_id: str, image: str) -> dict[str, Any]:
        """The ended job."""
        body = {
            "registryId": registry_id,
            "serverId": self.port.servers[0].server_id,
            "image": image,
        }
        return self.ended(str(self.ask("image.push", body)["jobId"]))

    def pull(self, registry_id: str, image: str) -> dict[str, Any]:
        body = {
            "registryId": registry_id,
            "serverId": self.port.servers[1].server_id,
            "image": image,
        }
        return self.ended(str(self.ask("image.pull", body)["jobId"]))

    def ended(self, job_id: str) -> dict[str, Any]:
        self.port.jobs.ended(job_id)
        job: dict[str, Any] = self.ask("job.one", {"jobId": job_id})
        return job


@pytest.fixture
def caller(port: Port) -> Caller:
    return Caller(port, f"kanarie{secrets.token_hex(16)}")


@pytest.fixture
def registry(port: Port, caller: Caller, tmp_path: Path) -> Iterator[LocalRegistry]:
    registry = LocalRegistry.start(
        tmp_path, address=port.fleet.address, users={USER: caller.password}, bcrypt_rounds=5
    )
    yield registry
    registry.stop()


def test_a_canary_password_is_found_nowhere(
    port: Port, caller: Caller, registry: LocalRegistry
) -> None:
    stack = port.stack
    assert stack.valkey is not None and stack.postgres is not None
    flower = port.stack.start_flower()
    with record_traffic(stack.valkey) as heard:
        job_ids = use_everywhere(caller, registry)
        shown = flower_shows(flower, port, job_ids)

    places = {
        "broker, overheard": bytes(heard.broker),
        "command lines": b"\n".join(heard.command_lines),
        **broker_keys(stack.valkey),
        **tables(stack.postgres),
        **shown,
        **caller.answers,
    }
    known = spellings(caller.password, USER)
    logs = [path for host in port.fleet.hosts for path in port.directory.glob(f"{host.name}/*.log")]
    assert leaks(places.items(), known) == []
    assert leaks(files(stack.directory.path), known) == []
    assert leaks(((str(path), path.read_bytes()) for path in logs), known) == []
    assert leaks(files(Path.home() / ".docker"), known) == []
    # What was looked at is what it should be.
    for job_id in job_ids:
        assert job_id.encode() in places["broker, overheard"]
        assert job_id.encode() in places["job_event"]
        assert leaks(shown.items(), {job_id.encode()})
        assert leaks(files(stack.directory.path / "logs"), {job_id.encode()})
    assert b"worker.server.app" in places["command lines"]
    assert leaks([("", base64.b64encode(f'{{"password": "{caller.password}"'.encode()))], known)


def test_a_registry_that_repeats_a_password_aloud_is_not_repeated(
    port: Port, caller: Caller
) -> None:
    make_image(port.fleet.hosts[0].docker_host, "team/canary:1")
    with (
        open_loop() as loop,
        serving(loop, open_fake(echo, listen=port.fleet.address)) as echoed,
    ):
        caller.test(echoed.host)
        job = caller.push(caller.create(echoed.host), "team/canary:1")

    assert echoed.authorizations
    assert job["state"] == "failed"
    assert port.stack.postgres is not None
    known = spellings(caller.password, USER)
    assert leaks(caller.answers.items(), known) == []
    assert leaks(tables(port.stack.postgres).items(), known) == []
    # The Engine's own log is Docker's matter: it does repeat what registries say.
    assert leaks(files(port.stack.directory.path), known) == []


def use_everywhere(caller: Caller, registry: LocalRegistry) -> list[str]:
    """Tests, pushes and pulls that succeed, and all the ways in which they fail."""
    port = caller.port
    make_image(port.fleet.hosts[0].docker_host, "team/canary:1")
    nobody = f"{port.fleet.address}:{free_port(port.fleet.address)}"
    stored, dead = caller.create(registry.host), caller.create(nobody)
    pushed = caller.push(stored, "team/canary:1")
    jobs = [
        pushed,
        caller.pull(stored, f"{registry.host}/team/canary:1"),
        caller.push(stored, "team/no-such-image:1"),
        caller.pull(stored, f"{registry.host}/team/no-such-image:1"),
        caller.push(dead, "team/canary:1"),
    ]
    assert [job["state"] for job in jobs] == ["succeeded"] * 2 + ["failed"] * 3
    caller.test(registry.host)
    caller.test(registry.host, username="stranger")
    caller.test(nobody)
    caller.ask("registry.testRegistryById", {"registryId": stored})
    caller.ask("registry.create", caller.login("not a host", registryName="bad"))
    caller.ask("registry.create", caller.login(registry.host, registryName="bad", passwort="x"))
    caller.ask("registry.update", {"registryId": stored, "password": caller.password})
    return [job["jobId"] for job in jobs]


def flower_shows(url: str, port: Port, job_ids: list[str]) -> dict[str, bytes]:
    """Return what Flower's API and pages show once it knows every job."""
    password = (port.stack.directory.path / "keys" / "flower.password").read_text()
    login = ("admin", password)

    def read(path: str) -> bytes:
        return httpx2.get(f"{url}{path}", auth=login).content

    until = time.monotonic() + 10
    while not all(job_id.encode() in read("/api/tasks") for job_id in job_ids):
        assert time.monotonic() < until, "Flower does not hear of the jobs"
        time.sleep(0.1)
    paths = ["/api/tasks", "/api/workers", "/metrics", "/tasks", "/workers"]
    paths += [f"/api/task/info/{job_id}.1" for job_id in job_ids]
    paths += [f"/task/{job_id}.1" for job_id in job_ids]
    return {path: read(path) for path in paths}
