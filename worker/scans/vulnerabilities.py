"""Scan the archive of an image with ``trivy`` or ``grype``, and read their reports."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from shared.errors import ScanError
from shared.faults import FaultCode
from shared.scans.policy import ScanPolicy
from shared.scans.report import SEVERITIES, Finding, Severity, Vulnerabilities
from worker.scans.programs import Program, run

_SEVERITIES: dict[str, Severity] = {
    "critical": "critical",
    "high": "high",
    "medium": "medium",
    "low": "low",
    "negligible": "low",
}
MAX_TITLE_CHARACTERS = 120
MAX_FINDINGS = 100
"""The findings that a report lists."""


@dataclass(frozen=True)
class Scan:
    """All findings of a scanner, the most severe first."""

    scanner_version: str
    database_built_at: datetime | None
    findings: tuple[Finding, ...]

    def count(self) -> dict[Severity, int]:
        counted = Counter(one.severity for one in self.findings)
        return {severity: counted[severity] for severity in SEVERITIES}


async def scan(scanner: Program, archive: Path, folder: Path) -> Scan:
    """Scan the archive of an image.

    Raises:
        ScanError: ``scan_failed``.
    """
    try:
        if scanner.name == "trivy":
            return await _scan_with_trivy(scanner, archive, folder)
        return await _scan_with_grype(scanner, archive, folder)
    except ValidationError as error:
        raise ScanError(
            FaultCode.SCAN_FAILED,
            f"the report of {scanner.name} cannot be read: {error.error_count()} unknown fields",
            remedy=f"Install a current version of {scanner.name}.",
        ) from error


def make_report(scanner: str, found: Scan, policy: ScanPolicy, now: datetime) -> Vulnerabilities:
    """Make the report of a scan: it marks what the policy excepts, and lists the rest first.

    If it cannot list all findings, it leaves out excepted ones, then the least severe ones.
    """
    marked = [
        one.model_copy(update={"excepted": policy.is_excepted(one.vulnerability, one.package, now)})
        for one in found.findings
    ]
    listed = sorted(marked, key=lambda one: one.excepted)[:MAX_FINDINGS]
    return Vulnerabilities.model_validate(
        {
            "scanner": scanner,
            "scanner_version": found.scanner_version[:100],
            "database_built_at": found.database_built_at,
            "counts": found.count(),
            "excepted": sum(one.excepted for one in marked),
            "findings": listed,
            "left_out": len(marked) - len(listed),
        }
    )


class _TrivyFinding(BaseModel):
    vulnerability: str = Field(alias="VulnerabilityID")
    package: str = Field(alias="PkgName")
    version: str = Field(default="", alias="InstalledVersion")
    fixed_version: str = Field(default="", alias="FixedVersion")
    severity: str = Field(default="", alias="Severity")
    title: str = Field(default="", alias="Title")


class _TrivyResult(BaseModel):
    vulnerabilities: list[_TrivyFinding] | None = Field(default=None, alias="Vulnerabilities")


class _TrivyReport(BaseModel):
    schema_version: int = Field(alias="SchemaVersion")
    results: list[_TrivyResult] | None = Field(default=None, alias="Results")


class _TrivyDatabase(BaseModel):
    updated_at: datetime | None = Field(default=None, alias="UpdatedAt")


class _TrivyVersion(BaseModel):
    version: str = Field(alias="Version")
    database: _TrivyDatabase | None = Field(default=None, alias="VulnerabilityDB")


async def _scan_with_trivy(scanner: Program, archive: Path, folder: Path) -> Scan:
    arguments = ["image", "--input", str(archive), "--scanners", "vuln", "--quiet"]
    printed = await run(scanner, [*arguments, "--format", "json"], folder)
    report = _TrivyReport.model_validate_json(printed)
    # Asked afterwards: the scan itself may download a newer database.
    printed = await run(scanner, ["version", "--format", "json"], folder)
    version = _TrivyVersion.model_validate_json(printed)
    found = [one for result in report.results or [] for one in result.vulnerabilities or []]
    findings = (_make_finding(one, one.fixed_version) for one in found)
    built_at = version.database.updated_at if version.database else None
    return Scan(version.version, built_at, _sort(findings))


class _GrypeFix(BaseModel):
    versions: list[str] | None = None


class _GrypeVulnerability(BaseModel):
    id: str
    severity: str = ""
    description: str = ""
    fix: _GrypeFix = _GrypeFix()


class _GrypeArtifact(BaseModel):
    name: str
    version: str = ""


class _GrypeMatch(BaseModel):
    vulnerability: _GrypeVulnerability
    artifact: _GrypeArtifact


class _GrypeStatus(BaseModel):
    built: datetime | None = None


class _GrypeDatabase(_GrypeStatus):
    status: _GrypeStatus | None = None


class _GrypeDescriptor(BaseModel):
    version: str = ""
    db: _GrypeDatabase | None = None


class _GrypeReport(BaseModel):
    matches: list[_GrypeMatch]
    descriptor: _GrypeDescriptor


@dataclass(frozen=True)
class _Match:
    vulnerability: str
    package: str
    version: str
    severity: str
    title: str


async def _scan_with_grype(scanner: Program, archive: Path, folder: Path) -> Scan:
    arguments = [f"docker-archive:{archive}", "--output", "json", "--quiet"]
    return read_grype(await run(scanner, arguments, folder))


def read_grype(printed: bytes) -> Scan:
    """Read a report of ``grype``.

    Raises:
        ValidationError: it has another shape.
    """
    report = _GrypeReport.model_validate_json(printed)
    findings = (
        _make_finding(
            _Match(
                one.vulnerability.id,
                one.artifact.name,
                one.artifact.version,
                one.vulnerability.severity,
                one.vulnerability.description,
            ),
            ", ".join(one.vulnerability.fix.versions or []),
        )
        for one in report.matches
    )
    database = report.descriptor.db
    # From version 0.88 on, the time is a part of the status.
    built_at = (database.built or (database.status and database.status.built)) if database else None
    return Scan(report.descriptor.version, built_at or None, _sort(findings))


def _make_finding(found: _TrivyFinding | _Match, fixed_version: str) -> Finding:
    return Finding(
        vulnerability=found.vulnerability[:100],
        package=found.package[:200],
        version=found.version[:100],
        fixed_version=fixed_version[:100],
        severity=_SEVERITIES.get(found.severity.lower(), "unknown"),
        title=" ".join(found.title.split())[:MAX_TITLE_CHARACTERS],
    )


def _sort(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return each finding once: a package may be in several layers or files."""
    once: Sequence[Finding] = list(dict.fromkeys(findings))
    return tuple(sorted(once, key=lambda one: (SEVERITIES.index(one.severity), one.vulnerability)))
