"""The settings of an organization, which its registries have by default."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from api.fields.networks import Networks
from api.fields.shapes import Change, NoInput, Output
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.quotas import read_quotas, read_used
from api.procedure.source_networks import require_own_source
from shared.models import Organization

QuotaName = Literal["applications", "queuedJobs", "uploadBytes", "streams", "webhooks"]
QUOTA_FIELDS: dict[QuotaName, str] = {
    "applications": "applications",
    "queuedJobs": "queued_jobs",
    "uploadBytes": "upload_bytes",
    "streams": "streams",
    "webhooks": "webhooks",
}


class OrganizationSettings(Output):
    """The settings; `rotateAfterDays` counts for each registry that has none of its own.

    People and keys are refused outside of `networks`, and workers at the API outside of
    `serverNetworks`. An empty list limits nothing.
    """

    organization_id: str
    rotate_after_days: int
    networks: list[str]
    server_networks: list[str]


class UpdateSettings(Change):
    """Only given fields change. With `force`, `networks` may exclude the caller's own address."""

    rotate_after_days: Annotated[int, Field(ge=1, le=3650)] = 90
    networks: Networks = Field(default_factory=list)
    server_networks: Networks = Field(default_factory=list)
    force: bool = False


class OrganizationQuotaOutput(Output):
    """A quota of the organization. `limit` is null if there is none.

    `used` and `limit` of `streams` are those of one API process, the one that answers.
    """

    name: QuotaName
    used: int
    limit: int | None


async def quotas(context: Context, _request: NoInput) -> list[OrganizationQuotaOutput]:
    """Return the quotas of the caller's organization, and how much of each it uses.

    `queuedJobs` are all jobs that have not ended. `uploadBytes` are the uploads that are kept.
    """
    async with context.transaction() as session:
        limits = await read_quotas(session, context)
        used = await read_used(session, context)
    limits = replace(limits, streams=context.resources.readers.limit.per_owner)
    return [
        OrganizationQuotaOutput(
            name=name, used=getattr(used, field), limit=getattr(limits, field) or None
        )
        for name, field in QUOTA_FIELDS.items()
    ]


async def show(context: Context, _request: NoInput) -> OrganizationSettings:
    """Return the settings of the caller's organization."""
    async with context.transaction() as session:
        row = await session.get_one(Organization, context.organization_id)
    return OrganizationSettings.model_validate(row)


async def update(context: Context, request: UpdateSettings) -> OrganizationSettings:
    """Change the settings of the caller's organization; return them.

    Raises:
        WouldLockOutError: `networks` do not contain the caller's own address.
    """
    changed = sorted(request.model_fields_set - {"force"})
    require_own_source(context, request.networks, force=request.force)
    async with context.transaction() as session:
        row = await session.get_one(Organization, context.organization_id)
        for name in changed:
            setattr(row, name, getattr(request, name))
        session.add(row)
        session.add(
            audit_event(
                context, "organization.updateSettings", row.organization_id, changed=changed
            )
        )
    return OrganizationSettings.model_validate(row)


PROCEDURES = (
    Procedure("organization.quotas", "query", NoInput, list[OrganizationQuotaOutput], quotas),
    Procedure("organization.settings", "query", NoInput, OrganizationSettings, show),
    Procedure(
        "organization.updateSettings",
        "mutation",
        UpdateSettings,
        OrganizationSettings,
        update,
        "admin",
    ),
)
