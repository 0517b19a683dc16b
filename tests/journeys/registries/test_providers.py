"""The seed's six registries, created as written there, and used under their real host names.

A server, its Engine and control have a file of hosts and a CA of the test, by which the names of
the providers are fakes in front of a real registry. The seed's placeholders are their passwords;
only ``<service-account-json>`` is filled in, as its user does.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.api.test_seed import CREATED
from tests.fakes import ecr as aws
from tests.fakes.providers import acr as acr_fake
from tests.fakes.providers.hub import Limit
from tests.journeys.canary import files, leaks, record_traffic, spellings, tables
from tests.journeys.registries.world import LIFE, World, open_world
from tests.worker.engine.parts import require_real_parts
from tests.worker.local.conditions import wait_until
from tests.worker.oci.sample_images import RepositoryFixture
from tests.worker.oci.sample_images import make_image as oci_image
from worker.local.images import make_image

pytestmark = [pytest.mark.timeout(900), pytest.mark.real_parts]

KEYS = {"kind": "ecr", "accessKeyId": aws.KEY_ID, "secretAccessKey": aws.SECRET}
TRANSFER = float(os.environ.get("TRANSFER_SECONDS", "15"))
"""The time of the long transfers. The issue's is 60 s: set it to see that."""

BLOB_SECONDS = 5.0
BUSYBOX = Path("/bin/busybox")
SEEDS = {body["registryName"]: body for body in CREATED}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    require_real_parts()
    with open_world() as opened:
        yield opened


@pytest.fixture(scope="module")
def created(world: World) -> dict[str, dict[str, Any]]:
    """All six registries, by their names in the seed."""
    return {name: world.create(body) for name, body in SEEDS.items()}


@pytest.mark.parametrize("name", SEEDS)
def test_a_registry_of_the_seed_is_tested_pushed_to_pulled_from_and_deployed(
    world: World, created: dict[str, dict[str, Any]], name: str
) -> None:
    registry, server_id = created[name], world.server.server_id
    local = f"journey-{list(SEEDS).index(name)}:1"
    make_image(
        world.engine.docker_host,
        local,
        files={"bin/busybox": BUSYBOX},
        command=["/bin/busybox", "sleep", "999"],
        seed=len(name),
    )
    chosen = {"registryId": registry["registryId"], "serverId": server_id}

    tested = world.stack.call("registry.testRegistryById", chosen)
    pushed = world.jobs.ended(world.jobs.push(server_id, registry["registryId"], local))
    assert pushed["state"] == "succeeded", pushed["error"]
    reference = pushed["result"]["reference"]
    world.docker("image", "rm", "--force", local, reference)
    pulled = world.jobs.ended(world.jobs.pull(server_id, registry["registryId"], reference))
    assert pulled["state"] == "succeeded", pulled["error"]
    deployed = _deploy(world, registry["registryId"], local.partition(":")[0], reference)

    assert tested is True
    assert registry["username"] == SEEDS[name]["username"]
    assert pulled["result"]["digest"] == pushed["result"]["digest"]
    assert deployed["state"] == "succeeded", deployed["error"]
    assert local.partition(":")[0] in world.docker("ps", "--format", "{{.Names}} {{.Image}}")


def _deploy(world: World, registry_id: str, name: str, reference: str) -> dict[str, Any]:
    call = world.stack.call
    servers = [world.server.server_id]
    made = call(
        "application.create",
        {"name": name, "appName": name, "registryId": registry_id, "serverIds": servers},
    )
    chosen = {"applicationId": made["applicationId"]}
    call("application.saveDockerProvider", {**chosen, "dockerImage": reference})
    deployment = call("application.deploy", chosen)["deploymentId"]

    def look() -> dict[str, Any]:
        shown: dict[str, Any] = call("deployment.one", {"deploymentId": deployment})
        return shown

    wait_until(lambda: look()["finishedAt"] is not None, seconds=90)
    return look()


def test_a_key_of_google_is_found_nowhere_on_a_server_or_around_it(
    world: World, created: dict[str, dict[str, Any]]
) -> None:
    """A server's disk and memory of an Engine are what a thief of the server gets."""
    stack, google = world.stack, world.google
    registry = created["Google Container Registry"]
    chosen = {"registryId": registry["registryId"], "serverId": world.server.server_id}
    assert stack.valkey is not None and stack.postgres is not None

    with record_traffic(stack.valkey) as traffic:
        assert stack.call("registry.testRegistryById", chosen) is True

    secrets: set[bytes] = set()
    for line in google.account.file["private_key"].splitlines()[1:-1]:
        secrets |= spellings(line, "_json_key")
    state = stack.directory.path / "servers" / world.server.name
    logs = stack.directory.path / "logs"
    places = [
        *files(state, logs, world.engine.directory / "etc"),
        (str(world.engine.directory / "dockerd.log"), _read(world.engine.directory)),
        *tables(stack.postgres).items(),
        ("broker", bytes(traffic.broker)),
        ("command lines", b"\n".join(traffic.command_lines)),
        ("memory of the worker", _memory(_worker_pid(world))),
    ]
    assert leaks(places, secrets) == []
    assert {username for username, _ in google.logins} == {"oauth2accesstoken"}
    assert registry["credential"]["serviceAccount"] == google.account.email


