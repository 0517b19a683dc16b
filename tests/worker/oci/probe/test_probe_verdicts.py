"""Hosts that answer but are not good registries: web pages, proxies, limits, odd token servers."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from shared.faults import FaultCode
from shared.jobs.diagnosis import Outcome, Stage
from tests.fakes.certificates import Authority
from tests.fakes.sockets import be_silent, open_socket
from tests.fakes.token_server import SigningKey, TokenServer, open_token_server
from tests.fakes.web import Answer, open_fake, says
from tests.worker.oci.parts import API, PASSWORDS, make_login, make_settings, outcomes, stage
from worker.oci.probe import ProbeRequest, probe
from worker.oci.transport.settings import ConnectionSettings, Deadlines

PAGE = "<html>Welcome</html>"


def require_basic(then: Answer) -> Answer:
    """Require any password, then respond as ``then``."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "Authorization" in request.headers:
            return await then(request)
        challenge = {"WWW-Authenticate": 'Basic realm="fake"', **API}
        return web.json_response({"errors": []}, status=401, headers=challenge)

    return answer


def respond_by_path(path: str, special: Answer, rest: Answer) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await (special if request.path == path else rest)(request)

    return answer


def token_challenge(realm: str) -> Answer:
    headers = {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry"', **API}
    return says(401, text="{}", kind="application/json", headers=headers)


async def own_token_challenge(request: web.Request) -> web.StreamResponse:
    """Name a token server at the same origin, as a registry without TLS has to."""
    return await token_challenge(f"http://{request.host}/token")(request)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (says(200, text=PAGE, kind="text/html"), FaultCode.NOT_A_REGISTRY),
        (says(200, text="hello"), FaultCode.NOT_A_REGISTRY),
        (says(200, text="[]", kind="application/json"), FaultCode.NOT_A_REGISTRY),
        (says(404, text=PAGE, kind="text/html"), FaultCode.NOT_A_REGISTRY),
        (says(404, text="404 page not found"), FaultCode.NOT_A_REGISTRY),
        (says(401, text=PAGE, kind="text/html"), FaultCode.NOT_A_REGISTRY),
        (
            says(401, headers={"WWW-Authenticate": "Negotiate"}),
            FaultCode.NOT_A_REGISTRY,
        ),
        (says(403, text=PAGE, kind="text/html"), FaultCode.BLOCKED_BY_PROXY),
        (says(403, text="Forbidden"), FaultCode.BLOCKED_BY_PROXY),
        (says(407), FaultCode.PROXY_ERROR),
        (says(500), FaultCode.REGISTRY_ERROR),
        (says(503, text=PAGE, kind="text/html"), FaultCode.REGISTRY_ERROR),
        (says(405), FaultCode.NOT_A_REGISTRY),
    ],
)
async def test_a_host_without_a_working_registry_never_passes(
    answer: Answer, code: FaultCode, settings: ConnectionSettings
) -> None:
    async with open_fake(answer) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == code and fault.stage == Stage.PING
    assert fake.authorizations == []
    assert report.verified == ("that the host has an address", "that the port can be reached")


async def test_a_rate_limit_reports_when_to_retry(settings: ConnectionSettings) -> None:
    async with open_fake(says(429, headers={"Retry-After": "37"})) as fake:
        report = await probe(ProbeRequest(fake.host), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.RATE_LIMITED
    assert fault.retryable and fault.retry_after_seconds == 37


async def test_a_redirect_to_a_login_portal_is_not_followed(settings: ConnectionSettings) -> None:
    async with open_fake(says(200)) as portal:
        redirect = says(302, headers={"Location": f"http://{portal.host}/login"})
        async with open_fake(redirect) as fake:
            report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.NOT_A_REGISTRY and "127.0.0.1" in fault.message
    assert portal.requests == []


async def test_a_web_page_behind_a_password_is_not_a_registry(settings: ConnectionSettings) -> None:
    page = says(200, text=PAGE, kind="text/html")
    async with open_fake(require_basic(page)) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.NOT_A_REGISTRY and fault.stage == Stage.AUTH


async def test_a_file_behind_a_password_is_not_a_registry(settings: ConnectionSettings) -> None:
    async with open_fake(require_basic(says(200, text="hello"))) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.NOT_A_REGISTRY and fault.stage == Stage.AUTH


async def test_a_repository_that_must_be_created_first_is_reported(
    settings: ConnectionSettings,
) -> None:
    unknown = says(404, text='{"errors":[{"code":"NAME_UNKNOWN"}]}', kind="application/json")
    good = says(200, text="{}", kind="application/json", headers=API)
    async with open_fake(require_basic(respond_by_path("/v2/", good, unknown))) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.REPO_MISSING and fault.stage == Stage.PUSH
    assert "does not exist yet" in stage(report, Stage.PULL).evidence


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, '{"errors":[{"code":"UNAUTHORIZED"}]}', FaultCode.PUSH_DENIED),
        (403, '{"errors":[{"code":"DENIED"}]}', FaultCode.PUSH_DENIED),
        (403, "Forbidden", FaultCode.BLOCKED_BY_PROXY),
        (404, '{"errors":[{"code":"NAME_UNKNOWN"}]}', FaultCode.REPO_MISSING),
        (429, "{}", FaultCode.RATE_LIMITED),
        (200, '{"errors":[{"code":"TOOMANYREQUESTS"}]}', FaultCode.RATE_LIMITED),
        (503, "", FaultCode.REGISTRY_ERROR),
    ],
)
async def test_a_refused_upload_has_the_code_of_its_reason(
    status: int, body: str, code: FaultCode, settings: ConnectionSettings
) -> None:
    refusal = says(status, text=body, kind="application/json")
    good = says(200, text='{"tags":[]}', kind="application/json", headers=API)
    path = "/v2/connection-test/blobs/uploads/"
    async with open_fake(require_basic(respond_by_path(path, refusal, good))) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == code and fault.stage == Stage.PUSH


