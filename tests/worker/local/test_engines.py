"""Engines and networks of our own: they start, they suffer, and they leave nothing behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pydantic import JsonValue

from shared.errors import EngineError, SetupError
from shared.faults import FaultCode
from shared.reference import Reference, parse_reference
from tests.fakes.certificates import Authority
from tests.worker.engine.parts import require_real_parts
from tests.worker.local.conditions import wait_until
from tests.worker.local.rooms import processes_in, room_of, traces
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine, engines_possible, require_engine
from worker.local.images import make_image
from worker.local.namespaces import Namespace
from worker.local.processes import is_listening
from worker.local.registry import LocalRegistry

BUSYBOX = Path("/bin/busybox")
IDLE = timedelta(seconds=20)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    require_real_parts()
    created = Namespace.create("local-tests")
    yield created
    created.remove()


@pytest.fixture
def running(namespace: Namespace, tmp_path: Path) -> Iterator[LocalEngine]:
    started = LocalEngine.start(tmp_path / "e", namespace=namespace)
    yield started
    started.kill()


def interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def cables() -> set[str]:
    return {name for name in interfaces() if name.startswith("wharf")}


def others() -> set[str]:
    """Without cables, which come and go while other tests run."""
    return {name for name in interfaces() if not name.startswith("wharf")}


async def test_a_container_runs_on_its_server_and_ends_with_its_engine(
    running: LocalEngine,
) -> None:
    room = room_of(running.dockerd)
    await _serve_busybox(running)
    await asyncio.to_thread(wait_until, lambda: is_listening(running.address, 8080))
    inhabitants = processes_in(room)

    await asyncio.to_thread(running.kill)

    assert len(inhabitants) >= 4  # dockerd, containerd, a shim, busybox
    assert processes_in(room) == []
    assert traces(running) == []
    assert not running.is_answering()


async def test_a_polite_stop_leaves_nothing_either(running: LocalEngine) -> None:
    room = room_of(running.dockerd)
    await _serve_busybox(running)

    await asyncio.to_thread(running.stop)

    assert processes_in(room) == []
    assert traces(running) == []


async def test_an_engine_goes_on_where_another_was_killed(
    running: LocalEngine, namespace: Namespace
) -> None:
    make_image(running.docker_host, "kept:1", seed=1)
    running.kill()

    again = LocalEngine.start(running.directory, namespace=namespace)
    try:
        async with Engine.open(again.docker_host) as engine:
            stored = await images.inspect(engine, "kept:1")
    finally:
        again.kill()

    assert stored.size_bytes == 1024


def test_when_we_are_killed_everything_ends_with_us(tmp_path: Path) -> None:
    require_real_parts()
    before = cables()
    script = (
        "import sys, pathlib\n"
        "from worker.local.engines import LocalEngine\n"
        "from worker.local.namespaces import Namespace\n"
        "namespace = Namespace.create('killed')\n"
        "engine = LocalEngine.start(pathlib.Path(sys.argv[1]), namespace=namespace)\n"
        "print(namespace.number, engine.dockerd, flush=True)\n"
        "sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "k")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        number, dockerd = (int(word) for word in other.stdout.readline().split())
        room = room_of(dockerd)
        assert len(processes_in(room)) >= 2

        os.kill(other.pid, signal.SIGKILL)
        other.wait()

    wait_until(lambda: processes_in(room) == [])
    wait_until(lambda: f"wharf{number}" not in cables() - before)


def test_leftovers_of_containerd_are_in_the_engines_own_directory(
    running: LocalEngine,
) -> None:
    [containerd] = [
        pid
        for pid in processes_in(room_of(running.dockerd))
        if Path(f"/proc/{pid}/comm").read_text().strip() == "containerd"
    ]

    os.kill(containerd, signal.SIGUSR1)  # dockerd does this to one that does not answer

    wait_until(lambda: list((running.directory / "run").glob("containerd.*.stacks.log")) != [])


def test_a_frozen_engine_accepts_and_does_not_answer(running: LocalEngine) -> None:
    running.freeze()
    frozen = running.is_answering()
    running.thaw()

    assert not frozen
    assert running.is_answering()


def test_a_namespace_has_a_cable_that_can_be_pulled(running: LocalEngine) -> None:
    namespace = running.namespace
    assert namespace is not None
    with subprocess.Popen(
        [*namespace.wrapper, str(BUSYBOX), "httpd", "-f", "-p", "9000", "-h", "/sys"]
    ) as listener:
        wait_until(lambda: is_listening(namespace.address, 9000))
        namespace.cut()
        was_cut = not is_listening(namespace.address, 9000)
        namespace.mend()
        wait_until(lambda: is_listening(namespace.address, 9000))
        listener.kill()

    assert was_cut


def test_namespaces_get_networks_of_their_own_and_give_them_back(namespace: Namespace) -> None:
    other = Namespace.create("other")
    taken = other.number

    with pytest.raises(SetupError, match=f"10.77.{taken}.0/24 is in use"):
        Namespace.create("third", taken)
    other.remove()

    assert taken != namespace.number
    assert f"wharf{taken}" not in cables()
    with pytest.raises(ProcessLookupError):
        os.kill(other.holder.pid, 0)


def test_an_engine_without_a_namespace_has_no_network_and_disturbs_none(
    tmp_path: Path,
) -> None:
    require_real_parts()
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    before = others()

    started = LocalEngine.start(tmp_path / "e", namespace=None)
    try:
        require_engine(started.docker_host)
        after = others()
    finally:
        started.kill()

    assert before == after
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forwarding
    assert started.address == "127.0.0.1"


async def test_an_engine_trusts_the_authorities_that_it_is_given(
    running: LocalEngine, namespace: Namespace, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    certificate = authority.files("registry", namespace.our_address)
    registry = LocalRegistry.start(
        tmp_path / "r", address=namespace.our_address, certificate=certificate
    )
    missing = Reference(registry.host, "team/none", "1")
    codes = []
    try:
        async with Engine.open(running.docker_host) as engine:
            for trusted in (False, True):
                if trusted:
                    running.trust(registry.host, authority.file.read_bytes())
                with pytest.raises(EngineError) as caught:
                    await images.pull(engine, missing, None, lambda _: None, IDLE)
                codes.append(caught.value.code)
    finally:
        registry.stop()

    assert codes == [FaultCode.TLS_UNKNOWN_CA, FaultCode.IMAGE_NOT_FOUND]


def test_a_directory_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="too long or not absolute"):
        LocalEngine.start(tmp_path / ("x" * 120), namespace=None)


def test_an_engine_that_does_not_start_says_why_and_is_gone(
    namespace: Namespace, tmp_path: Path
) -> None:
    with pytest.raises(
        SetupError, match=r"dockerd ended at its start: .*not a registry!"
    ) as caught:
        LocalEngine.start(
            tmp_path / "e", namespace=namespace, insecure_registries=("not a registry!",)
        )

    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert caught.value.code == "setup"


@pytest.mark.parametrize("docker_host", ["unix:///no/such.sock", "tcp://127.0.0.1:9", "what"])
def test_no_engine_is_a_setup_error(docker_host: str) -> None:
    with pytest.raises(SetupError, match="no Docker Engine answers"):
        require_engine(docker_host)


def test_a_user_without_the_right_to_the_socket_learns_it() -> None:
    if os.geteuid():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("only root may become another user")
    with TemporaryDirectory(prefix="wharf-") as folder, socket.socket(socket.AF_UNIX) as engine:
        Path(folder).chmod(0o755)
        path = Path(folder) / "docker.sock"
        engine.bind(str(path))
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(SetupError, match="may not use the socket") as caught:
                require_engine(f"unix://{path}")
        finally:
            os.seteuid(0)

    assert "group docker" in caught.value.remedy


def test_why_no_engine_can_run_is_a_sentence() -> None:
    reason = engines_possible()

    assert reason is None or reason.endswith(".")


async def test_the_same_arguments_make_the_same_image(running: LocalEngine) -> None:
    for name, seed in (("a:1", 5), ("b:1", 5), ("c:1", 6)):
        make_image(running.docker_host, name, layer_bytes=[1000, 70_000], seed=seed)

    async with Engine.open(running.docker_host) as engine:
        made = [await images.inspect(engine, name) for name in ("a:1", "b:1", "c:1")]

    assert made[0].image_id == made[1].image_id != made[2].image_id
    assert made[0].size_bytes == 71_000


def test_an_engine_that_takes_no_image_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="takes no image"):
        make_image(f"unix://{tmp_path}/none", "a:1")


async def _serve_busybox(local: LocalEngine) -> None:
    reference = parse_reference("web:1")
    command = ["/busybox", "httpd", "-f", "-p", "80", "-h", "/"]
    make_image(local.docker_host, str(reference), files={"busybox": BUSYBOX}, command=command)
    body: JsonValue = {
        "Image": str(reference),
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}},
    }
    async with Engine.open(local.docker_host) as engine:
        await engine.request("POST", "containers/create", params={"name": "web"}, body=body)
        await engine.request("POST", "containers/web/start")
