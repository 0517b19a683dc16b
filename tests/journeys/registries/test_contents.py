"""What a server pushed is found in its registry, with its signature and what runs it."""

import base64
from typing import Any

from shared.reference import make_attachments_tag
from tests.journeys.conftest import PASSWORD, Port
from tests.worker.oci.sample_images import RepositoryFixture, make_image
from worker.local.images import make_image as make_on_engine


def basic() -> dict[str, str]:
    pair = base64.b64encode(f"porter:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


async def test_a_pushed_image_is_found_with_its_signature(port: Port) -> None:
    server_id = port.servers[0].server_id
    make_on_engine(port.fleet.hosts[0].docker_host, "found/app:1", layer_bytes=(70_000,), seed=9)
    job_id = port.jobs.push(server_id, port.registry_id, "found/app:1")
    pushed = port.jobs.ended(job_id)["result"]
    repository = pushed["reference"].partition("/")[2].partition(":")[0]
    chosen: dict[str, Any] = {"registryId": port.registry_id, "serverId": server_id}
    signature = make_image(b"a signature")
    tag = f"{make_attachments_tag(pushed['digest'])}.sig"
    await RepositoryFixture(port.registry.host, repository, basic()).put(tag, signature)

    repositories = port.stack.call("image.repositories", chosen)
    tags = port.stack.call("image.tags", {**chosen, "repository": repository})
    image = port.stack.call(
        "image.inspect", {**chosen, "image": f"{port.registry.host}/{repository}:1"}
    )

    assert (repositories["source"], repositories["finding"]) == ("registry", None)
    assert repository in repositories["repositories"]
    assert set(tags["tags"]) == {"1", tag}
    assert (image["digest"], image["running"], image["gaps"]) == (pushed["digest"], [], [])
    assert [one["digest"] for one in image["platforms"]] == [pushed["digest"]]
    assert image["sizeBytes"] > 70_000
    assert [(one["kind"], one["digest"]) for one in image["attachments"]] == [
        ("signature", signature.digest)
    ]
