"""A fleet behind the limit of Docker Hub: its pulls wait, and none fails."""

import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from shared.jobs.commands import ImagePull
from tests.fakes.certificates import Authority
from tests.fakes.providers.clients import find_address, make_client_settings
from tests.fakes.providers.cloud import open_clouds
from tests.fakes.providers.hub import Account, Hub, Limit
from tests.waiting import wait_until
from tests.worker.control.quotas.fleet import open_fleet
from tests.worker.oci.sample_images import RepositoryFixture, make_blob, make_image
from tests.world import PASSWORD, World
from worker.local.registry import LocalRegistry

pytestmark = pytest.mark.real_parts

USER = "dockerhubuser"
HUB = "docker.io"


@dataclass(frozen=True)
class Shape:
    """So many images for so many servers, with so many pulls in a window."""

    images: int
    servers: int
    pulls: int
    window: timedelta
    seconds: float

    @property
    def jobs(self) -> int:
        return self.images * self.servers


SMALL = Shape(images=3, servers=6, pulls=6, window=timedelta(seconds=2), seconds=60)
LARGE = Shape(images=40, servers=50, pulls=100, window=timedelta(seconds=30), seconds=1700)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(SMALL, id="3x6"),
        pytest.param(LARGE, id="40x50", marks=[pytest.mark.scale, pytest.mark.timeout(1800)]),
    ],
)
async def test_a_fleet_behind_a_quota_waits_and_no_pull_fails(
    world: World, open_registry: LocalRegistry, tmp_path: Path, *, shape: Shape
) -> None:
    names = [f"mycompany/app-{number}" for number in range(shape.images)]
    for name in names:
        image = make_image(make_blob(name, 1000))
        await RepositoryFixture(open_registry.host, name).put("1", image)
    limit = Limit(shape.pulls, shape.window)
    account = Account(PASSWORD, frozenset({"mycompany"}))
    hub = Hub(open_registry.host, accounts={USER: account}, limit=limit)
    authority = Authority(tmp_path)
    registry_id = await world.add_registry(host=HUB, username=USER)
    async with open_clouds(hub, authority=authority, listen=find_address(8)):
        settings = make_client_settings(hub, authority=authority, directory=tmp_path / "certs.d")
        async with open_fleet(world, shape.servers, settings, tmp_path / "servers") as fleet:
            begun = time.monotonic()
            for name in names:
                command = ImagePull(reference=f"{HUB}/{name}:1", registry_id=registry_id)
                for server in fleet.servers:
                    await world.submit(server.enrolled, command, registry_id=registry_id)
            await wait_until(fleet.has_ended, seconds=shape.seconds)
            waited = fleet.reasons
            took = time.monotonic() - begun

            succeeded = await fleet.count("succeeded")
            [attempts] = await world.rows(
                "SELECT max(failures) AS failures, sum(attempt)::integer AS attempts FROM job"
            )
            refusals = sum(server.engine.refusals for server in fleet.servers)
            windows = shape.jobs / shape.pulls
            print(  # noqa: T201 - the figures
                f"{succeeded} of {shape.jobs} pulls in {took:.1f} s, {windows:.0f} windows of"
                f" {shape.window.total_seconds():g} s; the registry counted {limit.counted} and"
                f" refused {dict(limit.refused)}; Engines met {refusals}; attempts {attempts}"
            )
    assert succeeded == shape.jobs
    assert attempts["failures"] == 0
    assert limit.counted == shape.jobs
    assert "quota" in waited
    assert took > (windows - 1) * shape.window.total_seconds()
