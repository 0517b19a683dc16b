"""``wharf up``, as a person runs it: in the foreground, ended with Ctrl-C, started again."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest

from shared.errors import SetupError
from worker.local.engines import LocalEngine
from worker.local.processes import free_port
from worker.local.up import require_own_address

pytestmark = pytest.mark.timeout(600)
"""Four starts of the whole product, on machines that may be slow."""

PROGRAMS = str(Path(__file__).parent / "programs")
"""A folder for ``PYTHONPATH``: of what a program starts, coverage is not measured."""


@contextmanager
def running_up(
    data: Path, port: int, docker_host: str, *words: str, **settings: str
) -> Iterator[subprocess.Popen[str]]:
    given = ("--data-dir", str(data), "--port", str(port), *words)
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli.main", "up", *given],
        env={
            **os.environ,
            "DOCKER_HOST": docker_host,
            "PYTHONPATH": PROGRAMS,
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "300",
            **settings,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    seen = ""
    while words not in seen:
        line = process.stdout.readline()
        assert line, f"ended before it said {words!r}: {seen}"
        seen += line
    return seen


def processes_in(data: Path) -> list[str]:
    """The command lines of processes that know of a data directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            about = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(data).encode() in about and int(entry.name) != os.getpid():
            found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def pid_of(database: str, up: subprocess.Popen[str], data: Path) -> int:
    """Return the id of the child that serves a database: each works in its data directory."""
    children = Path(f"/proc/{up.pid}/task/{up.pid}/children").read_text().split()
    place = data / database / "data"
    (found,) = (int(child) for child in children if Path(f"/proc/{child}/cwd").resolve() == place)
    return found


def join_as_owner(message: str) -> str:
    """Open the link for the first owner; return the page to which the form leads."""
    link = re.search(r"Console: open (\S+)", message)
    assert link, message
    origin = "/".join(link[1].split("/")[:3])
    form = {"name": "Ada", "email": "ada@example.com", "password": "correct horse battery"}
    with httpx2.Client(headers={"origin": origin}, follow_redirects=True) as browser:
        assert "At least 10 characters" in browser.get(link[1]).text
        return browser.post(link[1], data=form).text


@dataclass(frozen=True)
class UpStory:
    """One data directory through three starts: stopped, its Valkey killed, its PostgreSQL killed.

    Between the first two its server was renamed. The third one has TLS, and its API answers
    ``by_tls`` and ``in_clear``. ``stopped`` and the ``ends`` by database are the exit code and last
    words of a start, and the processes that it left.
    """

    data: Path
    key: str
    documentation: int
    joined: str
    registry: str
    server: str
    stop_seconds: float
    stopped: tuple[int, str, list[str]]
    greeting_again: str
    registries_again: list[str]
    servers_again: list[tuple[str, str]]
    greeting_with_tls: str
    by_tls: int
    in_clear: bool
    ends: dict[str, tuple[int, str, list[str]]]


@pytest.fixture(scope="module")
def story(local_engine: LocalEngine) -> Iterator[UpStory]:
    docker_host = local_engine.docker_host
    with TemporaryDirectory(prefix="wharf-up-") as folder, ExitStack() as closing:
        data = Path(folder) / "data"
        address = free_port()
        ends: dict[str, tuple[int, str, list[str]]] = {}
        with running_up(data, address, docker_host) as process:
            message = read_until(process, "Ctrl-C")
            key = re.search(r"wharf_\S+", message)
            documentation = re.search(r"docs: ([^)]+)\)", message)
            assert key and documentation, message
            url = f"http://127.0.0.1:{address}/api/trpc/"
            api = httpx2.Client(base_url=url, headers={"x-api-key": key[0]})
            closing.enter_context(api)
            shown = httpx2.get(documentation[1]).status_code
            joined = join_as_owner(message)
            body = {
                "registryName": "kept",
                "registryUrl": "registry.example:5000",
                "username": "porter",
                "password": "x",
                "registryType": "selfHosted",
            }
            made = api.post("registry.create", json=body).json()
            (known,) = api.get("server.all").json()
            change = {"serverId": known["serverId"], "name": "renamed"}
            api.post("server.update", json=change).raise_for_status()
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            message, _ = process.communicate(timeout=20)
            took = time.monotonic() - begun
            stopped = (process.returncode, message, processes_in(data))
        with running_up(data, address, docker_host) as process:
            again = read_until(process, "Ctrl-C")
            registries = [row["registryId"] for row in api.get("registry.all").json()]
            servers = [(row["serverId"], row["name"]) for row in api.get("server.all").json()]
            ends["valkey"] = end_by(process, "valkey", data)
        with running_up(data, address, docker_host, "--listen", "127.0.0.1") as process:
            with_tls = read_until(process, "Ctrl-C")
            trust = ssl.create_default_context(cafile=data / "tls" / "ca.pem")
            by_tls = httpx2.get(f"https://127.0.0.1:{address}/readyz", verify=trust).status_code
            in_clear = answers_in_clear(address)
            ends["postgres"] = end_by(process, "postgres", data)
        yield UpStory(
            data=data,
            key=key[0],
            documentation=shown,
            joined=joined,
            registry=made["registryId"],
            server=known["serverId"],
            stop_seconds=took,
            stopped=stopped,
            greeting_again=again,
            registries_again=registries,
            servers_again=servers,
            greeting_with_tls=with_tls,
            by_tls=by_tls,
            in_clear=in_clear,
            ends=ends,
        )


