"""``wharf deployments``, ``builds`` and ``rollbacks``: the records of what was done."""

import httpx2

from tests.api.cli.running import run
from tests.api.deploying import create_deployable, deploy, make_point
from tests.api.fleet import TestServer


async def test_the_newest_deployments_are_listed(
    client: httpx2.AsyncClient, server: TestServer, url: str
) -> None:
    kept = await create_deployable(client, [server], appName="kept")
    made = [(await deploy(client, kept["applicationId"]))["deploymentId"] for _ in range(2)]

    newest = await run(url, "deployments", "list", "--limit", "1", "--quiet")
    of_application = await run(url, "deployments", "list", "kept", "--quiet")
    of_server = await run(url, "deployments", "list", "--server", "alpha", "--limit", "1", "-q")
    both = await run(url, "deployments", "list", "kept", "--server", "alpha")

    assert newest.out == of_server.out == f"{made[1]}\n"
    assert of_application.out == f"{made[1]}\n{made[0]}\n"
    assert (both.code, "cannot be combined" in both.err) == (1, True)


async def test_the_end_of_an_id_may_be_left_out(
    client: httpx2.AsyncClient, server: TestServer, url: str
) -> None:
    kept = await create_deployable(client, [server], appName="kept")
    deployment = (await deploy(client, kept["applicationId"]))["deploymentId"]
    [build] = (
        await client.get("/api/build.all", params={"applicationId": kept["applicationId"]})
    ).json()

    shown = await run(url, "deployments", "show", deployment[:-2])
    built = await run(url, "builds", "show", build["buildId"][:-2])

    assert f"deployment: {deployment}\n" in shown.out
    assert "server alpha: queued\n" in shown.out
    assert f"build: {build['buildId']}\n" in built.out
    assert "state: succeeded\n" in built.out


async def test_the_use_of_a_rollback_point_is_shown(
    client: httpx2.AsyncClient, server: TestServer, url: str
) -> None:
    kept = await create_deployable(client, [server], appName="kept", rollbackActive=True)
    point = await make_point(client, server, kept)

    listed = await run(url, "rollbacks", "list", "kept")

    [heading, row] = listed.out.splitlines()
    assert heading.split() == ["version", "use", "reference", "verified", "used", "id"]
    assert row.split()[:3] == ["1", "running", point["reference"]]
    assert row.endswith(point["rollbackId"])
