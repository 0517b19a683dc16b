"""Examine an image: make its SBOM, scan it for vulnerabilities, and judge it by a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shared.errors import InvalidReferenceError, RegistryError, ScanError
from shared.faults import FaultCode
from shared.jobs.commands import ImageScan
from shared.jobs.results import ScanResult
from shared.reference import Reference
from shared.scans.policy import ScanPolicy
from shared.scans.report import SEVERITIES, Finding, Sbom, Vulnerabilities
from worker.engine import images
from worker.engine.archives import save
from worker.jobs import transfers
from worker.jobs.attempt import Attempt, NegativeResultError
from worker.jobs.logins import find_login
from worker.jobs.second_opinion import Transfer, find_engine_login
from worker.jobs.tools import Tools, progress_recorder
from worker.login import Grants
from worker.scans.attachment import attach_sbom
from worker.scans.programs import Program, find_scanner, find_syft
from worker.scans.sbom import make_index, make_sbom
from worker.scans.vulnerabilities import make_report
from worker.scans.vulnerabilities import scan as run_scanner

MAX_SHOWN = 5
NO_SYFT = (
    "no SBOM was made: the server has no syft; install wharfinger[sbom] there, or syft on its PATH"
)
NO_SCANNER = "the image was not scanned: the server has neither trivy nor grype on its PATH"


@dataclass(frozen=True)
class _Programs:
    """The programs that are wanted and here; ``gaps`` name those that are wanted and missing."""

    syft: Program | None
    scanner: Program | None
    gaps: tuple[str, ...]


@dataclass(frozen=True)
class _Examined:
    """What the programs found; ``warnings`` say what could not be done."""

    sbom: Sbom | None = None
    packages: dict[str, tuple[str, ...]] | None = None
    vulnerabilities: Vulnerabilities | None = None
    violations: Sequence[Finding] = ()
    warnings: tuple[str, ...] = ()


async def scan(command: ImageScan, grants: Grants, attempt: Attempt, tools: Tools) -> ScanResult:
    """Examine the image with the programs that this server has.

    Where ``syft`` is missing, or a scanner and the policy does not enforce, a warning says so.

    Raises:
        ScanError: ``scan_failed``; ``scanner_missing`` if the policy is enforced.
        NegativeResultError: ``vulnerabilities_found``, with the report.
        EngineError, RegistryError: the image is not here and cannot be pulled, or not be saved.
    """
    target = command.target
    if target.digest is None:
        raise InvalidReferenceError(f"{target} has no digest")
    programs = _choose_programs(command)
    examined = _Examined(warnings=programs.gaps)
    if programs.syft is not None or programs.scanner is not None:
        async with tools.workspaces.folder() as folder:
            archive = folder / "image.tar"
            await save(tools.engine, await _find_image(command, grants, attempt, tools), archive)
            examined = await _examine(command, programs, archive, grants, tools)
    result = ScanResult(
        reference=str(target),
        digest=target.digest,
        sbom=examined.sbom,
        packages=examined.packages or {},
        vulnerabilities=examined.vulnerabilities,
        violations=len(examined.violations),
        warnings=examined.warnings,
    )
    if examined.violations and command.policy.mode == "enforce":
        error = ScanError(FaultCode.VULNERABILITIES_FOUND, _describe(target, examined.violations))
        raise NegativeResultError(error.fault(), result)
    return result


def _choose_programs(command: ImageScan) -> _Programs:
    syft = find_syft() if command.policy.sbom else None
    scanner = find_scanner() if command.scan else None
    gaps = []
    if command.policy.sbom and syft is None:
        gaps.append(NO_SYFT)
    if command.scan and scanner is None:
        if command.policy.mode == "enforce":
            raise ScanError(FaultCode.SCANNER_MISSING, f"{command.target}: {NO_SCANNER}")
        gaps.append(f"{NO_SCANNER} ({FaultCode.SCANNER_MISSING})")
    return _Programs(syft, scanner, tuple(gaps))


async def _find_image(command: ImageScan, grants: Grants, attempt: Attempt, tools: Tools) -> str:
    """Return the id of the local image; an image that is not here is pulled first."""
    target = command.target
    here = await images.find(tools.engine, str(target))
    if here is not None:
        return here.image_id
    login = await find_login(grants, target, "pull", tools) if command.registry_id else None
    engine_login = await find_engine_login(Transfer("pull", target, login), tools)
    pulled = await transfers.pull(
        tools, target, engine_login, progress_recorder(attempt), platform=command.platform
    )
    return pulled.image_id


async def _examine(
    command: ImageScan, programs: _Programs, archive: Path, grants: Grants, tools: Tools
) -> _Examined:
    syft, scanner = programs.syft, programs.scanner
    warnings = list(programs.gaps)
    sbom, packages = None, None
    if syft is not None:
        sbom, packages, problems = await _make_sbom(command, syft, archive, grants, tools)
        warnings += problems
    if scanner is None:
        return _Examined(sbom, packages, warnings=tuple(warnings))
    report, violations = await _scan(command.policy, scanner, archive, tools)
    if violations:
        warnings.append(
            f"{_describe(command.target, violations)} ({FaultCode.VULNERABILITIES_FOUND})"
        )
    return _Examined(sbom, packages, report, violations, tuple(warnings))


async def _make_sbom(
    command: ImageScan, syft: Program, archive: Path, grants: Grants, tools: Tools
) -> tuple[Sbom | None, dict[str, tuple[str, ...]] | None, list[str]]:
    """Return the SBOM, its packages, and what could not be done, which fails no build."""
    target, form = command.target, command.policy.sbom or "spdx"
    try:
        made = await make_sbom(syft, archive, form, archive.parent)
    except ScanError as error:
        return None, None, [f"no SBOM was made: {error.message}. {error.evidence}".strip(" .")]
    problems, attached = [], None
    if command.attach:
        try:
            login = await find_login(grants, target, "push", tools)
            attached = await attach_sbom(target, login, made.content, form, tools)
        except RegistryError as error:
            if error.retryable:
                raise
            problems.append(
                f"the SBOM is not stored beside the image: {error.message} ({error.code})"
            )
    packages, left_out = make_index(made.packages)
    if left_out:
        problems.append(f"{left_out} of {len(made.packages)} packages are not in the index")
    sbom = Sbom(
        format=form,
        attached=attached,
        tool="syft",
        tool_version=made.tool_version,
        packages=len(made.packages),
        left_out=left_out,
    )
    return sbom, packages, problems


async def _scan(
    policy: ScanPolicy, scanner: Program, archive: Path, tools: Tools
) -> tuple[Vulnerabilities, Sequence[Finding]]:
    async with tools.scanner_lock:
        found = await run_scanner(scanner, archive, archive.parent)
    now = datetime.now(UTC)
    report = make_report(scanner.name, found, policy, now)
    violations = policy.find_violations(found.findings, now) if policy.mode != "off" else []
    return report, violations


def _describe(target: Reference, violations: Sequence[Finding]) -> str:
    """Return how many of each severity, and the first of them by name."""
    counts = {one: sum(found.severity == one for found in violations) for one in SEVERITIES}
    numbers = ", ".join(f"{number} {severity}" for severity, number in counts.items() if number)
    named = ", ".join(f"{one.vulnerability} in {one.package}" for one in violations[:MAX_SHOWN])
    more = "" if len(violations) <= MAX_SHOWN else f" and {len(violations) - MAX_SHOWN} more"
    return (
        f"{target} has vulnerabilities that the policy does not accept ({numbers}): {named}{more}"
    )
