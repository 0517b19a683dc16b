"""Registries: store them, show them without their password, change and remove them."""

from collections.abc import Mapping

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import PasswordNeededError
from api.fields.hosts import require_host
from api.fields.shapes import NoInput
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.usage import require_applications, require_servers
from api.registries.credentials import (
    find_sources,
    login_of,
    remove_source,
    seal_password,
    seal_source,
    show_credential,
    shown_username,
    store_login,
)
from api.registries.former_logins import find_newest, keep_former, show_rotation
from api.registries.life import UNUSED, find_excess, find_lives
from api.registries.quotas import Quota, find_quotas
from api.registries.schemas import (
    ChosenRegistry,
    CreatedRegistry,
    CreateRegistry,
    RegistryOutput,
    RegistryWithRotation,
    RemoveRegistry,
    UpdateRegistry,
)
from api.registries.tls import set_tls, show_tls
from api.registries.uses import Terms, find_uses, forget, require_unused, require_usable
from shared.credentials.slots import StoredLogin
from shared.errors import NotFoundError
from shared.ids import make_id
from shared.models import AuditEvent, CredentialSource, Organization, Registry
from shared.reference import parse_prefix

CHANGEABLE = (
    *("registry_name", "registry_url", "username", "image_prefix"),
    *("allowed_servers", "allowed_applications", "rotate_after_days"),
)
TERMS = {"registry_url", "image_prefix", "username", "allowed_servers", "allowed_applications"}
"""The fields whose change may break a use of the registry."""


async def create(context: Context, request: CreateRegistry) -> CreatedRegistry:
    """Store a registry without testing it."""
    host = require_host(request.registry_url, context.resources.networks)
    parse_prefix(host, request.image_prefix)
    registry = Registry(
        registry_id=make_id(),
        registry_name=request.registry_name,
        image_prefix=request.image_prefix,
        username=request.username or "",
        registry_url=request.registry_url,
        registry_type=request.registry_type,
        organization_id=context.organization_id,
        host=host.name,
        allowed_servers=request.allowed_servers,
        allowed_applications=request.allowed_applications,
        rotate_after_days=request.rotate_after_days,
    )
    set_tls(context, registry, request, host=registry.host)
    source = None
    async with context.transaction() as session:
        await _require_named(session, context, request)
        session.add(registry)
        login = seal_given(context, registry, request)
        if login is not None:
            source = await store_login(session, registry, login)
        session.add(_audit(context, "registry.create", registry))
        days = await _find_default_days(session, context)
    shown = _show(registry, source, {}, days).model_copy(update={"login": UNUSED})
    return CreatedRegistry.model_validate(shown, from_attributes=True)


async def get_all(context: Context, _request: NoInput) -> list[RegistryOutput]:
    """List all registries of the organization, the oldest first."""
    query = (
        select(Registry)
        .where(Registry.organization_id == context.organization_id)
        .order_by(col(Registry.created_at), Registry.registry_id)
    )
    async with context.transaction() as session:
        rows = (await session.exec(query)).all()
        sources = await find_sources(session, context)
        quotas = await find_quotas(session, context)
        lives = await find_lives(session, context)
        days = await _find_default_days(session, context)
    return [
        _show(row, sources.get(row.registry_id), quotas, days).model_copy(
            update={"login": lives.get(row.registry_id)}
        )
        for row in rows
    ]


async def one(context: Context, request: ChosenRegistry) -> RegistryWithRotation:
    """Return one registry, the use and the newest rotation of its login, and what needs it."""
    async with context.transaction() as session:
        registry = await find_registry(session, context, request.registry_id)
        source = await session.get(CredentialSource, registry.registry_id)
        quotas = await find_quotas(session, context, registry.registry_id)
        lives = await find_lives(session, context, registry.registry_id)
        uses = await find_uses(session, context, registry)
        excess = await find_excess(session, registry)
        rotation = await find_newest(session, registry.registry_id)
        found = await show_rotation(session, rotation) if rotation else None
        days = await _find_default_days(session, context)
    shown = _show(registry, source, quotas, days)
    life = {"login": lives.get(registry.registry_id), "used_by": uses.shown()}
    return RegistryWithRotation(**{**dict(shown), **life}, excess=excess, rotation=found)


