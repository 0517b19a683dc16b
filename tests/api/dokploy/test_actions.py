"""Public deploy actions of GitHub that wait for the end, replayed as their HTTP calls."""

from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.api.deploying import DIGEST, create_deployable, reconcile
from tests.api.fleet import TestServer

HEADERS = {"accept": "application/json", "content-type": "application/json"}
RAN = {"digest": DIGEST, "imageId": DIGEST, "containerId": "c", "gapSeconds": 0.0}
RESULTS: dict[str, dict[str, Any]] = {"image.build": {}, "container.replace": RAN}
FAULT = {"code": "image_not_found", "message": "there is no such image", "retryable": False}


@dataclass
class Pipeline:
    """A pipeline that deploys, and the server that meanwhile works."""

    client: httpx2.AsyncClient
    server: TestServer
    application_id: str

    async def get(self, procedure: str) -> Any:
        path = f"/api/{procedure}?applicationId={self.application_id}"
        answer = await self.client.get(path, headers=HEADERS)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def deploy(self) -> None:
        body = {"applicationId": self.application_id}
        answer = await self.client.post("/api/application.deploy", json=body, headers=HEADERS)
        assert answer.status_code == 200, answer.text

    async def deploy_by_trpc(self) -> None:
        body = {"json": {"applicationId": self.application_id}}
        answer = await self.client.post("/api/trpc/application.deploy", json=body, headers=HEADERS)
        assert answer.status_code == 200, answer.text

    async def work(self) -> None:
        """Build, push, keep, pull and run, as the server's worker does."""
        while (await self.get("deployment.all"))[0]["finishedAt"] is None:
            job = await self.server.next_job()
            reported = RESULTS.get(job.kind, {"digest": DIGEST})
            await self.server.finish(job, "succeeded", result={"reference": "x", **reported})
            await reconcile(self.server)

    async def fail(self) -> None:
        await self.server.finish(await self.server.next_job(), "failed", error=FAULT)
        await reconcile(self.server)


@pytest.fixture
async def pipeline(client: httpx2.AsyncClient, server: TestServer) -> Pipeline:
    application = await create_deployable(client, [server])
    return Pipeline(client, server, application["applicationId"])


@pytest.mark.parametrize(("ending", "status"), [("work", "done"), ("fail", "error")])
async def test_an_action_that_polls_the_newest_deployment_sees_its_end(
    pipeline: Pipeline, ending: str, status: str
) -> None:
    await pipeline.deploy()
    before = (await pipeline.get("deployment.all"))[0]
    await getattr(pipeline, ending)()
    after = (await pipeline.get("deployment.all"))[0]

    assert (before["status"], after["status"]) == ("running", status)
    assert before["deploymentId"] == after["deploymentId"]
    assert bool(after["errorMessage"]) == (status == "error")


async def test_an_action_that_looks_for_a_newer_deployment_finds_its_own(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy()
    await pipeline.work()
    baseline = (await pipeline.get("deployment.all"))[0]["createdAt"]

    await pipeline.deploy()
    newer = [each for each in await pipeline.get("deployment.all") if each["createdAt"] > baseline]
    await pipeline.work()

    [own] = newer
    ended = await pipeline.get("deployment.all")
    assert own["status"] == "running"
    assert {each["deploymentId"]: each["status"] for each in ended}[own["deploymentId"]] == "done"


async def test_an_action_that_polls_the_application_sees_the_end(pipeline: Pipeline) -> None:
    await pipeline.deploy_by_trpc()
    before = await pipeline.get("application.one")
    await pipeline.work()
    after = await pipeline.get("application.one")

    assert (before["applicationStatus"], after["applicationStatus"]) == ("running", "done")


async def test_an_action_for_compose_is_told_why_it_cannot_deploy(pipeline: Pipeline) -> None:
    body = {"composeId": "x"}

    answer = await pipeline.client.post("/api/compose.deploy", json=body, headers=HEADERS)

    assert answer.status_code == 501
    assert "compose.pull" in answer.json()["message"]
