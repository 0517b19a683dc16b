"""Logins that fail, and registries that ask for them in unusual ways."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web

from shared.faults import FaultCode
from shared.jobs.diagnosis import Outcome, Stage
from tests.fakes.certificates import Authority
from tests.fakes.scripted_registry import ScriptedRegistry, refuses
from tests.fakes.sockets import be_silent, open_socket
from tests.fakes.web import Answer, open_fake, says
from tests.worker.oci.faults.asking import ask, everywhere, fail_pull, probe_registry
from tests.worker.oci.parts import API, basic, make_login, make_settings, open_client, outcomes
from worker.oci.probe import ProbeRequest, probe
from worker.oci.registry.listing import list_tags
from worker.oci.transport.settings import ConnectionSettings

PAGE = "<html><title>Sign in</title></html>"
ECR_EXPIRED = "Your authorization token has expired. Reauthenticate and try again."
ACR_ADDRESS = (
    "client with IP '198.51.100.7' is not allowed access. Refer https://aka.ms/acr/firewall to "
    "grant access."
)
SOON = format_datetime(datetime.now(UTC) + timedelta(hours=20), usegmt=True)
READS_DENIED = {
    "test": FaultCode.PULL_DENIED,
    "pull": FaultCode.PULL_DENIED,
    "push": FaultCode.PUSH_DENIED,
}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (says(423, text="locked"), everywhere(FaultCode.AUTH_BAD_CREDENTIALS)),
        (says(200, text=PAGE, kind="text/html"), everywhere(FaultCode.AUTH_SERVER_UNREACHABLE)),
        (says(404), everywhere(FaultCode.AUTH_SERVER_UNREACHABLE)),
        (says(404, text=PAGE, kind="text/html"), everywhere(FaultCode.AUTH_SERVER_UNREACHABLE)),
        (says(500), everywhere(FaultCode.AUTH_SERVER_UNREACHABLE)),
        (says(429), everywhere(FaultCode.RATE_LIMITED)),
        (says(403, text=PAGE, kind="text/html"), everywhere(FaultCode.BLOCKED_BY_PROXY)),
        (refuses(403, "DENIED", ACR_ADDRESS), everywhere(FaultCode.BLOCKED_BY_PROXY)),
        (refuses(403, "DENIED", "denied"), READS_DENIED),
        (refuses(401, "UNAUTHORIZED"), everywhere(FaultCode.AUTH_BAD_CREDENTIALS)),
    ],
)
async def test_a_token_server_that_fails_is_told(
    answer: Answer, expected: Mapping[str, str], settings: ConnectionSettings
) -> None:
    registry = ScriptedRegistry(auth="bearer", unasked={"GET /token": answer})

    async with open_fake(registry.answer) as fake:
        found = await ask(fake.host, settings, make_login(fake.host))

    assert found == expected


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("after", "least"), [("37", 37), (SOON, 3600)], ids=["seconds", "date"])
async def test_a_token_servers_pause_is_kept(
    status: int, after: str, least: int, settings: ConnectionSettings
) -> None:
    answer = says(status, headers={"Retry-After": after})
    registry = ScriptedRegistry(auth="bearer", unasked={"GET /token": answer})

    async with open_fake(registry.answer) as fake:
        error = await fail_pull(fake.host, settings, make_login(fake.host))

    assert error.retry_after_seconds and least <= error.retry_after_seconds <= 72_000


async def test_a_token_server_that_cannot_be_reached_is_named(
    authority: Authority, tmp_path: Path
) -> None:
    async with open_socket(be_silent) as gone:
        pass
    other = Authority(tmp_path, "another CA")
    (tmp_path / "trusted").mkdir()
    async with open_fake(says(200), tls=other.context("127.0.0.1")) as unknown:
        for where in ("no-such-name.example.test", gone, unknown.host):
            registry = ScriptedRegistry(auth="bearer", realm=f"https://{where}/token")
            async with open_fake(registry.answer, tls=authority.context("127.0.0.1")) as fake:
                trusted = authority.trust(tmp_path / "trusted", fake.host)
                settings = make_settings(certificates=trusted)
                found = await ask(fake.host, settings, make_login(fake.host))
                error = await fail_pull(fake.host, settings, make_login(fake.host))

            assert found == everywhere(FaultCode.AUTH_SERVER_UNREACHABLE)
            assert where.partition(":")[0] in error.message and "token server" in error.message


async def test_an_expired_token_of_ecr_is_told(settings: ConnectionSettings) -> None:
    registry = ScriptedRegistry({".*": refuses(403, "DENIED", ECR_EXPIRED)})

    async with open_fake(registry.answer) as fake:
        found = await ask(fake.host, settings, make_login(fake.host))

    assert found == everywhere(FaultCode.AUTH_EXPIRED)


async def test_a_token_of_another_region_is_told(settings: ConnectionSettings) -> None:
    registry = ScriptedRegistry({".*": says(400)})

    async with open_fake(registry.answer) as fake:
        login = make_login(fake.host, "AWS", "a-token-of-us-east-1")
        found = await ask(fake.host, settings, login)

    assert found == everywhere(FaultCode.AUTH_EXPIRED)


async def test_an_address_that_is_not_allowed_is_told(settings: ConnectionSettings) -> None:
    registry = ScriptedRegistry({".*": refuses(403, "DENIED", ACR_ADDRESS)})

    async with open_fake(registry.answer) as fake:
        found = await ask(fake.host, settings, make_login(fake.host))

    assert found == everywhere(FaultCode.BLOCKED_BY_PROXY)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_a_missing_project_is_told_for_a_right_login(
    auth: str, settings: ConnectionSettings
) -> None:
    missing = refuses(401, "UNAUTHORIZED", "project team not found: project team not found")
    registry = ScriptedRegistry({".* /v2/team/.*": missing})
    registry.auth = "bearer" if auth == "bearer" else "basic"

    async with open_fake(registry.answer) as fake:
        found = await ask(fake.host, settings, make_login(fake.host))

    assert found == everywhere(FaultCode.REPO_MISSING)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_a_401_for_a_right_login_is_a_missing_permission(
    auth: str, settings: ConnectionSettings
) -> None:
    denied = refuses(401, "UNAUTHORIZED", "unauthorized to access repository: team/app")
    registry = ScriptedRegistry({".* /v2/team/.*": denied})
    registry.auth = "bearer" if auth == "bearer" else "basic"

    async with open_fake(registry.answer) as fake:
        found = await ask(fake.host, settings, make_login(fake.host))

    assert found == READS_DENIED


@pytest.mark.parametrize(
    "registry",
    [
        ScriptedRegistry({".* /v2/team/.*": refuses(403, "DENIED", "denied")}, auth="none"),
        ScriptedRegistry(auth="bearer", unasked={"GET /token": refuses(403, "DENIED", "denied")}),
    ],
    ids=["registry", "token server"],
)
async def test_a_denial_without_a_login_means_that_one_is_missing(
    registry: ScriptedRegistry, settings: ConnectionSettings
) -> None:
    async with open_fake(registry.answer) as fake:
        found = await ask(fake.host, settings, None)

    assert found == everywhere(FaultCode.AUTH_MISSING)


async def test_a_401_without_a_challenge_is_answered_by_the_one_of_the_base(
    settings: ConnectionSettings,
) -> None:
    bare = refuses(401, "UNAUTHORIZED", "access to the requested resource is not authorized")
    registry = ScriptedRegistry(unasked={"[A-Z]+ /v2/team/app/manifests/.*": bare})

    async with open_fake(registry.answer) as fake:
        error = await fail_pull(fake.host, settings, make_login(fake.host))

    assert error.code == FaultCode.PULL_DENIED


async def test_a_wrong_password_is_told_everywhere(settings: ConnectionSettings) -> None:
    registry = ScriptedRegistry(authorization=basic("alice")["Authorization"])

    async with open_fake(registry.answer) as fake:
        found = await ask(fake.host, settings, make_login(fake.host, secret="wrong"))
        error = await fail_pull(fake.host, settings, make_login(fake.host, secret="wrong"))

    assert found == everywhere(FaultCode.AUTH_BAD_CREDENTIALS)
    assert error.message == (
        f"cannot log in to {fake.host}: the username or the password is not accepted"
    )


def _open_at_the_top(*, reads: bool) -> ScriptedRegistry:
    """Ask for a login below ``/v2/`` only; with ``reads`` only for a write."""
    unasked = {"GET /v2/": says(200, text="{}", kind="application/json", headers=API)}
    if reads:
        unasked["(GET|HEAD) .*/tags/list"] = says(
            200, text='{"tags":[]}', kind="application/json", headers=API
        )
    return ScriptedRegistry(unasked=unasked, authorization=basic("alice")["Authorization"])


@pytest.mark.parametrize("reads", [False, True])
async def test_a_login_that_docker_would_not_send_fails_the_test(
    settings: ConnectionSettings, *, reads: bool
) -> None:
    async with open_fake(_open_at_the_top(reads=reads).answer) as fake:
        right = await probe_registry(fake.host, settings, make_login(fake.host))
        wrong = await probe_registry(fake.host, settings, make_login(fake.host, secret="wrong"))

    unchecked = right.fault()
    assert unchecked and unchecked.stage == Stage.AUTH
    assert unchecked.code == FaultCode.AUTH_NOT_CHECKED
    assert "at /v2/" in unchecked.message and "at /v2/ too" in unchecked.remedy
    fault = wrong.fault()
    assert fault and fault.code == FaultCode.AUTH_BAD_CREDENTIALS and fault.stage == Stage.AUTH


@pytest.mark.parametrize("others", ["Negotiate, NTLM, {}", "NTLM,{}", "Negotiate abc=, {}"])
@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_one_of_several_challenges_is_answered(
    auth: str, others: str, settings: ConnectionSettings
) -> None:
    registry = ScriptedRegistry(challenge=others)
    registry.auth = "bearer" if auth == "bearer" else "basic"

    async with open_fake(registry.answer) as fake:
        report = await probe_registry(fake.host, settings, make_login(fake.host))
        async with open_client(fake.host, settings, make_login(fake.host)) as client:
            tags = await list_tags(client, "team/app", 1)

    assert report.fault() is None and tags == ()


async def test_a_right_login_of_ecr_needs_no_repository(settings: ConnectionSettings) -> None:
    unknown = refuses(404, "NAME_UNKNOWN", "The repository with name 'x' does not exist")
    registry = ScriptedRegistry({".* /v2/connection-test/.*": unknown})

    async with open_fake(registry.answer) as fake:
        login = make_login(fake.host, "AWS", "a-token")
        report = await probe(ProbeRequest(fake.host, login), settings)

    assert report.fault() is None
    assert outcomes(report)[Stage.PUSH] is Outcome.WARNING
    assert "that username and password are right" in report.verified
    assert "that this login may push to connection-test" in report.not_verified


async def test_the_right_to_push_to_ecr_is_tried_on_a_repository_that_exists(
    settings: ConnectionSettings,
) -> None:
    async def catalog(_: web.Request) -> web.StreamResponse:
        return web.json_response({"repositories": ["base", "shop/web"]}, headers=API)

    unknown = refuses(404, "NAME_UNKNOWN", "The repository with name 'x' does not exist")
    registry = ScriptedRegistry(
        {".* /v2/shop/connection-test/.*": unknown, "GET /v2/_catalog": catalog}
    )

    async with open_fake(registry.answer) as fake:
        login = make_login(fake.host, "AWS", "a-token")
        report = await probe(ProbeRequest(fake.host, login, image_prefix="shop"), settings)

    assert report.fault() is None
    assert "that this login may push to shop/web" in report.verified


async def test_our_own_client_sends_a_login_where_it_is_asked_for(
    settings: ConnectionSettings,
) -> None:
    async with (
        open_fake(_open_at_the_top(reads=False).answer) as fake,
        open_client(fake.host, settings, make_login(fake.host)) as client,
    ):
        assert await list_tags(client, "team/app", 1) == ()