def answers_in_clear(port: int) -> bool:
    try:
        httpx2.get(f"http://127.0.0.1:{port}/healthz")
    except httpx2.TransportError:
        return False
    return True


def end_by(process: subprocess.Popen[str], database: str, data: Path) -> tuple[int, str, list[str]]:
    """Kill a database of a running ``wharf up``, and return how that ended."""
    os.kill(pid_of(database, process, data), signal.SIGKILL)
    message, _ = process.communicate(timeout=25)
    return process.returncode, message, processes_in(data)


def test_up_names_a_page_of_the_documentation_that_opens(story: UpStory) -> None:
    assert story.documentation == 200


def test_up_gives_a_link_to_the_first_owner_and_then_only_the_console_s_address(
    story: UpStory,
) -> None:
    assert "<h1>Overview</h1>" in story.joined
    assert "owner of default" in story.joined
    assert "/console/join/" not in story.greeting_again
    assert "/console\n" in story.greeting_again


def test_up_stops_clean_and_leaves_no_process(story: UpStory) -> None:
    code, message, left = story.stopped

    assert story.stop_seconds < 10
    assert (code, left) == (0, [])
    assert "Traceback" not in message


def test_up_prints_its_key_once_and_finds_its_data_again(story: UpStory) -> None:
    assert story.key not in story.greeting_again
    assert story.registries_again == [story.registry]


def test_up_takes_the_admin_key_of_the_environment_and_refuses_another_one_later(
    local_engine: LocalEngine,
) -> None:
    docker_host = local_engine.docker_host
    key = "an admin key of the operator's own"
    with TemporaryDirectory(prefix="wharf-up-") as folder:
        data, address = Path(folder) / "data", free_port()
        url = f"http://127.0.0.1:{address}/api/registry.all"
        with running_up(data, address, docker_host, WHARF_ADMIN_KEY=key) as process:
            message = read_until(process, "Ctrl-C")
            answer = httpx2.get(url, headers={"x-api-key": key})
            process.send_signal(signal.SIGINT)
            process.wait(20)
        refusals = []
        for other in ("another admin key of 32 characters", "short"):
            with running_up(data, address, docker_host, WHARF_ADMIN_KEY=other) as process:
                refusals.append(process.communicate(timeout=30)[0])

    assert answer.status_code == 200
    assert key not in message
    assert "WHARF_ADMIN_KEY is not the admin key" in refusals[0]
    assert "WHARF_ADMIN_KEY" in refusals[1]
    assert not any(each.count("\n") > 3 for each in refusals)


def test_up_finds_its_server_again_under_another_name(story: UpStory) -> None:
    assert story.servers_again == [(story.server, "renamed")]


def test_up_publishes_nothing_in_clear_where_other_servers_may_join(story: UpStory) -> None:
    """Its own server, which joined without TLS, continues."""
    assert "API https://127.0.0.1:" in story.greeting_with_tls
    assert story.by_tls == 200
    assert not story.in_clear


@pytest.mark.parametrize("address", ["0.0.0.0", "wharf.example"])
def test_servers_must_be_told_the_address_of_one_machine(address: str) -> None:
    with pytest.raises(SetupError, match="not the address of one machine"):
        require_own_address(address)


@pytest.mark.parametrize("database", ["postgres", "valkey"])
def test_up_ends_with_one_clear_sentence_when_a_database_ended(
    story: UpStory, database: str
) -> None:
    code, message, left = story.ends[database]

    assert code == 1
    log = story.data / database / f"{database}.log"
    assert message.strip().splitlines()[-1] == f"wharf up: {database} ended by itself; see {log}."
    assert "Traceback" not in message
    assert not left


def test_a_taken_port_is_one_clear_sentence(local_engine: LocalEngine, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with running_up(tmp_path, number, local_engine.docker_host) as process:
            message, _ = process.communicate(timeout=30)

    assert process.returncode == 1
    assert f"port {number} on 127.0.0.1 is taken" in message
    assert "Traceback" not in message


def test_a_dead_engine_is_one_clear_sentence(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/docker.sock"
    with running_up(tmp_path / "data", free_port(), nowhere) as process:
        message, _ = process.communicate(timeout=30)

    assert process.returncode == 1
    assert message.strip().splitlines() == [
        f"wharf up: no Docker Engine answers at {nowhere}. Start Docker, or set DOCKER_HOST."
    ]
