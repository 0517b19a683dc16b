"""The settings of an organization, which its registries have by default."""

from typing import Annotated

from pydantic import Field

from api.fields.networks import Networks
from api.fields.shapes import Change, NoInput, Output
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.source_networks import require_own_source
from shared.models import Organization


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
