from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.engine.parts import open_scripted_engine
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.machine import SLOWEST_SECONDS, SYSTEMD, Clock, describe_machine


async def test_an_engine_that_is_away_has_no_description() -> None:
    async with Engine.open("unix:///nowhere/docker.sock") as engine:
        assert await describe_machine(engine) == {}


@pytest.mark.parametrize(
    ("refused", "named"),
    [
        ((), None),
        (("/build",), ["POST /build"]),
        (("/info", "/containers/create"), ["GET /info", "POST /containers"]),
    ],
)
async def test_calls_that_a_proxy_refuses_are_named(
    tmp_path: Path, refused: tuple[str, ...], named: list[str] | None
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith(refused):
            page = "<html><body><h1>403 Forbidden</h1></body></html>"
            return web.Response(text=page, content_type="text/html", status=403)
        if request.path.endswith("/info"):
            return web.json_response({"Name": "a"})
        return web.json_response({"message": "denied: no such thing"}, status=404)

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        described = await describe_machine(engine)

    assert described.get("refused_calls") == named
    assert ("engine_version" in described) is ("/info" not in refused)


PODMAN = {
    "Components": [{"Name": "Podman Engine"}],
    "Version": "5.4.2",
    "ApiVersion": "1.41",
    "Os": "linux",
    "Arch": "amd64",
}


@pytest.mark.parametrize("driver", ["systemd", "cgroupfs"])
@pytest.mark.parametrize("version", [PODMAN, {**PODMAN, "Components": []}])
async def test_podman_without_systemd_runs_no_health_checks(
    tmp_path: Path, driver: str, version: dict[str, object]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/version"):
            return web.json_response(version)
        return web.json_response({"Name": "a", "CgroupDriver": driver})

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        scripted.is_sane = False  # its version is answered above
        described = await describe_machine(engine)

    is_without = version is PODMAN and driver == "cgroupfs" and not SYSTEMD.is_dir()
    assert described.get("health_checks", True) is not is_without


async def test_a_real_engine_allows_all_calls_and_is_unchanged(engine: Engine) -> None:
    before = set(await images.list_ids(engine)), await engine.request("GET", "containers/json")

    described = await describe_machine(engine)

    assert {"refused_calls", "health_checks"}.isdisjoint(described)
    found = set(await images.list_ids(engine)), await engine.request("GET", "containers/json")
    assert found == before


@given(
    ahead=st.floats(-1e6, 1e6),
    there=st.floats(0, SLOWEST_SECONDS / 2),
    back=st.floats(0, SLOWEST_SECONDS / 2),
)
def test_a_clock_is_compared_to_half_of_the_round_trip(
    ahead: float, there: float, back: float
) -> None:
    clock, theirs = Clock(), 1_700_000_000.0

    clock.compare(theirs - there + ahead, theirs + back + ahead, theirs)

    assert clock.ahead is not None
    assert abs(clock.ahead - ahead) <= (there + back) / 2 + 0.01


@pytest.mark.parametrize(
    ("answered", "theirs"), [(1000 + 2 * SLOWEST_SECONDS, 1000.0), (999.0, 1000.0), (1000.1, None)]
)
def test_an_imprecise_exchange_changes_nothing(answered: float, theirs: float | None) -> None:
    clock = Clock(ahead=1.5)

    clock.compare(1000, answered, theirs)

    assert clock.ahead == 1.5
