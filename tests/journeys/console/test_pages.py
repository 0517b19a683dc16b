"""Every page of the console reads in light and dark, narrow and wide, and without a script."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium

from tests.journeys.conftest import Port
from tests.journeys.console.browser import Tab, open_tab
from tests.journeys.deployments.test_deployments import HEALTHY, dockerfile
from tests.journeys.registries.test_credential_uses import deploy
from tests.worker.engine.contexts import make_base
from tests.worker.local.conditions import wait_until
from worker.local.images import make_image

LISTS = (
    *("", "/registries", "/registries/new", "/matrix", "/jobs", "/images"),
    *("/applications", "/applications/new", "/rollbacks", "/servers", "/webhooks", "/audit"),
    *("/people", "/keys", "/account", "/organizations", "/signing", "/signing/verify"),
    *("/sign-in", "/join/whi_link", "/reset/whr_link"),
)
SIZES = {"phone": (360, 740), "wall": (3840, 2160)}


@pytest.fixture(scope="module")
def pages(port: Port, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The addresses of all pages, with one object of each kind."""
    make_image(port.fleet.hosts[0].docker_host, "team/page:1", layer_bytes=(50_000,), seed=3)
    server_id = port.servers[0].server_id
    job_id = port.jobs.push(server_id, port.registry_id, "team/page:1")
    port.jobs.ended(job_id)
    hook_id = port.stack.call("webhook.create", {"url": "https://hooks.example.com/"})["webhookId"]
    key = port.stack.call("signingKey.create", {"name": "pages"})
    deployment = deploy_application(port, server_id, tmp_path_factory.mktemp("page"))
    chosen = {"applicationId": deployment["applicationId"]}
    wait_until(lambda: bool(port.stack.call("rollback.all", chosen)), seconds=60)
    [point] = port.stack.call("rollback.all", chosen)
    application = f"/applications/{deployment['applicationId']}"
    return [
        *LISTS,
        *(f"/registries/{port.registry_id}{part}" for part in ("", "/edit", "/rotate", "/remove")),
        f"/registries/{port.registry_id}/contents",
        f"/registries/{port.registry_id}/contents/tags?repository=team/page",
        f"/registries/{port.registry_id}/contents/image?name=team/page:1",
        f"/matrix/{port.registry_id}/{server_id}",
        *(f"/servers/{server_id}{part}" for part in ("", "/edit", "/remove")),
        *("/servers/new", "/webhooks/new", f"/jobs/{job_id}"),
        *(f"/webhooks/{hook_id}{part}" for part in ("", "/edit", "/remove")),
        *(
            f"{application}{part}"
            for part in (
                *(
                    "",
                    "/deployments",
                    "/builds",
                    "/digests",
                    "/logs",
                    "/hooks",
                    "/settings",
                    "/signing",
                ),
                "/remove",
                f"/rollbacks/{point['rollbackId']}",
            )
        ),
        f"/builds/{deployment['buildId']}",
        f"/deployments/{deployment['deploymentId']}",
        f"/rollbacks?applicationId={deployment['applicationId']}",
        f"/signing/{key['signingKeyId']}/remove",
        f"/signing/verify?image={port.registry.host}/team/page:1&registryId={port.registry_id}",
        *(f"/images/{action}" for action in ("push", "pull", "copy", "tag")),
        *("/jobs/cancel", "/jobs/retry"),
    ]


def deploy_application(port: Port, server_id: str, directory: Path) -> dict[str, Any]:
    """Build, retain and deploy an application; return its deployment. Its container is stopped."""
    make_base(port.fleet.hosts[0].docker_host)
    made = port.stack.call(
        "application.create",
        {
            "name": "page",
            "appName": "page",
            "healthCheck": HEALTHY,
            "buildRegistryId": port.registry_id,
            "rollbackRegistryId": port.registry_id,
            "rollbackActive": True,
            "buildServerId": server_id,
            "serverIds": [server_id],
        },
    )
    content = dockerfile("one", "well")
    deployed = deploy(port, made["applicationId"], directory / "git", content)
    port.stack.call("application.stop", {"applicationId": made["applicationId"]})
    return deployed


@pytest.fixture(scope="module", params=["light", "dark"])
def tab(
    request: pytest.FixtureRequest, owner: Tab, chromium: Chromium, node_modules: Path
) -> Iterator[Tab]:
    """A tab of the owner in one of the two colour schemes."""
    state: Any = owner.page.context.storage_state()
    options = {"color_scheme": request.param, "storage_state": state}
    with open_tab(chromium, owner.url, node_modules, **options) as tab:
        yield tab


@pytest.mark.timeout(600)
def test_axe_finds_nothing_on_any_page(tab: Tab, pages: list[str]) -> None:
    found = {}
    for path in pages:
        tab.open(f"/console{path}")
        if wrong := tab.violations():
            found[path] = wrong

    assert found == {}
    assert tab.errors == []


@pytest.mark.parametrize("size", sorted(SIZES))
def test_no_page_is_wider_than_the_window(
    owner: Tab, chromium: Chromium, node_modules: Path, pages: list[str], size: str
) -> None:
    width, height = SIZES[size]
    state: Any = owner.page.context.storage_state()
    options = {"viewport": {"width": width, "height": height}, "storage_state": state}
    wider = {}
    with open_tab(chromium, owner.url, node_modules, **options) as tab:
        for path in pages:
            tab.open(f"/console{path}")
            if pixels := tab.overflow():
                wider[path] = pixels

    assert wider == {}


def test_every_page_reads_without_a_script(
    owner: Tab, chromium: Chromium, node_modules: Path, pages: list[str]
) -> None:
    state: Any = owner.page.context.storage_state()
    with open_tab(
        chromium, owner.url, node_modules, storage_state=state, java_script_enabled=False
    ) as tab:
        headings = {}
        for path in pages:
            tab.open(f"/console{path}")
            headings[path] = tab.page.get_by_role("heading", level=1).count()

    assert headings == dict.fromkeys(pages, 1)
