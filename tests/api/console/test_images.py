"""The forms for images: each submits its job, and keeps what was typed where it is refused."""

import httpx2
import pytest

from tests.api.asking import create_registry
from tests.api.console.browsing import Browser
from tests.api.fleet import TestServer

Workshop = tuple[Browser, httpx2.AsyncClient, TestServer]


@pytest.fixture
def workshop(owner: Browser, client: httpx2.AsyncClient, server: TestServer) -> Workshop:
    return owner, client, server


@pytest.mark.parametrize(
    ("action", "fields", "expected"),
    [
        ("pull", {"image": "ghcr.io/acme/app:1"}, ("image.pull", "ghcr.io/acme/app:1")),
        ("push", {"image": "app:1", "tag": "2"}, ("image.push", "ghcr.io/myorg/app:2")),
        ("copy", {"image": "quay.io/a/b:1", "name": "b"}, ("image.copy", "ghcr.io/myorg/b:1")),
        ("tag", {"source": "app:1", "target": "ghcr.io/a/b:2"}, ("image.tag", "ghcr.io/a/b:2")),
    ],
)
async def test_a_form_requests_its_job_and_leads_to_it(
    workshop: Workshop, action: str, fields: dict[str, str], expected: tuple[str, str]
) -> None:
    owner, client, server = workshop
    registry = (await create_registry(client))["registryId"]
    if action in {"push", "copy"}:
        fields = {**fields, "registryId": registry, "sourceRegistryId": ""}
    await owner.get(f"/images/{action}")

    answer = await owner.post(f"/images/{action}", serverId=server.server_id, **fields)

    job_id = answer.headers["location"].removeprefix("/console/jobs/")
    job = (await client.get("/api/job.one", params={"jobId": job_id})).json()
    assert (job["kind"], job["command"]["reference"]) == expected
    assert (await owner.get(f"/jobs/{job_id}")).status_code == 200


async def test_a_refused_form_keeps_what_was_typed(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    await owner.get("/images/pull")

    answer = await owner.post("/images/pull", image='Not "a" reference', registryId="none")

    assert answer.status_code == 400
    assert 'value="Not &#34;a&#34; reference"' in answer.text
    assert '<option value="none" selected>' in answer.text
    assert 'role="alert"' in answer.text


async def test_an_anonymous_pull_uses_no_registry(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    await create_registry(client)
    await owner.get("/images/pull")

    for registry, expected in (("none", False), ("", True)):
        answer = await owner.post("/images/pull", image="ghcr.io/myorg/app", registryId=registry)
        job_id = answer.headers["location"].removeprefix("/console/jobs/")
        job = (await client.get("/api/job.one", params={"jobId": job_id})).json()
        assert (job["registryId"] is not None) is expected


async def test_a_viewer_has_no_form_and_is_refused(
    viewer: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    page = (await viewer.get("/images/pull")).text

    assert "Your role reads only" in page
    assert (await viewer.post("/images/pull", image="nginx")).status_code == 403
    assert (await client.get("/api/job.all")).json()["jobs"] == []


async def test_the_forms_say_what_is_missing(owner: Browser, client: httpx2.AsyncClient) -> None:
    assert "There is no server yet" in (await owner.get("/images/pull")).text
