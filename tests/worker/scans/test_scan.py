"""Images examined on a real Engine: by the real syft, and by programs that print reports."""

import asyncio
import importlib.util
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.errors import ScanError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePush, ImageScan
from shared.jobs.results import ScanResult
from shared.reference import parse_reference, parse_registry
from shared.scans.policy import ScanException, ScanPolicy
from shared.scans.report import Finding
from tests.worker.engine.parts import ALLOWED, RegistryFixture
from tests.worker.parts import make_tools
from tests.worker.scans import recorded
from worker.engine.transport.connection import Engine
from worker.images.pull_push_tag import push
from worker.jobs.attempt import Attempt, NegativeResultError
from worker.jobs.tools import Tools
from worker.local.engines import LocalEngine
from worker.local.images import make_image
from worker.login import Grant, Grants, Login
from worker.oci.images.attached_manifests import find_attachments
from worker.oci.images.attachment_kinds import find_kind
from worker.oci.registry.client import RegistryClient
from worker.scans.programs import make_environment
from worker.scans.scan import scan
from worker.scans.vulnerabilities import MAX_FINDINGS, Scan, make_report, read_grype

STATUS = """Package: openssl
Status: install ok installed
Architecture: amd64
Version: 3.0.15-1~deb12u1
Maintainer: nobody

Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.2.13.dfsg-1
Maintainer: nobody
"""
RELEASE = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n'
METADATA = "Metadata-Version: 2.1\nName: Jinja2\nVersion: 3.1.4\n"
MADE = (
    "var/lib/dpkg/status",
    "etc/os-release",
    "usr/lib/python3/dist-packages/jinja2-3.1.4.dist-info/METADATA",
)
ATTEMPT = Attempt("job", 1)


@dataclass
class Server:
    """A server whose Engine has pushed the image."""

    tools: Tools
    reference: str
    grants: Grants
    path: Path

    async def scan(self, policy: ScanPolicy, *, attach: bool = False) -> ScanResult:
        command = ImageScan(
            reference=self.reference,
            registry_id="registry",
            policy=policy,
            scan=policy.mode != "off",
            attach=attach,
        )
        return await scan(command, self.grants, ATTEMPT, self.tools)


@pytest.fixture
async def server(
    engine: Engine,
    local_engine: LocalEngine,
    locked_registry: RegistryFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Server:
    """The image is the same in all tests, so that it is built and pushed once."""
    files = {}
    for name, content in zip(MADE, (STATUS, RELEASE, METADATA), strict=True):
        path = tmp_path / name.replace("/", "-")
        path.write_text(content)
        files[f"/{name}"] = path
    await asyncio.to_thread(make_image, local_engine.docker_host, "scanned:1", files=files)
    tools = make_tools(engine, "private", tmp_path)
    right = locked_registry.login()
    login = Login(host=right.host, username=right.username, secret=right.secret, tls=ALLOWED)
    grant = Grant(login=login, repository="team/scanned", rights=frozenset({"pull", "push"}))
    grants = Grants(grants=(grant,))
    pushed = await push(
        ImagePush(
            source="scanned:1",
            reference=str(locked_registry.reference("team/scanned")),
            registry_id="registry",
        ),
        grants,
        ATTEMPT,
        tools,
    )
    reference = f"{locked_registry.host}/team/scanned@{pushed.digest}"
    path = tmp_path / "programs"
    path.mkdir()
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}/bin")
    return Server(tools, reference, grants, path)


async def test_the_sbom_of_the_extra_is_attached_once_and_its_packages_are_listed(
    server: Server,
) -> None:
    policy = ScanPolicy(sbom="cyclonedx")

    first = await server.scan(policy, attach=True)
    again = await server.scan(policy, attach=True)

    assert first.warnings == () and first.vulnerabilities is None and first.sbom is not None
    assert first.packages["deb"] == ("openssl@3.0.15-1~deb12u1", "zlib1g@1:1.2.13.dfsg-1")
    assert first.packages["pypi"] == ("jinja2@3.1.4",)
    assert first.sbom.packages == 3 and first.sbom.tool_version == "1.18.1"
    assert again.sbom is not None and again.sbom.attached == first.sbom.attached
    target = parse_reference(server.reference)
    settings = await server.tools.connection_settings()
    login = server.grants.login_for(target, "pull")
    async with RegistryClient(parse_registry(target.registry), login, settings) as client:
        found = await find_attachments(client, target.repository, [target.digest or ""])
    kinds = {one.manifest.descriptor.digest: find_kind(one) for one in found.found}
    assert kinds[first.sbom.attached or ""] == "sbom"


async def test_a_server_without_syft_or_a_scanner_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    result = await server.scan(ScanPolicy(sbom="spdx", mode="warn"))
    with pytest.raises(ScanError) as caught:
        await server.scan(ScanPolicy(mode="enforce"))

    assert result.sbom is None and result.vulnerabilities is None
    assert "no syft" in result.warnings[0] and "scanner_missing" in result.warnings[1]
    assert caught.value.code == FaultCode.SCANNER_MISSING and not caught.value.retryable


