"""The stages against real registries: rights of users, and the claims that they verify."""

from shared.faults import FaultCode
from shared.jobs.diagnosis import Outcome, Stage
from tests.fakes.scripted_registry import ScriptedRegistry
from tests.fakes.token_server import TokenServer
from tests.fakes.web import open_fake
from tests.worker.oci.parts import RegistryFactory, make_login, open_client, outcomes, stage
from worker.local.registry import LocalRegistry
from worker.oci.probe import ProbeRequest, probe
from worker.oci.registry.listing import list_repositories
from worker.oci.transport.settings import ConnectionSettings

STAGES = [
    Stage.PARSE,
    Stage.POLICY,
    Stage.DNS,
    Stage.TCP,
    Stage.TLS,
    Stage.PING,
    Stage.AUTH,
    Stage.PULL,
    Stage.PUSH,
    Stage.CATALOG,
]


async def test_the_right_password_is_verified_with_its_rights(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = basic_registry.host

    report = await probe(ProbeRequest(host, make_login(host), image_prefix="team/"), settings)

    assert report.fault() is None
    assert [result.stage for result in report.stages] == STAGES
    assert report.host == host and report.repository == "team/connection-test"
    assert "that username and password are right" in report.verified
    assert "that this login may push to team/connection-test" in report.verified
    assert report.not_verified == ("that a valid certificate vouches for the registry",)


async def test_a_wrong_password_is_reported_and_ends_the_test(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = basic_registry.host

    report = await probe(ProbeRequest(host, make_login(host, secret="wrong")), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_BAD_CREDENTIALS and fault.stage == Stage.AUTH
    assert "username and password" in fault.remedy
    assert outcomes(report)[Stage.PULL] is Outcome.NOT_RUN
    assert "that username and password are right" in report.not_verified
    assert "wrong" not in report.model_dump_json().replace("that", "")


async def test_a_registry_without_authentication_verifies_no_password(
    open_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = open_registry.host

    report = await probe(ProbeRequest(host, make_login(host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_NOT_CHECKED and fault.stage == Stage.AUTH
    assert "that username and password are right" in report.not_verified


async def test_a_registry_without_authentication_passes_without_a_login(
    open_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    report = await probe(ProbeRequest(open_registry.host), settings)

    assert report.fault() is None
    assert outcomes(report)[Stage.AUTH] is Outcome.SKIPPED
    assert "that username and password are right" in report.not_verified


async def test_a_registry_with_authentication_requires_a_login(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    report = await probe(ProbeRequest(basic_registry.host), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_MISSING and fault.stage == Stage.AUTH


async def test_a_token_with_all_rights_pulls_pushes_and_cancels(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    host = token_registry.host

    report = await probe(ProbeRequest(host, make_login(host)), settings)

    assert report.fault() is None
    assert stage(report, Stage.PUSH).evidence == "an upload was started and cancelled"
    assert "delete, pull, push" in stage(report, Stage.AUTH).evidence
    assert token_server.scopes[0] == "repository:connection-test:pull,push,delete"


async def test_a_user_without_push_rights_fails_the_push_stage(
    token_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = token_registry.host

    report = await probe(ProbeRequest(host, make_login(host, "bob")), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.PUSH_DENIED and fault.stage == Stage.PUSH
    assert "that username and password are right" in report.verified
    assert "that this login may pull from connection-test" in report.verified
    assert "that this login may push to connection-test" in report.not_verified


async def test_a_user_who_only_pulls_needs_no_push_rights(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    host = token_registry.host
    login = make_login(host, "bob")

    report = await probe(ProbeRequest(host, login, rights=frozenset({"pull"})), settings)

    assert report.fault() is None
    assert outcomes(report)[Stage.PUSH] is Outcome.SKIPPED
    assert "that this login may push to connection-test" in report.not_verified
    assert not any("push" in scope for scope in token_server.scopes)


async def test_a_user_without_any_rights_never_passes(
    token_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = token_registry.host

    report = await probe(ProbeRequest(host, make_login(host, "carol")), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.PULL_DENIED and fault.stage == Stage.PULL
    assert outcomes(report)[Stage.AUTH] is Outcome.OK
    assert outcomes(report)[Stage.PUSH] is Outcome.NOT_RUN


async def test_a_wrong_password_at_the_token_server_is_reported_as_such(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    host = token_registry.host

    report = await probe(ProbeRequest(host, make_login(host, secret="wrong")), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert len(token_server.fake.requests) == 1  # a second guess could lock an account


async def test_a_token_server_that_refuses_delete_gets_a_request_for_less(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.refused = frozenset({"delete"})
    host = token_registry.host

    report = await probe(ProbeRequest(host, make_login(host)), settings)

    assert report.fault() is None
    assert token_server.scopes[:2] == [
        "repository:connection-test:pull,push,delete",
        "repository:connection-test:pull,push",
    ]
    assert "remove it by itself" in stage(report, Stage.PUSH).evidence


async def test_a_token_server_that_refuses_every_scope_still_verifies_the_password(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.refused = frozenset({"pull"})
    host = token_registry.host

    report = await probe(ProbeRequest(host, make_login(host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.PULL_DENIED
    assert "that username and password are right" in report.verified


async def test_the_tried_upload_leaves_no_content_and_no_repository(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = basic_registry.host
    request = ProbeRequest(host, make_login(host), image_prefix="clean")

    report = await probe(request, settings)

    assert stage(report, Stage.PUSH).evidence == "an upload was started and cancelled"
    async with open_client(host, settings, make_login(host)) as client:
        assert "clean/connection-test" not in await list_repositories(client, 100)
    data = basic_registry.child.log.parent / "data/docker/registry/v2/repositories/clean"
    # The directory and a state of the hash remain: distribution 2.8.2 writes it after its 204.
    assert list(data.glob("connection-test/_uploads/*/data")) == []


async def test_a_token_that_the_registry_does_not_trust_is_reported_as_such(
    registries: RegistryFactory, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.is_opaque = True
    host = registries.start_with_tokens(token_server).host

    report = await probe(ProbeRequest(host, make_login(host)), settings)

    fault = report.fault()
    assert fault and fault.stage == Stage.AUTH and "token server" in fault.remedy


async def test_no_request_of_a_test_by_basic_is_made_twice(settings: ConnectionSettings) -> None:
    async with open_fake(ScriptedRegistry().answer) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    assert report.fault() is None
    assert fake.lines[:2] == ["GET /v2/", "GET /v2/connection-test/tags/list"]
    assert sorted(fake.lines[2:]) == [
        "DELETE /v2/connection-test/blobs/uploads/1",
        "GET /v2/_catalog",
        "POST /v2/connection-test/blobs/uploads/",
    ]


async def test_a_test_by_token_requests_one_token_for_the_repository(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    host = token_registry.host

    report = await probe(ProbeRequest(host, make_login(host)), settings)

    assert report.fault() is None
    assert token_server.scopes == [
        "repository:connection-test:pull,push,delete",
        "registry:catalog:*",
    ]
