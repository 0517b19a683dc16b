"""Scan policies: whether new images get an SBOM, and which vulnerabilities are accepted."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field, WithJsonSchema
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.queries import find_application
from api.fields.shapes import Id, Input, Moment, Output
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import InvalidInputError
from shared.models import Application, Organization
from shared.scans.policy import MAX_EXCEPTIONS, MaxSeverity, Mode, ScanException, ScanPolicy

SbomChoice = Literal["off", "spdx", "cyclonedx"]
Vulnerability = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9:._-]+$")]
PackageName = Annotated[str, Field(min_length=1, max_length=300)]
Reason = Annotated[str, Field(min_length=1, max_length=500)]


def _parse_moment(given: object) -> datetime:
    if not isinstance(given, str):
        raise ValueError("write the time as 2027-01-31T00:00:00Z")  # noqa: TRY004 - for pydantic
    return datetime.fromisoformat(given)


Until = Annotated[
    AwareDatetime,
    BeforeValidator(_parse_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class AcceptedVulnerability(Input):
    """A vulnerability that is accepted `until` then: in one `package`, or in any."""

    vulnerability: Vulnerability
    package: PackageName | None = None
    reason: Reason
    until: Until


class ScanExceptionOutput(Output):
    vulnerability: str
    package: str | None
    reason: str
    until: Moment


class ScanPolicyOutput(Output):
    """A policy; `source` says whether it is the application's own or the organization's."""

    sbom: SbomChoice
    mode: Mode
    max_severity: MaxSeverity
    exceptions: list[ScanExceptionOutput]
    source: Literal["application", "organization"]

    @classmethod
    def of(cls, policy: ScanPolicy, source: str) -> Self:
        return cls.model_validate(
            policy.model_dump() | {"sbom": policy.sbom or "off", "source": source}
        )


class ChosenScanPolicy(Input):
    """Without `applicationId` it is the organization's policy."""

    application_id: Id | None = None


class SetScanPolicy(Input):
    """The whole new policy. `inherit` gives an application the organization's policy again."""

    application_id: Id | None = None
    sbom: SbomChoice = "off"
    mode: Mode = "off"
    max_severity: MaxSeverity = "high"
    exceptions: Annotated[list[AcceptedVulnerability], Field(max_length=MAX_EXCEPTIONS)] = Field(
        default_factory=list
    )
    inherit: bool = False


async def one(context: Context, request: ChosenScanPolicy) -> ScanPolicyOutput:
    """Return the policy that holds for an application, or the organization's."""
    async with context.transaction() as session:
        return ScanPolicyOutput.of(
            *await find_scan_policy(session, context, request.application_id)
        )


async def set_policy(context: Context, request: SetScanPolicy) -> ScanPolicyOutput:
    """Set the scan policy of an application, or of the organization by default.

    With `sbom` each new build gets an SBOM in this format, stored beside the image. With `warn` or
    `enforce` each new image is scanned on its build server: `warn` adds a warning to the job if a
    vulnerability is more severe than `maxSeverity`; `enforce` fails the build, so it is not
    deployed. Exceptions accept a vulnerability until a time. Builds that were requested earlier
    keep the policy of that time.
    """
    if request.inherit and request.application_id is None:
        raise InvalidInputError(
            "the organization has nothing to inherit a policy from",
            remedy="Give applicationId, or the whole policy.",
        )
    policy = _make_policy(request)
    async with context.transaction() as session:
        row = await _load(session, context, request.application_id, lock=True)
        row.scan_policy = None if request.inherit else policy.model_dump(mode="json")
        object_id = request.application_id or context.organization_id
        mode = "inherit" if request.inherit else request.mode
        session.add(audit_event(context, "scanPolicy.set", object_id, mode=mode))
        await session.flush()
        return ScanPolicyOutput.of(
            *await find_scan_policy(session, context, request.application_id)
        )


async def find_scan_policy(
    session: AsyncSession, context: Context, application_id: str | None
) -> tuple[ScanPolicy, str]:
    """Return the policy that holds, and whose it is.

    Raises:
        NotFoundError: no such application in the organization.
    """
    if application_id is not None:
        own = (await _load(session, context, application_id)).scan_policy
        if own is not None:
            return ScanPolicy.model_validate(own), "application"
    stored = (await _load(session, context, None)).scan_policy
    return ScanPolicy.model_validate(stored or {}), "organization"


def _make_policy(request: SetScanPolicy) -> ScanPolicy:
    return ScanPolicy(
        sbom=None if request.sbom == "off" else request.sbom,
        mode=request.mode,
        max_severity=request.max_severity,
        exceptions=tuple(
            ScanException.model_validate(one.model_dump()) for one in request.exceptions
        ),
    )


async def _load(
    session: AsyncSession, context: Context, application_id: str | None, *, lock: bool = False
) -> Application | Organization:
    if application_id is not None:
        application, _ = await find_application(session, context, application_id, lock=lock)
        return application
    query = select(Organization).where(Organization.organization_id == context.organization_id)
    return (await session.exec(query.with_for_update() if lock else query)).one()


PROCEDURES = (
    Procedure("scanPolicy.one", "query", ChosenScanPolicy, ScanPolicyOutput, one),
    Procedure("scanPolicy.set", "mutation", SetScanPolicy, ScanPolicyOutput, set_policy, "admin"),
)