async def update(context: Context, request: UpdateRegistry) -> bool:
    """Change a registry; a new host or username needs the password or credential again.

    A new password or credential is used at once, without a test, and the former one is kept for a
    day: `registry.rollbackCredential` goes back to it. `registry.rotate` tests it first. A change
    that breaks a use of the registry, as another host, is refused with the uses, unless `force` is
    given.
    """
    given = request.model_fields_set
    async with context.transaction() as session:
        registry = await find_registry(session, context, request.registry_id, lock=True)
        stored = await session.get(CredentialSource, registry.registry_id)
        former = login_of(registry, stored)
        registry.username = shown_username(registry, stored)
        bound, terms = (registry.host, registry.username), Terms.of(registry)
        uses = await find_uses(session, context, registry) if given & TERMS else None
        await _require_named(session, context, request)
        for field in CHANGEABLE:
            if field in given:
                setattr(registry, field, getattr(request, field))
        if given & {"registry_url", "image_prefix"}:
            host = require_host(registry.registry_url, context.resources.networks)
            parse_prefix(host, registry.image_prefix)
            registry.host = host.name
        if uses is not None and not request.force:
            require_usable(registry, uses, terms)
        set_tls(context, registry, request, host=bound[0])
        login = seal_given(context, registry, request)
        if login is not None:
            is_same_host = registry.host == bound[0]
            await store_login(session, registry, login)
            await keep_former(session, context, registry, former if is_same_host else None)
        else:
            _require_same_login(registry, bound, given, stored)
            registry.username = former.username
        changed = sorted(given - {"registry_id"} & set(Registry.model_fields))
        session.add(
            _audit(context, "registry.update", registry, changed=changed, forced=request.force)
        )
    return True


async def remove(context: Context, request: RemoveRegistry) -> RegistryOutput:
    """Remove a registry and its password; return the removed registry.

    A registry that is used is not removed, unless `force` is given: the error names the uses.
    """
    async with context.transaction() as session:
        registry = await find_registry(session, context, request.registry_id, lock=True)
        if request.force:
            await forget(session, registry)
        else:
            require_unused(registry, await find_uses(session, context, registry))
        source = await session.get(CredentialSource, registry.registry_id)
        quotas = await find_quotas(session, context, registry.registry_id)
        lives = await find_lives(session, context, registry.registry_id)
        days = await _find_default_days(session, context)
        shown = _show(registry, source, quotas, days)
        shown = shown.model_copy(update={"login": lives.get(registry.registry_id)})
        await remove_source(session, registry)
        await session.delete(registry)
        session.add(_audit(context, "registry.remove", registry, forced=request.force))
    return shown


async def find_registry(
    session: AsyncSession, context: Context, registry_id: str, *, lock: bool = False
) -> Registry:
    """Return the row, within the caller's organization; ``lock`` it until the transaction's end.

    Raises:
        NotFoundError: no such registry in the organization.
    """
    query = select(Registry).where(
        Registry.organization_id == context.organization_id, Registry.registry_id == registry_id
    )
    registry = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if registry is None:
        raise NotFoundError("Registry not found")
    if lock:
        await context.require_expected(session, registry_id)
    return registry


async def _find_default_days(session: AsyncSession, context: Context) -> int:
    organization = await session.get_one(Organization, context.organization_id)
    return organization.rotate_after_days


def _show(
    registry: Registry,
    source: CredentialSource | None,
    quotas: Mapping[str, Quota],
    default_days: int,
) -> RegistryOutput:
    return RegistryOutput.model_validate(
        {
            **registry.model_dump(),
            "provider": registry.provider,
            "password_due_at": registry.password_due_at(default_days),
            "username": shown_username(registry, source),
            "quota": quotas.get(registry.registry_id),
            **show_tls(registry),
            **show_credential(source),
        }
    )


def seal_given(
    context: Context, registry: Registry, given: CreateRegistry | UpdateRegistry
) -> StoredLogin | None:
    """Seal the password or credential of a request, if it has one."""
    if given.credential is not None:
        return seal_source(context, registry, given.credential)
    if "password" in given.model_fields_set and given.password is not None:
        return seal_password(context, registry, registry.username, given.password)
    return None


def _require_same_login(
    registry: Registry,
    bound: tuple[str, str],
    given: set[str],
    source: CredentialSource | None,
) -> None:
    """Raise `PasswordNeededError` if the change leaves no login that is for host and username."""
    if (registry.host, registry.username) != bound:
        raise PasswordNeededError(
            "the registry's host or username has changed, so the stored password or credential "
            "cannot be used",
            remedy="Give the password or the credential together with the new host or username.",
        )
    if "credential" in given and source is not None:
        raise PasswordNeededError(
            "without its credential the registry has no login",
            remedy="Give a password together with credential: null.",
        )


async def _require_named(
    session: AsyncSession, context: Context, request: CreateRegistry | UpdateRegistry
) -> None:
    """Raise `NotFoundError` if a named server or application does not exist."""
    await require_servers(session, context, request.allowed_servers)
    await require_applications(session, context, request.allowed_applications)


def _audit(
    context: Context,
    action: str,
    registry: Registry,
    *,
    changed: list[str] | None = None,
    forced: bool | None = None,
) -> AuditEvent:
    return audit_event(
        context,
        action,
        registry.registry_id,
        name=registry.registry_name,
        host=registry.host,
        changed=changed,
        forced=forced,
    )


PROCEDURES = (
    Procedure("registry.create", "mutation", CreateRegistry, CreatedRegistry, create, "admin"),
    Procedure("registry.all", "query", NoInput, list[RegistryOutput], get_all),
    Procedure("registry.one", "query", ChosenRegistry, RegistryWithRotation, one),
    Procedure("registry.update", "mutation", UpdateRegistry, bool, update, "admin"),
    Procedure("registry.remove", "mutation", RemoveRegistry, RegistryOutput, remove, "admin"),
)