def test_a_key_of_aws_gives_logins_to_an_engine_and_is_found_nowhere_on_the_server(
    world: World,
) -> None:
    """Its logins end after seconds, one during the Engine's pull, which goes on with the next."""
    stack, account = world.stack, world.account
    account.services.life = LIFE
    registry = stack.call(
        "registry.create", {"registryName": "AWS", "registryUrl": aws.HOST, "credential": KEYS}
    )
    chosen = {"registryId": registry["registryId"], "serverId": world.server.server_id}
    assert stack.valkey is not None and stack.postgres is not None
    local = "journey-aws:1"
    make_image(world.engine.docker_host, local, files={"bin/busybox": BUSYBOX}, seed=77)

    with record_traffic(stack.valkey) as traffic:
        assert stack.call("registry.testRegistryById", chosen) is True
        pushed = world.jobs.ended(world.jobs.push(chosen["serverId"], chosen["registryId"], local))
        assert pushed["state"] == "succeeded", pushed["error"]
        reference = pushed["result"]["reference"]
        image = world.docker("image", "inspect", "--format", "{{.Id}}", local)
        world.docker("image", "rm", "--force", image)
        assert not world.docker("image", "inspect", "--format", "{{.Id}}", image)
        account.slow = 2
        pulled = world.jobs.ended(
            world.jobs.pull(chosen["serverId"], chosen["registryId"], reference)
        )

    assert pulled["state"] == "succeeded", pulled["error"]
    assert pulled["failures"] == 0
    assert pulled["attempt"] > 1
    state = stack.directory.path / "servers" / world.server.name
    places = [
        *files(state, stack.directory.path / "logs", world.engine.directory / "etc"),
        (str(world.engine.directory / "dockerd.log"), _read(world.engine.directory)),
        *tables(stack.postgres).items(),
        ("broker", bytes(traffic.broker)),
        ("command lines", b"\n".join(traffic.command_lines)),
        ("memory of the worker", _memory(_worker_pid(world))),
    ]
    assert leaks(places, spellings(aws.SECRET, aws.KEY_ID)) == []


def test_a_first_push_creates_the_repository_of_ecr_if_the_credential_says_so(
    world: World,
) -> None:
    """Without ``createRepository`` the same push fails, says so, and creates nothing."""
    services = world.account.services
    services.repositories = set()
    creating = _create_aws_registry(world, "AWS creates", {**KEYS, "createRepository": True})
    plain = _create_aws_registry(world, "AWS creates nothing", KEYS)
    local = "journey-first:1"
    make_image(world.engine.docker_host, local, files={"bin/busybox": BUSYBOX}, seed=78)
    try:
        refused = world.jobs.ended(world.jobs.push(world.server.server_id, plain, local))
        created_before = list(services.creations)
        pushed = world.jobs.ended(world.jobs.push(world.server.server_id, creating, local))
        again = world.jobs.ended(world.jobs.push(world.server.server_id, creating, local))
    finally:
        services.repositories = None

    assert (refused["state"], refused["error"]["code"]) == ("failed", "repo_missing"), refused
    assert "createRepository: true" in refused["error"]["remedy"]
    assert created_before == []
    assert pushed["state"] == "succeeded", pushed["error"]
    assert services.creations == ["journey-first"]
    assert again["state"] == "succeeded", again["error"]
    assert again["result"]["digest"] == pushed["result"]["digest"]
    world.docker("image", "rm", "--force", local, pushed["result"]["reference"])
    pulled = world.jobs.ended(
        world.jobs.pull(world.server.server_id, plain, pushed["result"]["reference"])
    )
    assert pulled["state"] == "succeeded", pulled["error"]


def _create_aws_registry(world: World, name: str, credential: dict[str, Any]) -> str:
    body = {"registryName": name, "registryUrl": aws.HOST, "credential": credential}
    return str(world.stack.call("registry.create", body)["registryId"])


