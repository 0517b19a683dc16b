"""Sources of short-lived logins: stored sealed, shown without their secrets."""

from typing import Any

from pydantic import SecretStr
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.effects import FieldWarning
from api.fields.shapes import Moment, Output, show_document
from api.procedure.context import Context
from shared.credentials.google import GoogleSource, parse_key_login
from shared.credentials.kinds import AnySource, source_context
from shared.database import Connection
from shared.ids import make_id
from shared.models import CredentialSource, Registry
from shared.providers import Provider

GIVEN_USERNAME = "username"
"""The name, among the shown parts of a source, of the username that a caller gave with its key."""

LOGIN_FORM = "login_form"
"""The code of warnings that a provider will probably not accept a login."""

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


def find_key_source(
    context: Context, registry: Registry, password: SecretStr
) -> GoogleSource | None:
    """Return the source that a password stands for, if it is a key of Google (``_json_key``).

    So the key stays with control. One that is not whole is an ordinary password, with a warning.
    """
    if registry.provider is not Provider.GOOGLE:
        return None
    try:
        return parse_key_login(registry.username, password)
    except ValueError as error:
        warning = FieldWarning(field="password", code=LOGIN_FORM, message=str(error))
        context.warnings.append(warning)
    return None


def shown_username(registry: Registry, source: CredentialSource | None) -> str:
    """Return the username that a caller gave; that of logins by a key of Google is another one."""
    return (source.shown.get(GIVEN_USERNAME) if source else None) or registry.username


async def store_source(
    session: AsyncSession,
    context: Context,
    registry: Registry,
    source: AnySource,
    *,
    username: str | None = None,
) -> CredentialSource:
    """Store a source in place of the registry's password; control then gets the first login.

    ``username`` is the one to show, if the source was given as a username and a password.

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
        shown=source.shown() | ({GIVEN_USERNAME: username} if username else {}),
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
    shown = {name: value for name, value in source.shown.items() if name != GIVEN_USERNAME}
    return {
        "credential": {**show_document(shown), **times},
        "credential_error": CredentialFault.model_validate(source.error) if source.error else None,
    }