@pytest.mark.parametrize(("name", "version"), [("trivy", "0.58.1"), ("grype", "0.87.0")])
async def test_the_report_of_a_scanner_is_read(server: Server, name: str, version: str) -> None:
    recorded.install(server.path, name)

    found = (await server.scan(ScanPolicy(mode="warn"))).vulnerabilities

    assert found is not None and (found.scanner, found.scanner_version) == (name, version)
    assert found.database_built_at is not None and found.database_built_at.year == 2026
    assert {one: number for one, number in found.counts.items() if number} == {
        "critical": 1,
        "low": 1,
    }
    worst, mild = found.findings
    assert (worst.vulnerability, worst.package) == ("CVE-2025-0001", "openssl")
    assert worst.fixed_version == "3.0.16-1~deb12u1" and "\n" not in worst.title
    assert (mild.severity, mild.fixed_version) == ("low", "")


async def test_one_scanner_runs_at_a_time(server: Server) -> None:
    recorded.install(server.path, "trivy")

    await asyncio.gather(*(server.scan(ScanPolicy(mode="warn")) for _ in range(3)))

    calls = await asyncio.to_thread((server.path / "calls").read_text)
    assert calls.split() == ["image", "version"] * 3


def test_a_scanner_gets_no_variable_that_hides_findings(tmp_path: Path) -> None:
    kept = {"TRIVY_CACHE_DIR": "/cache", "TRIVY_DB_REPOSITORY": "a.example/db", "PATH": "/bin"}
    hiding = {"TRIVY_SEVERITY": "LOW", "TRIVY_IGNORE_UNFIXED": "true", "TRIVY_SKIP_DIRS": "/usr"}
    others = {"TRIVY_EXIT_CODE": "1", "GRYPE_ONLY_FIXED": "true", "WHARF_DATABASE_URL": "secret"}

    given = make_environment({**kept, **hiding, **others}, tmp_path)

    assert kept.items() <= given.items()
    assert not given.keys() & (hiding.keys() | others.keys())


async def test_a_policy_refuses_or_warns_until_an_exception_accepts_it(server: Server) -> None:
    recorded.install(server.path, "trivy")
    now = datetime.now(UTC)

    def excepted(until: datetime) -> ScanPolicy:
        exception = ScanException(vulnerability="CVE-2025-0001", reason="not used", until=until)
        return ScanPolicy(mode="enforce", exceptions=(exception,))

    warned = await server.scan(ScanPolicy(mode="warn"))
    accepted = await server.scan(excepted(now + timedelta(days=1)))
    with pytest.raises(NegativeResultError) as caught:
        await server.scan(excepted(now - timedelta(seconds=1)))

    assert warned.violations == 1 and "vulnerabilities_found" in warned.warnings[0]
    assert accepted.violations == 0 and accepted.vulnerabilities is not None
    assert accepted.vulnerabilities.excepted == 1
    assert caught.value.code == FaultCode.VULNERABILITIES_FOUND
    assert "(1 critical): CVE-2025-0001 in openssl" in caught.value.message
    report = caught.value.report
    assert isinstance(report, ScanResult) and report.vulnerabilities is not None


async def test_a_scanner_that_fails_fails_the_scan_with_its_own_words(server: Server) -> None:
    recorded.install(server.path, "grype", fails=True)

    with pytest.raises(ScanError) as caught:
        await server.scan(ScanPolicy(mode="warn"))

    assert caught.value.code == FaultCode.SCAN_FAILED and caught.value.retryable
    assert "no route to host" in caught.value.evidence


def test_a_newer_report_of_grype_has_the_age_of_its_database_in_the_status() -> None:
    descriptor = {**recorded.GRYPE_REPORT["descriptor"], "db": recorded.GRYPE_NEW_DATABASE}
    text = json.dumps({**recorded.GRYPE_REPORT, "descriptor": descriptor})

    assert read_grype(text.encode()).database_built_at == datetime(
        2026, 11, 29, 6, 17, 51, tzinfo=UTC
    )


def test_a_report_that_cannot_list_all_leaves_out_what_is_excepted() -> None:
    now = datetime.now(UTC)
    accepted = [
        Finding(vulnerability="CVE-1", package=f"p{number}", version="1", severity="critical")
        for number in range(150)
    ]
    worse = Finding(vulnerability="CVE-2", package="p", version="1", severity="high")
    exception = ScanException(vulnerability="CVE-1", reason="x", until=now + timedelta(days=1))
    policy = ScanPolicy(mode="enforce", max_severity="medium", exceptions=(exception,))

    report = make_report("trivy", Scan("1", None, (*accepted, worse)), policy, now)

    assert report.findings[0] == worse and len(report.findings) == MAX_FINDINGS
    assert (report.excepted, report.left_out, report.counts["critical"]) == (150, 51, 150)
