"""The limit of pulls of a registry's login, as far as workers have seen it."""

from typing import Self

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.shapes import Moment, Output
from api.procedure.context import Context
from shared.models import RegistryQuota


class Quota(Output):
    """The pulls that a registry allows: `remaining` of `limit` in `windowSeconds`.

    `windowEndsAt` is the latest end of the window. Until `blockedUntil` all pulls wait; then one
    tries. A number that the registry does not say is null.
    """

    limit: int | None
    remaining: int | None
    window_seconds: int | None
    window_ends_at: Moment | None
    observed_at: Moment
    blocked_until: Moment | None

    @classmethod
    def of(cls, row: RegistryQuota) -> Self:
        return cls.model_validate({**row.model_dump(), "limit": row.pull_limit})


async def find_quotas(
    session: AsyncSession, context: Context, registry_id: str | None = None
) -> dict[str, Quota]:
    """Return the quotas of all registries, or of one, by their ids.

    Of one that counts by address, the quota of the address that has the least left.
    """
    query = select(RegistryQuota).where(
        RegistryQuota.organization_id == context.organization_id,
        col(RegistryQuota.registry_id).is_not(None),
    )
    if registry_id is not None:
        query = query.where(RegistryQuota.registry_id == registry_id)
    rows = (await session.exec(query)).all()
    ordered = sorted(
        rows, key=lambda row: (row.blocked_until is None, row.remaining or 0), reverse=True
    )
    return {row.registry_id: Quota.of(row) for row in ordered if row.registry_id}
