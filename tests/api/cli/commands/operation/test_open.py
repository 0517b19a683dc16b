"""``wharf open``: the address of a thing in the console."""

import httpx2

from tests.api.asking import create_application, create_registry
from tests.api.cli.running import Ran, run
from tests.api.deploying import create_deployable, deploy
from tests.api.fleet import TestServer


async def test_a_thing_has_the_address_of_its_page(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    registry = await create_registry(client, registryName="Team")
    application = await create_application(client, appName="shop")
    kept = await create_deployable(client, [server], appName="kept")
    deployment = (await deploy(client, kept["applicationId"]))["deploymentId"]
    [build] = (
        await client.get("/api/build.all", params={"applicationId": kept["applicationId"]})
    ).json()
    webhook = (await client.post("/api/webhook.create", json={"url": "https://a.example/"})).json()
    job = (await client.post("/api/image.pull", json={"image": "ghcr.io/a/b:1"})).json()["jobId"]
    pages = {
        "Team": f"registries/{registry['registryId']}",
        "shop": f"applications/{application['applicationId']}",
        "alp": f"servers/{server.server_id}",
        job: f"jobs/{job}",
        "https://a.": f"webhooks/{webhook['webhookId']}",
        deployment: f"deployments/{deployment}",
        build["buildId"]: f"builds/{build['buildId']}",
    }

    opened = {name: await run(url, "open", name) for name in pages}

    for name, page in pages.items():
        assert opened[name] == Ran(0, f"{url}/console/{page}\n", "")


async def test_a_name_of_two_things_and_one_of_none_are_refused(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    await create_registry(client, registryName="alpha")

    both = await run(url, "open", "alpha")
    none = await run(url, "open", "nothing")

    assert (both.code, none.code) == (1, 1)
    assert "2 things are named alpha" in both.err and server.server_id in both.err
    assert "nothing is named nothing" in none.err
