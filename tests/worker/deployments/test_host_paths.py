"""Containers mount only the allowed directories of their server."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.errors import EngineError, SetupError
from shared.jobs.commands import ContainerReplace, Replace, ServiceReplace
from shared.jobs.containers import Mounted
from shared.settings import WorkerSettings
from tests.worker.parts import open_loopback_engine
from worker.deployments.host_paths import HostPaths
from worker.jobs.attempt import Attempt
from worker.login import Grants
from worker.server.handlers import open_work

DOCKER = "unix:///run/docker.sock"


def mounting(
    command: type[ContainerReplace | ServiceReplace], source: str, kind: str = "bind"
) -> Replace:
    return command(
        application_id="app",
        deployment_id="deployment",
        name="app",
        reference="registry.example/app:1",
        mounts=(Mounted.model_validate({"type": kind, "source": source, "mount_path": "/d"}),),
    )


def refusal(allowed: str, source: str, *, docker_host: str = DOCKER, kind: str = "bind") -> str:
    """Return the code that refuses this mount for containers and services; empty if allowed."""
    codes = set()
    for command in (ContainerReplace, ServiceReplace):
        try:
            HostPaths.parse(allowed, docker_host).require(mounting(command, source, kind))
        except EngineError as error:
            codes.add(error.code)
        else:
            codes.add("")
    [code] = codes
    return code


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "app").mkdir(parents=True)
    return tmp_path / "data"


def test_a_server_without_a_list_mounts_no_directory(data: Path) -> None:
    assert refusal("", str(data)) == "host_path_not_allowed"
    assert refusal("", "/") == "host_path_not_allowed"


def test_a_named_volume_needs_no_list() -> None:
    assert refusal("", "data", kind="volume") == ""


def test_a_listed_directory_and_its_subdirectories_may_be_mounted(data: Path) -> None:
    assert refusal(str(data), str(data)) == ""
    assert refusal(f"/nowhere:{data}/", f"{data}/app") == ""
    assert refusal(str(data), f"{data}/not-there-yet") == ""


@pytest.mark.parametrize("source", ["{}/../other", "{}/app/../../other", "{}-other", "/etc", "/"])
def test_a_directory_beside_a_listed_one_is_refused(data: Path, source: str) -> None:
    assert refusal(str(data), source.format(data)) == "host_path_not_allowed"


def test_a_link_out_of_a_listed_directory_is_refused(data: Path) -> None:
    (data / "out").symlink_to("/etc")
    (data / "root").symlink_to("/")

    assert refusal(str(data), f"{data}/out") == "host_path_not_allowed"
    assert refusal(str(data), f"{data}/root/etc") == "host_path_not_allowed"


def test_a_link_within_a_listed_directory_is_allowed(data: Path) -> None:
    (data / "link").symlink_to(data / "app")

    assert refusal(str(data), f"{data}/link") == ""


def test_a_link_from_outside_into_a_listed_directory_is_refused(data: Path) -> None:
    (data.parent / "beside").symlink_to(data / "app")

    assert refusal(str(data), f"{data.parent}/beside") == "host_path_not_allowed"


def test_a_directory_that_the_worker_does_not_see_is_refused(data: Path) -> None:
    assert refusal(f"{data}/missing", f"{data}/missing/app") == "host_path_not_allowed"


def test_an_engine_socket_and_its_directory_are_mounted_only_if_listed(
    data: Path,
) -> None:
    socket = data / "app" / "docker.sock"
    socket.touch()
    (data / "link").symlink_to(socket)
    docker_host = f"unix://{socket}"

    for source in (socket, data / "app", data / "link"):
        code = refusal(str(data), str(source), docker_host=docker_host)
        assert code == "host_path_not_allowed"
    assert refusal("/", "/var/run/docker.sock", docker_host=docker_host) == "host_path_not_allowed"
    assert refusal("/", "/run", docker_host=docker_host) == "host_path_not_allowed"
    assert refusal(str(socket), str(socket), docker_host=docker_host) == ""
    assert refusal("/", "/", docker_host=docker_host) == ""


def test_an_engine_socket_behind_a_link_is_refused(data: Path) -> None:
    (data / "app" / "docker.sock").touch()
    (data.parent / "docker.sock").symlink_to(data / "app" / "docker.sock")

    code = refusal(str(data), f"{data}/app", docker_host=f"unix://{data.parent}/docker.sock")

    assert code == "host_path_not_allowed"


def test_a_list_with_a_relative_path_is_refused_at_the_start() -> None:
    with pytest.raises(SetupError, match="WHARF_HOST_PATHS"):
        HostPaths.parse("/srv:data", DOCKER)


@pytest.mark.parametrize("command", [ContainerReplace, ServiceReplace])
async def test_a_worker_refuses_a_path_that_its_own_settings_do_not_list(
    tmp_path: Path, data: Path, command: type[ContainerReplace | ServiceReplace]
) -> None:
    beside, listed = mounting(command, "/etc"), mounting(command, str(data))

    async with AsyncExitStack() as stack:
        docker_host = await stack.enter_async_context(open_loopback_engine(tmp_path))
        plain = WorkerSettings(state_dir=tmp_path / "plain")
        open_ = WorkerSettings(state_dir=tmp_path / "open", host_paths=str(data))
        for settings, requested in ((plain, beside), (plain, listed), (open_, beside)):
            settings.state_dir.mkdir(exist_ok=True)
            opened = await open_work(stack, settings, docker_host)
            with pytest.raises(EngineError) as caught:
                await opened.work(requested, Grants(), Attempt("job", 1))
            assert caught.value.code == "host_path_not_allowed"

        with pytest.raises(EngineError) as caught:
            await opened.work(listed, Grants(), Attempt("job", 1))
        # It continued to an Engine that knows nothing.
        assert caught.value.code != "host_path_not_allowed"
