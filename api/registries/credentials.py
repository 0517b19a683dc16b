"""Logins of registries and their sources: stored sealed, shown without their secrets."""

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.effects import FieldWarning
from api.fields.shapes import Moment, Output, show_document, show_moment
from api.procedure.context import Context
from shared.credentials.google import GoogleSource, holds_part_of_key, parse_key_login
from shared.credentials.kinds import AnySource, source_context
from shared.credentials.slots import StoredLogin, StoredSource
from shared.database import Connection
from shared.errors import InvalidInputError
from shared.faults import FaultCode
from shared.ids import make_id
from shared.models import CredentialSource, Registry
from shared.providers import Provider, advise, read_expiry
from shared.vault import SealContext

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
    context: Context, provider: Provider, username: str, password: SecretStr
) -> GoogleSource | None:
    """Return the source that a password stands for, if it is a key of Google (``_json_key``).

    So the key stays with control. A text that holds nothing of a key, like a placeholder, is an
    ordinary password, with a warning.

    Raises:
        InvalidInputError: the key is not whole; as a password it would reach the servers.
    """
    if provider is not Provider.GOOGLE:
        return None
    try:
        return parse_key_login(username, password)
    except ValueError as error:
        if holds_part_of_key(password):
            raise damaged_key(error) from None
        warning = FieldWarning(field="password", code=LOGIN_FORM, message=str(error))
        context.warnings.append(warning)
    return None


def damaged_key(error: ValueError) -> InvalidInputError:
    """Return the error of a password that is a service account's key, but not a whole one."""
    return InvalidInputError(
        f"the password is not the key of a service account: {error}",
        remedy="Give the whole content of the key's JSON file.",
    )


def seal_password(
    context: Context, registry: Registry, username: str, password: SecretStr
) -> StoredLogin:
    """Seal a login for the registry's host; warn of what its provider will probably not accept.

    A key of Google becomes a source of logins.
    """
    source = find_key_source(context, registry.provider, username, password)
    _warn_of_form(context, registry, username, password)
    if source is not None:
        return seal_source(context, registry, source, username=username)
    bound = SealContext(
        purpose="credential",
        organization_id=registry.organization_id,
        object_id=registry.registry_id,
        host=registry.host,
        username=username,
    )
    secret, now = password.get_secret_value(), datetime.now(UTC)
    expires = read_expiry(secret)
    if expires is not None and expires <= now:
        message = f"this token expired at {show_moment(expires)}: give a new one"
        context.warnings.append(
            FieldWarning(field="password", code=FaultCode.AUTH_EXPIRED, message=message)
        )
    return StoredLogin(
        username=username,
        password=context.resources.vault.seal(secret, bound),
        password_changed_at=now,
        password_expires_at=expires,
        login_revision=make_id(),
    )


def seal_source(
    context: Context, registry: Registry, source: AnySource, *, username: str | None = None
) -> StoredLogin:
    """Seal a source of logins; control gets the first one.

    ``username`` is the one to show, if the source was given as a username and a password.

    Raises:
        InvalidInputError: the source gives no logins for this registry's host.
    """
    source.require_host(registry.host)
    bound = source_context(registry.organization_id, registry.registry_id, registry.host)
    sealed = StoredSource(
        kind=source.kind,
        shown=source.shown() | ({GIVEN_USERNAME: username} if username else {}),
        sealed=context.resources.vault.seal(source.to_sealable_json(), bound),
        revision=make_id(),
    )
    return StoredLogin(
        username=source.USERNAME,
        password_changed_at=datetime.now(UTC),
        login_revision=make_id(),
        source=sealed,
    )


def login_of(registry: Registry, source: CredentialSource | None) -> StoredLogin:
    """Return the login in use, as it is stored."""
    kept = StoredSource.model_validate(source, from_attributes=True) if source else None
    return StoredLogin.model_validate(
        registry.model_dump(include=set(StoredLogin.model_fields) - {"source"}) | {"source": kept}
    )


def shown_username(registry: Registry, source: CredentialSource | None) -> str:
    """Return the username that a caller gave; that of logins by a key of Google is another one."""
    return (source.shown.get(GIVEN_USERNAME) if source else None) or registry.username


async def store_login(
    session: AsyncSession, registry: Registry, login: StoredLogin
) -> CredentialSource | None:
    """Store a login in place of the registry's; return its source, if it has one."""
    await remove_source(session, registry)
    registry.username, registry.password = login.username, login.password
    registry.password_changed_at = login.password_changed_at
    registry.password_expires_at = login.password_expires_at
    registry.login_revision = login.login_revision
    session.add(registry)
    if login.source is None:
        return None
    await session.flush()
    stored = CredentialSource(
        registry_id=registry.registry_id,
        organization_id=registry.organization_id,
        **login.source.model_dump(),
    )
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


def _warn_of_form(context: Context, registry: Registry, username: str, password: SecretStr) -> None:
    """Warn of what the provider will probably not accept; once for each field."""
    warned = {warning.field for warning in context.warnings if warning.code == LOGIN_FORM}
    secret = password.get_secret_value()
    for advice in advise(registry.provider, registry.host, username, secret):
        if advice.field not in warned:
            context.warnings.append(
                FieldWarning(field=advice.field, code=LOGIN_FORM, message=advice.message)
            )
