"""A tag is pushed and runs, and its webhook is called: a real registry, and no key."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import PASSWORD, Port
from tests.serving import open_loop, serving
from tests.worker.control.endpoints import Endpoint, open_endpoint
from tests.worker.engine.contexts import BUSYBOX
from tests.worker.local.conditions import wait_until
from worker.local.images import make_image
from worker.local.processes import free_port
from worker.local.registry import Listener, LocalRegistry


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with open_loop() as thread, serving(thread, open_endpoint()) as endpoint:
        yield endpoint


def test_a_tag_that_is_pushed_runs_and_its_webhook_is_called(
    port: Port, endpoint: Endpoint, tmp_path: Path
) -> None:
    address = port.fleet.address
    place = free_port(address)
    registry_id, application_id, hook = create(port, f"{address}:{place}")
    events = {"url": endpoint.url, "events": ["deployment.ended"]}
    webhook = port.stack.call("webhook.create", events)
    listener = Listener(port.stack.url + hook["url"], f"Bearer {hook['secret']}")
    registry = LocalRegistry.start(
        tmp_path, address=address, port=place, users={"porter": PASSWORD}, listener=listener
    )
    try:
        unwanted, wanted = (push(port, registry_id, tag) for tag in ("2.0", "1.0"))
        wait_until(lambda: bool(endpoint.messages), seconds=60)
    finally:
        registry.stop()
        port.stack.call("webhook.remove", {"webhookId": webhook["webhookId"]})

    [message] = endpoint.messages
    assert message.headers["webhook-signature"] == message.signature(webhook["secret"])
    data = message.content["data"]
    assert (message.content["type"], data["state"]) == ("deployment.ended", "succeeded")
    assert data["applicationId"] == application_id
    assert data["digest"] == wanted["digest"] != unwanted["digest"]
    [deployed] = port.stack.call("deployment.all", {"applicationId": application_id})
    assert deployed["deploymentId"] == data["deploymentId"]


def create(port: Port, host: str) -> tuple[str, str, dict[str, Any]]:
    """A registry, an application of an image in it, and the hook that deploys its ``1.…``."""
    row = {"registryName": "tells", "registryUrl": host, "username": "porter", "password": PASSWORD}
    registry = port.stack.call(
        "registry.create", row | {"registryType": "selfHosted", "plainHttp": True}
    )
    made = port.stack.call(
        "application.create", {"name": "pushed", "serverIds": [port.servers[0].server_id]}
    )
    chosen = {"applicationId": made["applicationId"]}
    image = {"dockerImage": f"{host}/team/pushed", "registryId": registry["registryId"]}
    port.stack.call("application.saveDockerProvider", chosen | image)
    hook = port.stack.call("deployHook.create", chosen | {"tagFilter": "1.*"})
    return registry["registryId"], made["applicationId"], hook


def push(port: Port, registry_id: str, tag: str) -> dict[str, Any]:
    """An image that stays up, each tag another one; from the second server."""
    make_image(
        port.fleet.hosts[1].docker_host,
        f"team/pushed:{tag}",
        files={"bin/busybox": BUSYBOX},
        command=["/bin/busybox", "sleep", "999"],
        seed=ord(tag[0]),
    )
    job_id = port.jobs.push(port.servers[1].server_id, registry_id, f"team/pushed:{tag}")
    job = port.jobs.ended(job_id)
    assert job["state"] == "succeeded", job
    result: dict[str, Any] = job["result"]
    return result
