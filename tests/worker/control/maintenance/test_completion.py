"""A client that waits for a deployment sees its end with its last job, not at the next sweep."""

import time
from functools import partial

from shared.deployments.run_settings import RunSettings
from shared.deployments.store import DeploymentPlan, Image, Rollout, store_deployment
from shared.ids import make_id
from tests.waiting import wait_until
from tests.worker.control.plane import Plane
from tests.world import EnrolledServer, World

DIGEST = f"sha256:{'a' * 64}"
REFERENCE = f"registry.example/team/app@{DIGEST}"


async def test_a_deployment_ends_within_a_fifth_of_a_second_of_its_last_job(plane: Plane) -> None:
    server = await plane.world.add_server()
    build_id = await add_build(plane.world)
    seconds = []

    async with plane.open_control():
        for _ in range(6):
            deployment_id = await deploy(plane.world, server, build_id)
            await plane.wait_for_message(server, deployment_id)
            pull = {"job_id": deployment_id, "attempt": 1}
            await server.call("claim", "first", **pull)
            await server.call("finish", "first", **pull, outcome="succeeded", result={})
            begun = time.monotonic()
            await wait_until(partial(has_succeeded, plane.world, deployment_id))
            seconds.append(time.monotonic() - begun)

    assert sorted(seconds)[3] < 0.2, seconds


async def add_build(world: World) -> str:
    """One that has succeeded, of an application of its own."""
    build_id = application_id = make_id()
    await world.owner.execute(
        "INSERT INTO application (application_id, organization_id, name, app_name, description,"
        " git_build_path, build_type, dockerfile, docker_context_path)"
        " VALUES (%s, %s, 'app', 'app', '', '/', 'dockerfile', 'Dockerfile', '.')",
        (application_id, world.organization_id),
    )
    await world.owner.execute(
        "INSERT INTO build (build_id, organization_id, application_id, version, title, reference,"
        " make_job_id, outcome, digest, finished_at)"
        " VALUES (%s, %s, %s, 1, '', %s, %s, 'succeeded', %s, now())",
        (build_id, world.organization_id, application_id, REFERENCE, build_id, DIGEST),
    )
    return build_id


async def deploy(world: World, server: EnrolledServer, build_id: str) -> str:
    """Have the build's image pulled to a server; the pull has the deployment's id."""
    plan = DeploymentPlan(
        deployment_id=make_id(),
        organization_id=world.organization_id,
        application_id=build_id,
        build_id=build_id,
        image=Image(REFERENCE, DIGEST, None),
        settings=RunSettings(runtime="none", name="app"),
        server_ids=[server.server_id],
        rollout=Rollout(),
    )
    async with world.api.transaction():
        await store_deployment(world.api, plan)
    return plan.deployment_id


async def has_succeeded(world: World, deployment_id: str) -> bool:
    query = "SELECT outcome FROM deployment WHERE deployment_id = %s"
    return [row["outcome"] for row in await world.rows(query, deployment_id)] == ["succeeded"]
