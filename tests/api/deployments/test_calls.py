"""A deploy request is planned once: the modules that it enters, and its trips to the database.

The measure. A module is *entered* by a call of one of its functions from another module: while the
caller's module is the nearest one of ours on the stack. It is *come back to* by each entry after
the first, whether it had returned or had itself called another module in between, and in a loop as
often as the loop calls. To return to a caller that is still on the stack is no entry; a task that
is started by a call is entered once more. Functions that are generated, as those of data classes,
do not count.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from api.main import create_app
from shared.ids import make_id
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY, open_client
from tests.api.deploying import create_deployable, make_point
from tests.api.fleet import TestServer, open_server
from tests.api.tracing import CallTrace, tracing
from tests.databases import Database
from tests.proxies import Proxy, open_proxy

MOST_COME_BACKS = 2
MOST_ROUND_TRIPS = 20
"""A round trip is one or more statements sent together; their answers may come in parts."""

VALUES = {
    "api.fields.shapes": "types of fields: pydantic calls their validators and serializers",
    "api.procedure.context": "the data of the call, handed to each function",
    "shared.untrusted.documents": "reads JSON, called for each column that holds some",
    "shared.ids": "makes an id",
    "shared.jobs.accesses": "gives what a command says: its logins and its key",
    "shared.jobs.commands": "commands: data",
    "shared.jobs.containers": "settings of containers: data",
    "shared.jobs.sources": "sources of builds: data",
    "shared.models": "rows: data",
    "shared.reference": "a reference to an image: a value, parsed and written",
}
"""Data and small functions on values, which are called wherever there is such a value."""


@dataclass
class Scene:
    """An application that was deployed and can be rolled back; its API asks through the proxy."""

    client: httpx2.AsyncClient
    proxy: Proxy
    application_id: str
    rollback_id: str


@dataclass
class Observed:
    """The modules and statements of one request."""

    answer: dict[str, Any]
    trace: CallTrace
    round_trips: int


@pytest.fixture
async def scene(settings: ApiSettings, database: Database) -> AsyncIterator[Scene]:
    server = database.server
    async with open_proxy(("127.0.0.1", server.port)) as proxy:
        url = database.url("wharf_api", server.passwords["wharf_api"])
        through = url.replace(f":{server.port}/", f":{proxy.port}/")
        values = {**settings.model_dump(), "database_url": through}
        app = create_app(ApiSettings.model_validate(values), patience=timedelta(seconds=10))
        async with (
            app.router.lifespan_context(app),
            open_client(app, ADMIN_KEY) as client,
            open_server(client, database) as server_of_application,
        ):
            yield await _fill(client, proxy, server_of_application)


async def _fill(client: httpx2.AsyncClient, proxy: Proxy, server: TestServer) -> Scene:
    """With a registry of each sort, so that every step of a build is there."""
    application = await create_deployable(client, [server], appName="app", rollbackActive=True)
    point = await make_point(client, server, application)
    chosen = {"applicationId": application["applicationId"]}
    update = {**chosen, "registryId": application["buildRegistryId"]}
    answer = await client.post("/api/application.update", json=update)
    assert answer.status_code == 200, answer.text
    return Scene(client, proxy, application["applicationId"], point["rollbackId"])


async def observe(scene: Scene, procedure: str, key: str | None = None) -> Observed:
    body = {"applicationId": scene.application_id}
    if procedure.startswith("rollback."):
        body = {"rollbackId": scene.rollback_id}
    headers = {"Idempotency-Key": key} if key else {}
    before = scene.proxy.round_trips
    with tracing(VALUES) as trace:
        answer = await scene.client.post(f"/api/{procedure}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return Observed(answer.json(), trace, scene.proxy.round_trips - before)


@pytest.mark.parametrize(
    "procedure",
    ["application.deploy", "application.redeploy", "application.build", "rollback.rollback"],
)
@pytest.mark.parametrize("key", [None, "the same again"])
async def test_a_request_comes_back_to_no_module_more_than_twice(
    scene: Scene, procedure: str, key: str | None
) -> None:
    observed = await observe(scene, procedure, key)

    often = {name for name, count in observed.trace.come_backs().items() if count > MOST_COME_BACKS}
    assert not often, observed.trace.lines()
    assert observed.round_trips <= MOST_ROUND_TRIPS


async def test_a_deploy_request_enters_the_planning_and_the_storing_modules_once(
    scene: Scene,
) -> None:
    observed = await observe(scene, "application.deploy")

    called = [(entry.module, entry.function) for entry in observed.trace.entries]
    for function in (
        ("api.applications.permissions", "require_builder"),
        ("api.builds.plan", "make_build_plan"),
        ("api.deployments.plan", "plan_new_build"),
        ("api.builds.store", "store_build"),
        ("shared.deployments.store", "store_deployment"),
    ):
        assert called.count(function) == 1, observed.trace.lines()


def test_a_module_that_is_called_three_times_is_come_back_to_twice() -> None:
    with tracing() as trace:
        for _ in range(3):
            make_id()

    assert [entry.module for entry in trace.entries] == ["shared.ids"] * 3
    assert trace.come_backs() == {"shared.ids": 2}


def test_a_module_that_is_left_out_is_not_counted() -> None:
    with tracing(["shared.ids"]) as trace:
        make_id()

    assert trace.entries == []
