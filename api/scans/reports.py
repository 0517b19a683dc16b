"""Reports about images: scan one by a job on a server, and show what was found."""

from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.hosts import require_host
from api.fields.shapes import Accepted, Id, ImageName, Input, Moment, Output
from api.jobs.server_choice import choose_server
from api.jobs.submission import TRANSFER_DEADLINE, submit_job
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.registries.procedures import find_registry
from api.scans.policies import find_scan_policy
from shared.errors import InvalidReferenceError, NotFoundError
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import ImageScan
from shared.jobs.permissions import require_allowed
from shared.jobs.store.submit import Submission
from shared.models import ImagePackage, ImageReport
from shared.reference import Reference, parse_reference
from shared.scans.report import SEVERITIES, Sbom, SbomFormat, Scanner, Severity, Vulnerabilities

MAX_PACKAGES = 10_000

Part = TypeVar("Part", bound=BaseModel)
ImageDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class RunScan(Input):
    """`image` has the host of its registry and its digest (`ghcr.io/team/app@sha256:…`).

    With `sbom` an SBOM is made as well; it is stored beside the image with `attach`, which takes a
    login that may push. The image is pulled if the server does not have it.
    """

    image: ImageName
    registry_id: Id | None = None
    application_id: Id | None = None
    server_id: Id | None = None
    sbom: SbomFormat | None = None
    attach: bool = False


class ChosenReport(Input):
    digest: ImageDigest


class SbomOutput(Output):
    """An SBOM; `attached` is the digest of its manifest beside the image, if it is stored there.

    `leftOut` packages are not in the index that `sbom.search` uses.
    """

    format: SbomFormat
    attached: str | None
    tool: str
    tool_version: str
    packages: int
    left_out: int


class VulnerabilityOutput(Output):
    """A vulnerability of a package; `excepted` if the policy accepted it at the time of the scan.

    `fixedVersion` is empty if no version without it is known.
    """

    vulnerability: str
    package: str
    version: str
    fixed_version: str
    severity: Severity
    title: str
    excepted: bool


class SeverityCounts(Output):
    critical: int
    high: int
    medium: int
    low: int
    unknown: int


class VulnerabilitiesOutput(Output):
    """The report of a scanner. `databaseBuiltAt` tells how new its knowledge was.

    `findings` are those that were not excepted, the most severe first, then excepted ones. The last
    `leftOut` ones are counted, but not listed.
    """

    scanner: Scanner
    scanner_version: str
    database_built_at: Moment | None
    counts: SeverityCounts
    excepted: int
    findings: list[VulnerabilityOutput]
    left_out: int


class ScanSummary(Output):
    """What is known about an image in short: `null` is what was not made."""

    packages: int | None
    counts: SeverityCounts | None
    scanned_at: Moment | None

    @classmethod
    def of(cls, row: ImageReport | None) -> Self | None:
        if row is None:
            return None
        sbom, found = read_report(row)
        counts = found and SeverityCounts.model_validate(_show_vulnerabilities(found)["counts"])
        return cls(
            packages=sbom.packages if sbom else None, counts=counts, scanned_at=row.scanned_at
        )


class ReportOutput(Output):
    """What is known about an image: its newest SBOM and its newest scan; either may be missing.

    `reference` is the image, and `serverId` the server, of the last job.
    """

    digest: str
    reference: str
    server_id: str
    sbom: SbomOutput | None
    sbom_at: Moment | None
    vulnerabilities: VulnerabilitiesOutput | None
    scanned_at: Moment | None

    @classmethod
    def of(cls, row: ImageReport) -> Self:
        sbom, found = read_report(row)
        return cls.model_validate(
            row.model_dump(exclude={"sbom", "vulnerabilities"})
            | {
                "sbom": sbom and sbom.model_dump(),
                "vulnerabilities": found and _show_vulnerabilities(found),
            }
        )


class PackageOutput(Output):
    """A package of an image; `type` is that of its package URL, as `deb` or `pypi`."""

    type: str
    name: str
    version: str


