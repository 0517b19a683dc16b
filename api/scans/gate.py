"""Hold the deployment of an image that exists already to an enforced scan policy."""

from datetime import UTC, datetime

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.scans.reports import read_report
from shared.errors import UnmetConditionError
from shared.models import Build, ImageReport
from shared.scans.policy import ScanPolicy


async def require_accepted(session: AsyncSession, policy: ScanPolicy, build: Build) -> None:
    """Compare the newest scan of a build's image with the policy, if that is enforced.

    Raises:
        UnmetConditionError: ``scan_missing``, ``vulnerabilities_found``.
    """
    if policy.mode != "enforce" or build.digest is None:
        return
    query = select(ImageReport).where(
        ImageReport.organization_id == build.organization_id, ImageReport.digest == build.digest
    )
    row = (await session.exec(query)).one_or_none()
    found = read_report(row)[1] if row is not None else None
    if found is None:
        raise UnmetConditionError(
            "scan_missing",
            f"the policy requires a scan, and the image of build {build.version} has none",
            remedy=f"Scan {build.digest} with scan.run, or build again.",
        )
    violations = policy.find_violations(found.findings, datetime.now(UTC))
    if violations:
        named = ", ".join(f"{one.vulnerability} in {one.package}" for one in violations[:5])
        raise UnmetConditionError(
            "vulnerabilities_found",
            f"the policy does not accept {len(violations)} vulnerabilities in the image of build "
            f"{build.version}: {named}",
            remedy="Update the packages and build again, or add an exception (scanPolicy.set).",
        )
    listed = sum(policy.is_too_severe(one.severity) for one in found.findings)
    counted = sum(number for one, number in found.counts.items() if policy.is_too_severe(one))
    if counted > listed:
        raise UnmetConditionError(
            "vulnerabilities_found",
            f"the image of build {build.version} has {counted} vulnerabilities above the policy's "
            f"maxSeverity, and its report lists only {listed} of them",
            remedy="Build again: the scan of a build compares all of them with the policy.",
        )
