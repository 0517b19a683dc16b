"""The log of a deployment: everything that its servers said, on a real database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from api.deployments.logs import MAX_CHARACTERS, MAX_TAIL
from tests.api.deploying import create_deployable, deploy, reconcile
from tests.api.fleet import TestServer, open_server
from tests.databases import Database

UNHEALTHY = {
    "code": "container_unhealthy",
    "message": "replace x: it ended with code 7:\nno database",
    "remedy": "Look at its lines.",
    "retryable": False,
}
DIGEST = f"sha256:{'a' * 64}"
RAN = {"containerId": "c" * 64, "gapSeconds": 0.0}


@dataclass
class LogScenario:
    """An application that may be deployed to two servers, and who reads its logs."""

    client: httpx2.AsyncClient
    servers: dict[str, TestServer]
    application: dict[str, Any]

    async def deploy(self) -> str:
        requested = await deploy(self.client, self.application["applicationId"])
        return str(requested["deploymentId"])

    async def use(self, *names: str) -> None:
        chosen = [self.servers[name].server_id for name in names]
        body = {"applicationId": self.application["applicationId"], "serverIds": chosen}
        answer = await self.client.post("/api/application.update", json=body)
        assert answer.status_code == 200, answer.text

    async def read(self, deployment_id: str, **requested: Any) -> list[str]:
        """Its lines, without their times, which go up."""
        params = {"deploymentId": deployment_id, **requested}
        answer = await self.client.get("/api/deployment.readLogs", params=params)
        assert answer.status_code == 200, answer.text
        lines = answer.json().split("\n")
        times = [line.partition(" ")[0] for line in lines]
        assert times == sorted(times)
        assert all(time.endswith("Z") for time in times)
        return [line.partition(" ")[2] for line in lines]


@pytest.fixture
async def scenario(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> AsyncIterator[LogScenario]:
    async with open_server(client, database, "beta") as second:
        application = await create_deployable(client, [server], appName="my-app")
        yield LogScenario(client, {"alpha": server, "beta": second}, application)


async def test_log_lines_of_a_server_are_in_order_of_time(scenario: LogScenario) -> None:
    alpha = scenario.servers["alpha"]
    deployment_id = await scenario.deploy()
    job = await alpha.next_job()
    await alpha.event(job, "log", {"text": "2 of 4 layers are here\npulling"})
    await alpha.event(job, "progress", {"current_bytes": 1})
    await alpha.finish(job, "succeeded", result={"digest": DIGEST})
    job = await alpha.next_job()
    await alpha.event(job, "log", {"text": "starting"})
    await alpha.finish(job, "failed", error=UNHEALTHY)

    assert await scenario.read(deployment_id) == [
        "image.pull: queued",
        "container.replace: queued",
        "image.pull: running",
        "2 of 4 layers are here",
        "pulling",
        "image.pull: succeeded",
        "container.replace: running",
        "starting",
        "container.replace: failed container_unhealthy: replace x: it ended with code 7:",
        "no database",
        "Look at its lines.",
    ]


async def test_of_several_servers_each_line_says_whose_it_is(scenario: LogScenario) -> None:
    await scenario.use("alpha", "beta")
    deployment_id = await scenario.deploy()
    names = {server.server_id: name for name, server in scenario.servers.items()}
    for job in await scenario.servers["alpha"].release():
        name = names[job.server_id]
        server = scenario.servers[name]
        await server.claim(job)
        await server.event(job, "log", {"text": f"this is {name}\nindeed"})
        await server.finish(job, "failed", error=UNHEALTHY)

    lines = await scenario.read(deployment_id)

    assert {line.partition(" ")[0] for line in lines} == set(names.values())
    for name in names.values():
        mine = [line.partition(" ")[2] for line in lines if line.startswith(f"{name} ")]
        assert mine[2:5] == ["image.pull: running", f"this is {name}", "indeed"]
        assert mine[-1] == "Look at its lines."


async def test_a_step_that_is_retried_says_why(scenario: LogScenario) -> None:
    alpha = scenario.servers["alpha"]
    deployment_id = await scenario.deploy()
    again = {"code": "conn_refused", "message": "nothing listens", "retryable": True}
    await alpha.fail_next({**again, "retry_after_seconds": 0})
    await alpha.next_job()

    assert (await scenario.read(deployment_id))[2:] == [
        "image.pull: running",
        "image.pull: queued conn_refused: nothing listens",
        "image.pull: running, attempt 2",
    ]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(1, ["5"]), (3, ["3", "4", "5"]), (6, ["image.pull: running", *"12345"])],
)
async def test_the_tail_is_as_many_lines_as_were_asked_for(
    scenario: LogScenario, tail: int, expected: list[str]
) -> None:
    alpha = scenario.servers["alpha"]
    deployment_id = await scenario.deploy()
    job = await alpha.next_job()
    for text in ("1\n2", "3\n4\n5"):
        await alpha.event(job, "log", {"text": text})

    assert await scenario.read(deployment_id, tail=tail) == expected


async def test_without_a_tail_there_are_a_hundred_lines_at_the_most(scenario: LogScenario) -> None:
    alpha = scenario.servers["alpha"]
    deployment_id = await scenario.deploy()
    job = await alpha.next_job()
    for piece in range(3):
        lines = [f"{piece}/{line}" for line in range(60)]
        await alpha.event(job, "log", {"text": "\n".join(lines)})

    found = await scenario.read(deployment_id)

    assert (len(found), found[0], found[-1]) == (100, "1/20", "2/59")
    assert len(await scenario.read(deployment_id, tail=10_000)) == 183


@pytest.mark.parametrize("tail", [0, -1, 10_001, "many"])
async def test_a_tail_out_of_bounds_is_refused(scenario: LogScenario, tail: int | str) -> None:
    params: dict[str, int | str] = {"deploymentId": await scenario.deploy(), "tail": tail}

    answer = await scenario.client.get("/api/deployment.readLogs", params=params)

    assert answer.status_code == 400


async def test_a_long_log_ends_where_an_answer_does(
    scenario: LogScenario, database: Database
) -> None:
    alpha = scenario.servers["alpha"]
    deployment_id = await scenario.deploy()
    job = await alpha.next_job()
    await alpha.event(job, "log", {"text": "\n".join(["x" * 4000] * 3)})
    database.execute(
        "INSERT INTO job_event (job_id, seq, attempt, kind, data)"
        " SELECT job_id, 100 + many, attempt, kind, data"
        " FROM job_event, generate_series(1, 400) AS many WHERE kind = 'log'"
    )

    lines = await scenario.read(deployment_id, tail=MAX_TAIL)

    length = len("2026-01-01T10:00:00.000Z ") + 4000 + len("\n")
    assert len(lines) == MAX_CHARACTERS // length


async def test_a_deployment_that_waits_says_so(scenario: LogScenario) -> None:
    deployment_id = await scenario.deploy()

    lines = await scenario.read(deployment_id)

    assert lines == ["image.pull: queued", "container.replace: queued"]


async def test_pruned_lines_are_announced_before_the_rest(
    scenario: LogScenario, database: Database
) -> None:
    alpha = scenario.servers["alpha"]
    deployment_id = await scenario.deploy()
    await alpha.succeed_next({"digest": DIGEST})
    await alpha.fail_next(UNHEALTHY)
    await reconcile(alpha)
    failed = "failed container_unhealthy: replace x: it ended with code 7:"

    database.execute("DELETE FROM job_event")
    without_events = await scenario.read(deployment_id)
    database.execute("DELETE FROM job")
    without_jobs = await scenario.read(deployment_id)

    assert without_events[:2] == ["image.pull: succeeded", f"container.replace: {failed}"]
    assert without_jobs == [f"deployment: {failed}", "no database", "Look at its lines."]


async def test_a_build_that_was_asked_for_with_it_comes_first(
    scenario: LogScenario, database: Database
) -> None:
    deployment_id = await scenario.deploy()
    [(build_id,)] = database.execute("SELECT build_id FROM build")
    assert not any("image.build" in line for line in await scenario.read(deployment_id))
    database.execute(  # as a call leaves it that builds and deploys
        "WITH renamed AS (UPDATE build SET build_id = %s WHERE build_id = %s)"
        " UPDATE deployment SET build_id = %s",
        *(deployment_id, build_id, deployment_id),
    )

    lines = await scenario.read(deployment_id)

    assert lines[0] == "image.build: queued"
    assert lines[-2:] == ["image.pull: queued", "container.replace: queued"]
    assert "image.push: succeeded" in lines


async def test_anothers_deployment_is_not_found(
    scenario: LogScenario, stranger: httpx2.AsyncClient
) -> None:
    params = {"deploymentId": await scenario.deploy()}

    answer = await stranger.get("/api/deployment.readLogs", params=params)

    assert answer.status_code == 404
    assert answer.json()["message"] == "Deployment not found"
