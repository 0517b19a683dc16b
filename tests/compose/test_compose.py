"""compose.yaml for real: images built by the classic builder, run by docker-compose, then used."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.compose.conftest import CANARY
from tests.compose.docker import Project
from tests.compose.plane import Plane, wait_for
from worker.local.engines import LocalEngine
from worker.local.images import make_image

pytestmark = [pytest.mark.compose, pytest.mark.timeout(2400)]

IMAGES = ("wharfinger-api", "wharfinger-worker", "wharfinger-flower")
OURS = ("api", "worker", "shared", "wharfinger")
OWNERS = f"""
from importlib.metadata import packages_distributions as owners
import json
print(json.dumps({{name: sorted(set(owners()[name])) for name in {OURS}}}))
"""
OURS_ALONE = {name: ["wharfinger"] for name in OURS}
CHUNK_BYTES = 1 << 24
DATABASE_PORT = 4748


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_a_user_with_a_number_and_our_packages_are_ours(
    engine: LocalEngine, built: Project, image: str
) -> None:
    user = built.docker("inspect", "--format={{.Config.User}}", image).strip()
    hardened = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL")
    owners = built.docker("run", *hardened, image, "python", "-c", OWNERS)

    assert user == "10001:10001"
    assert json.loads(owners) == OURS_ALONE


def test_services_are_hardened_and_only_the_registry_runs_as_root(plane: Plane) -> None:
    containers = plane.project.containers()
    states = json.loads(plane.project.docker("inspect", *containers.values()))
    by_service = dict(zip(containers, states, strict=True))

    assert set(by_service) == {
        *("postgres", "redis", "tls", "migrate", "api", "control", "worker", "flower", "registry")
    }
    for state in states:
        host = state["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
    roots = {name for name, state in by_service.items() if state["Config"]["User"] in {"", "root"}}
    assert roots == {"registry"}
    assert plane.project.health()["migrate"] == "0"


def test_no_secret_is_in_a_layer_an_environment_or_a_command(plane: Plane) -> None:
    names = [path.name for path in plane.secrets.iterdir() if path.suffix != ".json"]
    texts = {plane.secret(name) for name in names if name not in {"vault.public", "lock"}}
    secrets = {CANARY, *(text for text in texts if text)}
    drawn = json.loads((plane.secrets / "passwords.json").read_text())
    secrets |= set(drawn.values())

    inspected = plane.project.docker("inspect", *plane.project.containers().values(), *IMAGES)
    history = "".join(plane.project.docker("history", "--no-trunc", name) for name in IMAGES)

    assert len(drawn) > 10
    assert not [secret for secret in secrets if secret in inspected + history]
    assert not list(found_in_layers(plane, {secret.encode() for secret in secrets}))


def found_in_layers(plane: Plane, wanted: set[bytes]) -> Iterator[bytes]:
    """Return those of ``wanted`` that are in the archive of our images, layers included."""
    overlap = max(map(len, wanted))
    command = ("docker", f"--host={plane.engine.docker_host}", "save", *IMAGES)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        before = b""
        while chunk := saving.stdout.read(CHUNK_BYTES):
            seen = before + chunk
            yield from (text for text in wanted if text in seen)
            before = seen[-overlap:]
    assert saving.returncode == 0


def test_the_main_job_runs_and_flower_shows_it(plane: Plane) -> None:
    server = plane.call("server.all")[0]
    registry = plane.call(
        "registry.create",
        registryName="ours",
        registryUrl=plane.registry,
        username="wharf",
        password=plane.secret("registry.password"),
        registryType="selfHosted",
        imagePrefix="team",
        plainHttp=True,
    )
    place = {"serverId": server["serverId"], "registryId": registry["registryId"]}
    make_image(plane.engine.docker_host, "team/app:1", layer_bytes=(2_000_000, 50_000))

    tested = plane.call("registry.testRegistryById", **place)
    pushed = plane.run("image.push", image="team/app:1", **place)
    plane.project.docker("image", "rm", "team/app:1", f"{plane.registry}/team/app:1")
    pulled = plane.run("image.pull", image=pushed["result"]["reference"], **place)

    assert server["online"]
    assert tested is True
    assert (pushed["state"], pulled["state"]) == ("succeeded", "succeeded")
    assert pulled["result"]["digest"] == pushed["result"]["digest"]
    assert pushed["result"]["digest"] in plane.project.docker("images", "--digests")
    wait_for(
        lambda: (
            {
                ("registry.test", "SUCCESS"),
                ("image.push", "SUCCESS"),
                ("image.pull", "SUCCESS"),
            }
            <= {(task["name"], task["state"]) for task in plane.tasks()}
        ),
        plane.tasks,
        seconds=20,
    )
    assert plane.get_from_flower(None).status_code == 401


def test_every_published_port_has_tls_by_the_ca_of_this_installation(plane: Plane) -> None:
    published = plane.published_ports()
    reachable = {port for address, port in published if address != "127.0.0.1"}

    hosts = [plane.hosts_at(port) for port in reachable - {DATABASE_PORT}]
    url = urlsplit(plane.secret("api.database.url"))
    options = f"sslmode=verify-full&sslrootcert={plane.secrets / 'ca.pem'}"
    login = f"{url.username}:{url.password}@{plane.address}:{DATABASE_PORT}"
    with psycopg.connect(f"postgresql://{login}/wharf?{options}") as connection:
        user = connection.execute("SELECT current_user").fetchone()
    with pytest.raises(psycopg.OperationalError, match="accepts TLS only"):
        psycopg.connect(f"postgresql://{login}/wharf?sslmode=disable")

    assert published - {("127.0.0.1", 5000)} == {(plane.address, port) for port in reachable}
    assert reachable == {4747, DATABASE_PORT, 4749, 5555}
    assert hosts == [{plane.address, "127.0.0.1", "localhost"}] * 3
    assert user == ("wharf_api",)


def test_the_key_of_the_ca_is_with_the_service_that_issues_certificates_alone(
    plane: Plane,
) -> None:
    containers = plane.project.containers()
    states = json.loads(plane.project.docker("inspect", *containers.values()))

    def has_key(state: dict[str, Any]) -> bool:
        return any(mount["Source"].endswith("/ca.key") for mount in state["Mounts"])

    holders = {name for name, state in zip(containers, states, strict=True) if has_key(state)}
    seen = plane.project("exec", "-T", "api", "ls", "/run/tls", "/run/secrets").split()

    assert holders == {"tls"}
    assert "api.pem" in seen
    assert "ca.key" not in seen


def test_a_second_up_keeps_what_is_stored_and_a_new_migration_does_no_harm(plane: Plane) -> None:
    before = [server["serverId"] for server in plane.call("server.all")]

    plane.project("up", "--detach", "--force-recreate", "migrate", "worker")

    wait_for(lambda: plane.project.health()["worker"] == "healthy", plane.project.health)
    wait_for(lambda: plane.call("server.all")[0]["online"], lambda: plane.call("server.all"))
    assert [server["serverId"] for server in plane.call("server.all")] == before
    assert plane.project.health()["migrate"] == "0"


def test_down_leaves_nothing(plane: Plane) -> None:
    plane.project("--profile", "try", "down", "--volumes", "--timeout", "20")

    label = "--filter=label=com.docker.compose.project=wharf"
    assert plane.project.containers() == {}
    for kind in ("volume", "network"):
        assert plane.project.docker(kind, "ls", "--quiet", label) == ""