async def run(context: Context, request: RunScan) -> Accepted:
    """Scan an image on a server, with the scanner that is there.

    A server is chosen if none is given. The policy of the application, or of the organization, says
    what is accepted; under `enforce` the job fails if it is violated. `scan.one` shows the report
    when the job has ended.
    """
    reference = parse_reference(request.image)
    require_host(reference.registry, context.resources.networks)
    if reference.digest is None:
        raise InvalidReferenceError(
            f"{reference} has no digest, and a report is about one digest",
            remedy="Give the image as name@sha256:…; image.inspect shows the digest of a tag.",
        )
    if request.attach and (request.sbom is None or request.registry_id is None):
        raise InvalidReferenceError(
            "attach needs sbom and registryId",
            remedy="Give the format of the SBOM, and the registry whose login may push.",
        )
    target = Reference(reference.registry, reference.repository, digest=reference.digest)
    registry = None
    async with context.transaction() as session:
        if request.registry_id is not None:
            registry = await find_registry(session, context, request.registry_id)
        policy, _ = await find_scan_policy(session, context, request.application_id)
    if registry is not None and registry.host != target.registry:
        raise InvalidReferenceError(
            f"the image is at {target.registry}, but the registry is {registry.host}",
            remedy=f"Give an image at {registry.host}/…, or another registry.",
        )
    command = ImageScan(
        reference=str(target),
        registry_id=registry.registry_id if registry else None,
        policy=policy.model_copy(update={"sbom": request.sbom}),
        attach=request.attach,
    )
    server_id = await choose_server(
        context, request.server_id, among=registry.allowed_servers if registry else ()
    )
    require_allowed([registry] if registry else [], [server_id], request.application_id or "")
    job = Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=command,
        requested_by=context.caller.actor_id,
        registry_id=command.registry_id,
        exclusive_key=exclusive_key(command, server_id),
        fair_key=request.application_id or target.name,
        deadline=TRANSFER_DEADLINE,
        job_id=context.job_id,
    )
    return await submit_job(context, job)


async def one(context: Context, request: ChosenReport) -> ReportOutput:
    """Return the report about an image: SBOM, vulnerabilities, and when they were made."""
    async with context.transaction() as session:
        return ReportOutput.of(await _find(session, context, request.digest))


async def packages(context: Context, request: ChosenReport) -> list[PackageOutput]:
    """List the packages in an image, by type and name, as its SBOM has them."""
    query = (
        select(ImagePackage)
        .where(
            ImagePackage.organization_id == context.organization_id,
            ImagePackage.digest == request.digest,
        )
        .order_by(ImagePackage.type, ImagePackage.name, ImagePackage.version)
    )
    async with context.transaction() as session:
        await _find(session, context, request.digest)
        rows = (await session.exec(query.limit(MAX_PACKAGES))).all()
    return [PackageOutput.model_validate(row) for row in rows]


def read_report(row: ImageReport) -> tuple[Sbom | None, Vulnerabilities | None]:
    """Return the parts of a report; one that a worker reported in another shape is left out."""
    return _read(row.sbom, Sbom), _read(row.vulnerabilities, Vulnerabilities)


def _read(document: object, model: type[Part]) -> Part | None:
    try:
        return None if document is None else model.model_validate(document)
    except ValidationError:
        return None


async def _find(session: AsyncSession, context: Context, digest: str) -> ImageReport:
    query = select(ImageReport).where(
        ImageReport.organization_id == context.organization_id,
        col(ImageReport.digest) == digest,
    )
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFoundError(
            "no report about this image",
            remedy="Scan it with scan.run, or set a scan policy and build again.",
        )
    return row


def _show_vulnerabilities(found: Vulnerabilities) -> dict[str, Any]:
    counts = {severity: found.counts.get(severity, 0) for severity in SEVERITIES}
    return found.model_dump() | {"counts": counts}


PROCEDURES = (
    Procedure("scan.run", "mutation", RunScan, Accepted, run, repeatable=True),
    Procedure("scan.one", "query", ChosenReport, ReportOutput, one),
    Procedure("sbom.packages", "query", ChosenReport, list[PackageOutput], packages),
)
