"""Sources of short-lived logins: stored sealed, shown without their secrets."""

from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.shapes import Moment, Output, show_document
from api.procedure.context import Context
from shared.credentials.kinds import AnySource, source_context
from shared.database import Connection
from shared.ids import make_id
from shared.models import CredentialSource, Registry

RETRY = """
UPDATE credential_source SET renew_at = now()
 WHERE organization_id = %(organization_id)s AND registry_id = ANY (%(registry_ids)s)
   AND error IS NOT NULL AND renew_at > now()
"""


class CredentialFault(Output):
    """The error of the last attempt to get a login from the provider."""

    code: str
    message: str
    remedy: str


class StoredCredential(Output):
    """The times of a source's logins."""

    minted_at: Moment | None
    renew_at: Moment


async def store_source(
    session: AsyncSession, context: Context, registry: Registry, source: AnySource
) -> CredentialSource:
    """Store a source in place of the registry's password; control then gets the first login.

    Raises:
        InvalidInputError: the source gives no logins for this registry's host.
    """
    source.require_host(registry.host)
    await remove_source(session, registry)
    registry.username, registry.password = source.USERNAME, None
    registry.password_expires_at = None
    bound = source_context(registry.organization_id, registry.registry_id, registry.host)
    stored = CredentialSource(
        registry_id=registry.registry_id,
        organization_id=registry.organization_id,
        kind=source.kind,
        shown=source.shown(),
        sealed=context.resources.vault.seal(source.to_sealable_json(), bound),
        revision=make_id(),
    )
    session.add(registry)
    await session.flush()
    session.add(stored)
    return stored


async def remove_source(session: AsyncSession, registry: Registry) -> None:
    """Remove the registry's source, if it has one."""
    stored = await session.get(CredentialSource, registry.registry_id)
    if stored is not None:
        await session.delete(stored)
        await session.flush()


async def find_sources(session: AsyncSession, context: Context) -> dict[str, CredentialSource]:
    """Return the organization's sources by the ids of their registries."""
    query = select(CredentialSource).where(
        col(CredentialSource.organization_id) == context.organization_id
    )
    return {source.registry_id: source for source in (await session.exec(query)).all()}


async def retry_refused(
    connection: Connection, organization_id: str, registry_ids: list[str]
) -> None:
    """Let control try at once the sources whose last attempt failed: the cause may be gone."""
    values = {"organization_id": organization_id, "registry_ids": registry_ids}
    await connection.execute(RETRY, values)


def show_credential(source: CredentialSource | None) -> dict[str, Any]:
    """Return `credential` and `credential_error` of an answer; nothing without a source.

    The first has the parts that are no secret, and the times of the last login and of the next.
    """
    if source is None:
        return {}
    times = StoredCredential.model_validate(source).model_dump(mode="json", by_alias=True)
    return {
        "credential": {**show_document(source.shown), **times},
        "credential_error": CredentialFault.model_validate(source.error) if source.error else None,
    }