def test_transfers_outlive_their_tokens_while_control_is_killed_and_token_servers_are_down(
    world: World, created: dict[str, dict[str, Any]]
) -> None:
    """Four copies side by side, of tokens that live ten seconds; `TRANSFER` sets how long."""
    stack, rounds = world.stack, max(round(TRANSFER / BLOB_SECONDS), 2)
    world.shorten_tokens(timedelta(seconds=10))
    layers = [bytes([number]) * 200_000 for number in range(4 * (rounds - 1))]
    origins = _create_origins(world, created)
    for image, _ in origins.values():
        name = image.partition("/")[2].removesuffix(":1")
        repository = RepositoryFixture(world.google.registry, name)
        asyncio.run(repository.put("1", oci_image(*layers)))
    for cloud in world.clouds:
        cloud.blob_seconds = BLOB_SECONDS

    jobs = {
        kind: _copy(world, image, registry_id, created["Self-Hosted Registry"], kind)
        for kind, (image, registry_id) in origins.items()
    }
    wait_until(lambda: _have_begun(world), seconds=30)
    begun = time.monotonic()
    for start in range(0, int(TRANSFER) - 8, 20):
        _sleep_until(begun + start + 1)
        world.fail_tokens(lambda: web.Response(status=503))
        _sleep_until(begun + start + 4)
        world.fail_tokens(None)
        stack.children["control"].kill()
        _sleep_until(begun + start + 6)
        stack.start_control(wrapper=world.room)
    ended = {kind: world.jobs.ended(job_id, 3 * TRANSFER + 60) for kind, job_id in jobs.items()}
    seconds = time.monotonic() - begun
    for cloud in world.clouds:
        cloud.blob_seconds = 0.0
    world.shorten_tokens(timedelta(hours=1))

    outcomes = {kind: (job["state"], job["failures"]) for kind, job in ended.items()}
    attempts = {kind: job["attempt"] for kind, job in ended.items()}
    sys.stdout.write(f"{seconds:.1f} s of at least {TRANSFER:.0f}; attempts: {attempts}\n")
    assert outcomes == dict.fromkeys(origins, ("succeeded", 0)), ended
    assert seconds > TRANSFER - 1


def _create_origins(world: World, created: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Return of each provider an image, and the registry that its login is of."""
    client = {
        "kind": "acr",
        "tenantId": acr_fake.TENANT,
        "clientId": acr_fake.CLIENT,
        "clientSecret": world.acr.secret,
    }
    google = {"kind": "google", "serviceAccountKey": world.google.account.text}
    given = {
        "ecr": (aws.HOST, "team", KEYS),
        "google": ("gcr.io", "my-project", google),
        "acr": (world.acr.host, "team", client),
    }
    made = {
        kind: (
            f"{host}/{namespace}/long-{kind}:1",
            world.stack.call(
                "registry.create",
                {"registryName": f"Short {kind}", "registryUrl": host, "credential": credential},
            )["registryId"],
        )
        for kind, (host, namespace, credential) in given.items()
    }
    hub_id = next(one for name, one in created.items() if name.startswith("Docker Hub"))
    return {**made, "hub": ("docker.io/mycompany/long-hub:1", hub_id["registryId"])}


def _copy(world: World, image: str, source_id: str, target: dict[str, Any], kind: str) -> str:
    body = {
        "image": image,
        "sourceRegistryId": source_id,
        "registryId": target["registryId"],
        "serverId": world.server.server_id,
        "name": f"long-{kind}",
        "tag": "1",
    }
    return str(world.stack.call("image.copy", body)["jobId"])


def _have_begun(world: World) -> bool:
    """Return whether each provider was asked for a layer of its image."""
    return all(
        any("/long-" in one.path and "/blobs/" in one.path for one in cloud.requests)
        for cloud in world.clouds
    )


def _sleep_until(moment: float) -> None:
    """Keep to the plan of outages, which is one of times."""
    time.sleep(max(moment - time.monotonic(), 0))


def test_a_pull_beyond_the_limit_of_docker_hub_waits_for_its_next_window(
    world: World, created: dict[str, dict[str, Any]]
) -> None:
    registry_id, server_id = created["Docker Hub"]["registryId"], world.server.server_id
    references = []
    for number in range(2):
        local = f"journey-quota-{number}:1"
        make_image(world.engine.docker_host, local, files={"bin/busybox": BUSYBOX}, seed=number)
        pushed = world.jobs.ended(world.jobs.push(server_id, registry_id, local))
        assert pushed["state"] == "succeeded", pushed["error"]
        references.append(pushed["result"]["reference"])
        world.docker("image", "rm", "--force", local, references[-1])
    world.hub.limit = limit = Limit(1, timedelta(seconds=8))

    first = world.jobs.ended(world.jobs.pull(server_id, registry_id, references[0]))
    second = world.jobs.pull(server_id, registry_id, references[1])
    waiting = world.jobs.until(second, _waits_for_quota)
    ended = world.jobs.ended(second)

    assert first["state"] == "succeeded", first["error"]
    assert _waits_for_quota(waiting), waiting
    assert (ended["state"], ended["failures"]) == ("succeeded", 0), ended["error"]
    assert limit.counted == 2
    assert world.stack.call("registry.one", {"registryId": registry_id})["quota"]["limit"] == 1


def _waits_for_quota(job: dict[str, Any]) -> bool:
    return job["waiting"] is not None and job["waiting"]["code"] == "quota"


def _read(directory: Path) -> bytes:
    return (directory / "dockerd.log").read_bytes()


def _worker_pid(world: World) -> int:
    return world.server.worker.pid


def _memory(pid: int) -> bytes:
    """Return what a process holds in memory that it may write to."""
    held = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                held += memory.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
    return bytes(held)
