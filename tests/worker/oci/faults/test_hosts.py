"""Hosts that are no registry, and what stands before registries: every client tells the same."""

import pytest
from aiohttp import web

from shared.faults import FaultCode
from shared.jobs.diagnosis import Outcome, Stage
from tests.fakes.scripted_registry import ScriptedRegistry, refuses
from tests.fakes.web import Answer, open_fake, says
from tests.worker.oci.faults.asking import ask, everywhere, fail_pull, probe_registry
from tests.worker.oci.parts import API, make_login, open_client, outcomes
from tests.worker.oci.sample_images import MANIFEST
from worker.oci.registry import manifests
from worker.oci.transport.settings import ConnectionSettings

PAGE = "<html><title>Welcome</title></html>"


async def _redirect_to_login(request: web.Request) -> web.StreamResponse:
    if request.path == "/login":
        return web.Response(text=PAGE, content_type="text/html")
    return web.Response(status=302, headers={"Location": "/login"})


async def _redirect_in_a_loop(request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": str(request.rel_url)})


NO_REGISTRIES = {
    "other-api": says(200, text='{"status":"ok"}', kind="application/json"),
    "list": says(200, text="[]", kind="application/json"),
    "nothing": says(200),
    "empty-object": says(200, text="{}", kind="application/json"),
    "page": says(200, text=PAGE, kind="text/html"),
    "login-page": _redirect_to_login,
    "loop": _redirect_in_a_loop,
    "404-text": says(404, text="404 page not found"),
    "404-json": says(404, text='{"message":"Not Found"}', kind="application/json"),
    "404-page": says(404, text=PAGE, kind="text/html"),
    "405": says(405),
}


@pytest.mark.parametrize("has_login", [False, True], ids=["anonymous", "login"])
@pytest.mark.parametrize("answer", NO_REGISTRIES.values(), ids=NO_REGISTRIES)
async def test_a_host_that_is_no_registry_is_told(
    answer: Answer, settings: ConnectionSettings, *, has_login: bool
) -> None:
    async with open_fake(answer) as fake:
        login = make_login(fake.host) if has_login else None
        found = await ask(fake.host, settings, login)

    assert found == everywhere(FaultCode.NOT_A_REGISTRY)
    assert fake.authorizations == []


async def test_a_redirect_to_another_hosts_login_page_is_told(
    settings: ConnectionSettings,
) -> None:
    async with open_fake(says(200, text=PAGE, kind="text/html")) as portal:
        away = says(302, headers={"Location": f"http://{portal.host}/login"})
        async with open_fake(away) as fake:
            found = await ask(fake.host, settings, make_login(fake.host))

    assert found == everywhere(FaultCode.NOT_A_REGISTRY)


@pytest.mark.parametrize("answer", NO_REGISTRIES.values(), ids=NO_REGISTRIES)
async def test_a_host_behind_a_password_that_is_no_registry_is_told(
    answer: Answer, settings: ConnectionSettings
) -> None:
    registry = ScriptedRegistry({".*": answer})

    async with open_fake(registry.answer) as fake:
        found = await ask(fake.host, settings, make_login(fake.host))

    assert found == everywhere(FaultCode.NOT_A_REGISTRY)


async def test_a_registry_without_its_header_is_accepted(settings: ConnectionSettings) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/":
            return web.Response()
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": "/v2/up"})
        return web.json_response({"errors": [{"code": "NAME_UNKNOWN"}]}, status=404)

    async with open_fake(answer) as fake:
        report = await probe_registry(fake.host, settings)

    assert report.fault() is None


async def test_a_firewalls_page_is_told(settings: ConnectionSettings) -> None:
    async with open_fake(says(403, text=PAGE, kind="text/html")) as fake:
        found = await ask(fake.host, settings, make_login(fake.host))

    assert found == everywhere(FaultCode.BLOCKED_BY_PROXY)


async def test_a_firewalls_page_for_one_path_is_told(settings: ConnectionSettings) -> None:
    registry = ScriptedRegistry({"(GET|HEAD) /v2/team/.*": says(403, text=PAGE, kind="text/html")})

    async with open_fake(registry.answer) as fake:
        error = await fail_pull(fake.host, settings, make_login(fake.host))
        async with open_client(fake.host, settings, make_login(fake.host)) as client:
            with pytest.raises(Exception, match="cannot look up") as described:
                await manifests.describe(client, "team/app", "1")

    assert error.code == FaultCode.BLOCKED_BY_PROXY
    assert getattr(described.value, "code", "") == FaultCode.BLOCKED_BY_PROXY


@pytest.mark.parametrize("size", [10_000, 200_000])
async def test_long_header_lines_are_accepted(size: int, settings: ConnectionSettings) -> None:
    registry = ScriptedRegistry()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await registry.answer(request)
        response.headers["Content-Security-Policy"] = "x" * size
        return response

    async with open_fake(answer) as fake:
        report = await probe_registry(fake.host, settings, make_login(fake.host))

    assert report.fault() is None


async def test_an_html_404_of_a_proved_registry_is_a_missing_image(
    settings: ConnectionSettings,
) -> None:
    page = says(404, text=PAGE, kind="text/html")
    registry = ScriptedRegistry({"[A-Z]+ /v2/.+": page})

    async with open_fake(registry.answer) as fake:
        found = await ask(fake.host, settings, make_login(fake.host))

    assert found == {
        "test": FaultCode.REPO_MISSING,
        "pull": FaultCode.IMAGE_NOT_FOUND,
        "push": FaultCode.REPO_MISSING,
    }


async def test_a_page_for_an_image_of_a_registry_is_a_missing_image(
    settings: ConnectionSettings,
) -> None:
    page = says(404, text=PAGE, kind="text/html")
    registry = ScriptedRegistry(unasked={"[A-Z]+ /v2/team/app/manifests/1": page})

    async with open_fake(registry.answer) as fake:
        error = await fail_pull(fake.host, settings, make_login(fake.host))

    assert error.code == FaultCode.IMAGE_NOT_FOUND


async def test_a_refusal_names_the_tag(settings: ConnectionSettings) -> None:
    registry = ScriptedRegistry()

    async with open_fake(registry.answer) as fake:
        error = await fail_pull(fake.host, settings, make_login(fake.host))

    assert error.message == f"cannot pull {fake.host}/team/app:1: there is no such image"


async def test_a_head_that_is_refused_alone_is_no_refusal(settings: ConnectionSettings) -> None:
    manifest = says(200, text="{}", kind=MANIFEST)
    registry = ScriptedRegistry(
        {"GET /v2/team/app/manifests/1": manifest},
        unasked={"HEAD /v2/.*": says(401, headers=API)},
    )

    async with (
        open_fake(registry.answer) as fake,
        open_client(fake.host, settings, make_login(fake.host)) as client,
    ):
        found = await manifests.describe(client, "team/app", "1")

    assert found.media_type == MANIFEST


async def test_403_for_missing_repositories_fails_no_test(settings: ConnectionSettings) -> None:
    registry = ScriptedRegistry({"GET /v2/team/app/tags/list": refuses(403, "DENIED")})

    async with open_fake(registry.answer) as fake:
        report = await probe_registry(fake.host, settings, make_login(fake.host))

    assert report.fault() is None
    assert outcomes(report)[Stage.PULL] is Outcome.WARNING
    assert not any("may pull" in claim for claim in report.verified)