async def test_an_upload_that_cannot_be_cancelled_still_verifies_the_right(
    settings: ConnectionSettings,
) -> None:
    good = says(200, text='{"tags":[]}', kind="application/json", headers=API)
    begun = says(202, headers={"Location": "/v2/connection-test/blobs/uploads/1"})
    path = "/v2/connection-test/blobs/uploads/"
    rest = respond_by_path(f"{path}1", says(405), good)
    async with open_fake(require_basic(respond_by_path(path, begun, rest))) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    assert report.fault() is None
    assert "remove it by itself" in stage(report, Stage.PUSH).evidence


async def test_a_refused_catalog_is_not_a_failure(settings: ConnectionSettings) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/_catalog":
            return web.json_response({"errors": [{"code": "DENIED"}]}, status=403)
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": "/v2/u"})
        return web.json_response({"tags": []}, headers=API)

    async with open_fake(require_basic(answer)) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    assert report.fault() is None
    assert outcomes(report)[Stage.CATALOG] is Outcome.SKIPPED
    assert "DELETE /v2/u" in fake.lines


async def test_an_unreachable_token_server_is_named(authority: Authority, tmp_path: Path) -> None:
    async with open_socket(be_silent) as once:
        pass
    tls = authority.context("127.0.0.1")
    async with open_fake(token_challenge(f"https://{once}/token"), tls=tls) as fake:
        settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_SERVER_UNREACHABLE and fault.retryable
    assert once in fault.message


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (says(200, text=PAGE, kind="text/html"), FaultCode.AUTH_SERVER_UNREACHABLE),
        (says(200, text='{"token": "a\\nb"}'), FaultCode.AUTH_SERVER_UNREACHABLE),
        (says(200, text='{"token": 7}'), FaultCode.AUTH_SERVER_UNREACHABLE),
        (says(302, headers={"Location": "/other"}), FaultCode.AUTH_SERVER_UNREACHABLE),
        (says(404), FaultCode.AUTH_SERVER_UNREACHABLE),
        (says(403), FaultCode.AUTH_BAD_CREDENTIALS),
        (says(429, headers={"Retry-After": "5"}), FaultCode.RATE_LIMITED),
        (says(503), FaultCode.AUTH_SERVER_UNREACHABLE),
    ],
)
async def test_a_token_server_without_a_token_has_the_code_of_its_reason(
    answer: Answer, code: FaultCode, settings: ConnectionSettings
) -> None:
    async with open_fake(respond_by_path("/token", answer, own_token_challenge)) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == code and fault.stage == Stage.AUTH


async def test_the_rights_of_an_opaque_token_are_tested_at_the_registry(
    signing_key: SigningKey, settings: ConnectionSettings
) -> None:
    async with open_token_server(signing_key, PASSWORDS) as tokens:
        tokens.is_opaque = True
        async with open_fake(_registry_for_opaque_tokens(tokens)) as fake:
            report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.PUSH_DENIED and fault.stage == Stage.PUSH
    assert outcomes(report)[Stage.PULL] is Outcome.OK


async def test_a_test_beyond_its_time_limit_is_stopped(settings: ConnectionSettings) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with open_fake(require_basic(never)) as fake:
        request = ProbeRequest(fake.host, make_login(fake.host))
        report = await probe(request, settings, time_limit=timedelta(milliseconds=300))

    fault = report.fault()
    assert fault and fault.code == FaultCode.CONN_TIMEOUT and fault.stage == Stage.AUTH
    assert sum(result.milliseconds for result in report.stages) < 2000


async def test_a_missing_response_ends_at_its_own_deadline() -> None:
    async with open_socket(be_silent) as host:
        slow = make_settings(deadlines=Deadlines(tls=timedelta(milliseconds=150)))
        report = await probe(ProbeRequest(host), slow)

    fault = report.fault()
    assert fault and fault.code == FaultCode.CONN_TIMEOUT and fault.stage == Stage.TLS
    assert stage(report, Stage.TLS).milliseconds < 1500


def _registry_for_opaque_tokens(tokens: TokenServer) -> Answer:
    """Let every token read and none write, as GitHub's registry with a weak token."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return await tokens.answer(request)
        if not request.headers.get("Authorization", "").startswith("Bearer opaque-"):
            return await own_token_challenge(request)
        if request.method == "POST":
            return web.json_response({"errors": [{"code": "DENIED"}]}, status=403)
        return web.json_response({"tags": []}, headers=API)

    return answer
