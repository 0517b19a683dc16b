"""The newest deployment is the one that was stored last, whatever the clocks of the APIs show."""

import os
import time
from datetime import timedelta

from shared.deployments.run_settings import RunSettings
from shared.deployments.store import DeploymentPlan, Image, Rollout, store_deployment
from shared.ids import uuid7
from tests.worker.control.maintenance.test_completion import DIGEST, REFERENCE, add_build
from tests.world import EnrolledServer, World
from worker.control.maintenance.automatic_rollback import roll_back

BEHIND = timedelta(hours=-1)
OTHER = f"sha256:{'b' * 64}"
NOW = timedelta()


async def deploy(
    world: World, server: EnrolledServer, build_id: str, clock: timedelta, ended: tuple[str, str]
) -> str:
    """Have an API whose clock is so far off deploy an image; ``ended``: its digest, the outcome."""
    digest, outcome = ended
    shown = int((time.time() + clock.total_seconds()) * 1000)
    plan = DeploymentPlan(
        deployment_id=uuid7(shown, os.urandom(10)),
        organization_id=world.organization_id,
        application_id=build_id,
        build_id=build_id,
        image=Image(REFERENCE.replace(DIGEST, digest), digest, None),
        settings=RunSettings(runtime="none", name="app"),
        server_ids=[server.server_id],
        rollout=Rollout(on_failure="rollback"),
    )
    async with world.api.transaction():
        await store_deployment(world.api, plan)
    await world.owner.execute(
        "UPDATE deployment_server SET outcome = 'succeeded', finished_at = now()"
        " WHERE deployment_id = %s",
        (plan.deployment_id,),
    )
    await world.owner.execute(
        "UPDATE deployment SET outcome = %s, finished_at = now() WHERE deployment_id = %s",
        (outcome, plan.deployment_id),
    )
    return plan.deployment_id


async def test_the_last_deployment_runs_even_if_its_api_has_a_slow_clock(world: World) -> None:
    server, build_id = await world.add_server(), await add_build(world)
    await deploy(world, server, build_id, NOW, (DIGEST, "succeeded"))
    await deploy(world, server, build_id, BEHIND, (OTHER, "succeeded"))

    [row] = await world.rows(
        "SELECT image_runs(%s, %s) AS first, image_runs(%s, %s) AS last",
        *(world.organization_id, DIGEST, world.organization_id, OTHER),
    )

    assert row == {"first": False, "last": True}


async def test_a_failed_deployment_of_a_slow_clock_gives_back_what_ran_before(
    world: World,
) -> None:
    server, build_id = await world.add_server(), await add_build(world)
    await deploy(world, server, build_id, NOW, (DIGEST, "succeeded"))
    failed = await deploy(world, server, build_id, BEHIND, (OTHER, "failed"))

    await roll_back(world.control)

    [row] = await world.rows(
        "SELECT rolls_back, digest FROM deployment WHERE rolls_back IS NOT NULL"
    )
    assert row == {"rolls_back": failed, "digest": DIGEST}


async def test_nothing_is_given_back_once_a_slow_clock_has_deployed_again(world: World) -> None:
    server, build_id = await world.add_server(), await add_build(world)
    await deploy(world, server, build_id, timedelta(minutes=-1), (DIGEST, "succeeded"))
    await deploy(world, server, build_id, NOW, (OTHER, "failed"))
    await deploy(world, server, build_id, BEHIND, (OTHER, "succeeded"))

    await roll_back(world.control)

    assert not await world.rows("SELECT 1 FROM deployment WHERE rolls_back IS NOT NULL")
