"""Names, ports and TLS in the connection test."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from shared.faults import FaultCode
from shared.jobs.diagnosis import Outcome, ProbeReport, Stage
from tests.fakes.certificates import Authority
from tests.fakes.names import FailingNames, Names, SilentNames
from tests.fakes.sockets import open_socket, reset, say
from tests.fakes.web import Fake, open_fake, says
from tests.worker.oci.parts import API, RegistryFactory, make_login, make_settings, outcomes, stage
from worker.local.namespaces import Namespace
from worker.local.processes import Child, free_port
from worker.local.registry import LocalRegistry
from worker.oci.probe import ProbeRequest, probe
from worker.oci.transport.address import Resolver
from worker.oci.transport.settings import ConnectionSettings, Deadlines

NAME = "registry.example.test"
ELSEWHERE = make_settings(networks="private")
ANYTHING = says(200, text="{}", kind="application/json", headers=API)


def require_fault(report: ProbeReport, code: FaultCode, stage: Stage) -> str:
    fault = report.fault()
    assert fault, report
    assert (fault.code, fault.stage) == (code, stage), fault
    assert fault.remedy
    return fault.message


@pytest.mark.parametrize(
    "url", ["https://user:hunter2@ghcr.io", "ghcr.io/with/path", "[::1]:5000", "word", "ftp://a.b"]
)
async def test_a_url_that_names_no_registry_is_refused_first(
    url: str, settings: ConnectionSettings
) -> None:
    report = await probe(ProbeRequest(url), settings)

    require_fault(report, FaultCode.REF_INVALID, Stage.PARSE)
    assert report.host == "" and "hunter2" not in report.model_dump_json()


async def test_a_name_that_does_not_exist_is_named(settings: ConnectionSettings) -> None:
    report = await probe(ProbeRequest("no-such-host.invalid"), settings)

    message = require_fault(report, FaultCode.DNS_NOT_FOUND, Stage.DNS)
    assert "no-such-host.invalid" in message
    assert outcomes(report)[Stage.TCP] is Outcome.NOT_RUN


@pytest.mark.parametrize("resolver", [SilentNames(), FailingNames()])
async def test_a_resolver_that_fails_is_not_a_missing_name(resolver: Resolver) -> None:
    deadlines = Deadlines(dns=timedelta(milliseconds=50))
    settings = make_settings(resolver=resolver, deadlines=deadlines)

    report = await probe(ProbeRequest(NAME), settings)

    require_fault(report, FaultCode.DNS_FAILURE, Stage.DNS)


async def test_a_port_where_nobody_listens_is_refused(settings: ConnectionSettings) -> None:
    async with open_fake(ANYTHING) as gone:
        pass

    report = await probe(ProbeRequest(gone.host), settings)

    require_fault(report, FaultCode.CONN_REFUSED, Stage.TCP)


async def test_a_reset_connection_is_reported(settings: ConnectionSettings) -> None:
    async with open_socket(reset) as host:
        report = await probe(ProbeRequest(host), settings)

    require_fault(report, FaultCode.CONN_RESET, Stage.TLS)


async def test_a_service_of_another_protocol_is_not_a_registry(
    settings: ConnectionSettings,
) -> None:
    async with open_socket(say(b"SSH-2.0-OpenSSH_9.2\r\n")) as host:
        report = await probe(ProbeRequest(host), settings)

    require_fault(report, FaultCode.NOT_A_REGISTRY, Stage.PING)


async def test_a_registry_with_a_certificate_that_docker_trusts_is_verified(
    registries: RegistryFactory, authority: Authority, tmp_path: Path
) -> None:
    registry = registries.start(certificate=authority.files("good", "127.0.0.1"))
    settings = make_settings(certificates=authority.trust(tmp_path, registry.host))

    report = await probe(ProbeRequest(registry.host, make_login(registry.host)), settings)

    assert report.fault() is None and report.not_verified == ()
    evidence = stage(report, Stage.TLS).evidence
    assert "Wharfinger test CA" in evidence and "127.0.0.1" in evidence and "days left" in evidence


async def test_http_in_the_url_does_not_switch_tls_off(
    registries: RegistryFactory, authority: Authority, tmp_path: Path
) -> None:
    registry = registries.start(certificate=authority.files("http", "127.0.0.1"))
    settings = make_settings(certificates=authority.trust(tmp_path, registry.host))
    request = ProbeRequest(f"http://{registry.host}", make_login(registry.host))

    report = await probe(request, settings)

    assert report.fault() is None
    assert "that a valid certificate vouches for the registry" in report.verified


async def test_an_unknown_ca_stops_before_anything_is_sent(authority: Authority) -> None:
    async with open_fake(ANYTHING, tls=authority.context("127.0.0.1")) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), make_settings())

    message = require_fault(report, FaultCode.TLS_UNKNOWN_CA, Stage.TLS)
    assert "Wharfinger test CA" in message
    assert fake.requests == []


async def test_an_expired_certificate_is_reported_with_its_date(
    authority: Authority, tmp_path: Path
) -> None:
    tls = authority.context("127.0.0.1", ends_in=timedelta(days=-2))
    report, fake = await _probe_tls(tls, authority, tmp_path)

    assert "valid until" in require_fault(report, FaultCode.TLS_EXPIRED, Stage.TLS)
    assert fake.requests == []


async def test_a_certificate_for_another_name_is_reported_with_its_names(
    authority: Authority, tmp_path: Path
) -> None:
    report, fake = await _probe_tls(authority.context("other.example"), authority, tmp_path)

    assert "other.example" in require_fault(report, FaultCode.TLS_NAME_MISMATCH, Stage.TLS)
    assert fake.requests == []


async def test_a_certificate_that_expires_soon_is_a_warning(
    authority: Authority, tmp_path: Path
) -> None:
    tls = authority.context("127.0.0.1", ends_in=timedelta(days=20, hours=12))
    report, _ = await _probe_tls(tls, authority, tmp_path)

    result = stage(report, Stage.TLS)
    assert result.outcome is Outcome.WARNING and "20 days left" in result.evidence
    assert "that a valid certificate vouches for the registry" in report.verified


async def test_a_required_client_certificate_is_reported(
    authority: Authority, tmp_path: Path
) -> None:
    port, (chain, key) = free_port(), authority.files("mutual", "127.0.0.1")
    serve = f"openssl s_server -accept {port} -cert {chain} -key {key} -CAfile {authority.file}"
    argv = [*serve.split(), "-Verify", "1", "-verify_return_error", "-www", "-tls1_3"]
    log = tmp_path / "openssl.log"
    child = Child.start("openssl", argv, log=log)
    try:
        # Do not wait by connecting: the server ends if a client disconnects during the handshake.
        child.wait_until(lambda: "ACCEPT" in log.read_text(), deadline=timedelta(seconds=20))
        host = f"127.0.0.1:{port}"
        settings = make_settings(certificates=authority.trust(tmp_path, host))
        report = await probe(ProbeRequest(host), settings)
    finally:
        child.kill()

    fault = report.fault()
    assert fault and fault.code == FaultCode.TLS_CLIENT_CERT, report


async def test_plain_http_beyond_loopback_is_not_used(network: Namespace) -> None:
    async with open_fake(ANYTHING, listen=network.our_address) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), ELSEWHERE)

    require_fault(report, FaultCode.TLS_NOT_OFFERED, Stage.TLS)
    assert fake.requests == []


@pytest.mark.parametrize("by_network", [True, False], ids=["network", "host"])
async def test_plain_http_to_an_insecure_registry_of_docker_is_used_with_a_warning(
    network: Namespace, *, by_network: bool
) -> None:
    async with open_fake(ANYTHING, listen=network.our_address) as fake:
        listed = f"{network.our_address}/32" if by_network else fake.host
        settings = make_settings(networks="private", insecure=frozenset({listed, "x.test"}))
        report = await probe(ProbeRequest(fake.host), settings)

    result = stage(report, Stage.TLS)
    assert result.outcome is Outcome.WARNING and "insecure" in result.evidence
    assert "that a valid certificate vouches for the registry" in report.not_verified
    assert fake.lines[0] == "GET /v2/"


async def test_an_insecure_registry_with_a_refused_certificate_is_used_with_a_warning(
    network: Namespace, authority: Authority
) -> None:
    tls = authority.context(network.our_address)
    async with open_fake(ANYTHING, listen=network.our_address, tls=tls) as fake:
        settings = make_settings(networks="private", insecure=frozenset({fake.host}))
        report = await probe(ProbeRequest(fake.host), settings)

    result = stage(report, Stage.TLS)
    assert result.outcome is Outcome.WARNING
    assert "is not accepted" in result.evidence and "insecure" in result.evidence
    assert "that a valid certificate vouches for the registry" in report.not_verified
    assert "that a registry answers there" in report.verified


async def test_an_insecure_registry_with_a_valid_certificate_is_verified(
    network: Namespace, authority: Authority, tmp_path: Path
) -> None:
    tls = authority.context(network.our_address)
    async with open_fake(ANYTHING, listen=network.our_address, tls=tls) as fake:
        settings = make_settings(
            networks="private",
            insecure=frozenset({fake.host}),
            certificates=authority.trust(tmp_path, fake.host),
        )
        report = await probe(ProbeRequest(fake.host), settings)

    assert "that a valid certificate vouches for the registry" in report.verified


async def test_a_server_behind_a_cut_link_times_out(network: Namespace) -> None:
    deadlines = Deadlines(tcp=timedelta(milliseconds=150))
    settings = make_settings(networks="private", deadlines=deadlines)
    network.cut()
    try:
        report = await probe(ProbeRequest(f"{network.address}:5000"), settings)
    finally:
        network.mend()

    require_fault(report, FaultCode.CONN_TIMEOUT, Stage.TCP)
    assert stage(report, Stage.TCP).milliseconds < 1500


async def test_the_address_that_answers_is_used_among_several(
    basic_registry: LocalRegistry,
) -> None:
    names = Names({NAME: ("127.0.0.2", "127.0.0.1")})
    host = f"{NAME}:{basic_registry.port}"

    report = await probe(ProbeRequest(host, make_login(host)), make_settings(resolver=names))

    assert report.fault() is None
    assert stage(report, Stage.TCP).evidence.startswith("127.0.0.1 ")


async def test_a_name_is_looked_up_once_and_its_address_kept(
    basic_registry: LocalRegistry,
) -> None:
    names = Names({NAME: ("127.0.0.1",)})
    host = f"{NAME}:{basic_registry.port}"

    report = await probe(ProbeRequest(host, make_login(host)), make_settings(resolver=names))

    assert report.fault() is None
    assert names.queries == [NAME]


async def _probe_tls(
    tls: ssl.SSLContext, authority: Authority, directory: Path
) -> tuple[ProbeReport, Fake]:
    """Probe a fake with this TLS, whose authority is trusted."""
    async with open_fake(ANYTHING, tls=tls) as fake:
        settings = make_settings(certificates=authority.trust(directory, fake.host))
        return await probe(ProbeRequest(fake.host, make_login(fake.host)), settings), fake
