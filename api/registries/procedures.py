"""Registries: store them, show them without their password, change and remove them."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, SecretStr, model_validator
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import PasswordNeededError
from api.fields import dokploy
from api.fields.effects import NotBeside
from api.fields.hosts import require_host
from api.fields.issues import require_given
from api.fields.shapes import (
    Change,
    Document,
    Id,
    Ids,
    Input,
    Moment,
    Name,
    NoInput,
    Output,
    Password,
    Prefix,
    RegistryType,
    Url,
    Username,
    Warned,
)
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.usage import require_applications, require_servers, require_unused_registry
from api.registries.certificates import CertificateOutput
from api.registries.credentials import (
    CredentialFault,
    find_sources,
    login_of,
    remove_source,
    seal_password,
    seal_source,
    show_credential,
    shown_username,
    store_login,
)
from api.registries.former_logins import RotationOutput, find_newest, keep_former, show_rotation
from api.registries.life import UNUSED, LoginLife, RegistryUses, find_lives, find_uses
from api.registries.quotas import Quota, find_quotas
from api.registries.tls import StoredTlsFields, set_tls, show_tls
from shared.credentials.kinds import AnySource
from shared.credentials.slots import StoredLogin
from shared.errors import NotFoundError
from shared.ids import make_id
from shared.models import AuditEvent, CredentialSource, Registry
from shared.providers import Provider
from shared.reference import parse_prefix

CHANGEABLE = (
    *("registry_name", "registry_url", "username", "image_prefix"),
    *("allowed_servers", "allowed_applications", "rotate_after_days"),
)
RotateAfterDays = Annotated[int, Field(ge=1, le=3650)]


class RegistryOutput(Output):
    """A registry. No answer contains its password, or a secret of its credential.

    `provider` is recognised by the host. `passwordExpiresAt` is known of tokens that contain it.
    The password is due for a change at `passwordDueAt`, `rotateAfterDays` after the last one.
    `quota` is the limit of pulls, if the registry has one and a worker has seen it.
    With `plainHttp`, the login may be sent without TLS. `usedBy` is answered by `registry.one`.
    """

    registry_id: str
    registry_name: str
    image_prefix: str | None
    username: str
    registry_url: str
    created_at: Moment
    registry_type: RegistryType
    organization_id: str
    allowed_servers: list[str]
    allowed_applications: list[str]
    provider: Provider
    password_changed_at: Moment
    password_expires_at: Moment | None
    password_due_at: Moment
    rotate_after_days: int
    credential: Document | None = None
    credential_error: CredentialFault | None = None
    quota: Quota | None = None
    ca_certificates: list[CertificateOutput] = Field(default_factory=list)
    client_identity: CertificateOutput | None = None
    install_ca: bool = False
    plain_http: bool = False
    login: LoginLife | None = None
    used_by: RegistryUses | None = None


class RegistryWithRotation(RegistryOutput):
    """A registry, and the newest rotation of its login, if there was one."""

    rotation: RotationOutput | None = Field(default=None, exclude_if=lambda found: found is None)


class CreatedRegistry(RegistryOutput, Warned):
    """A registry that was just stored."""


class CreateRegistry(StoredTlsFields):
    """Only `allowedServers` receive its login, for `allowedApplications`; empty means all.

    Give `username` and `password`, or a `credential` with which control gets short-lived logins
    from the registry's provider.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.NEW_REGISTRY

    registry_name: Name
    registry_url: Url
    username: Annotated[Username | None, NotBeside("credential")] = None
    password: Annotated[Password | None, NotBeside("credential", refused=True)] = None
    credential: AnySource | None = None
    registry_type: RegistryType = "cloud"
    image_prefix: Prefix | None = None
    allowed_servers: Ids = Field(default_factory=list)
    allowed_applications: Ids = Field(default_factory=list)
    rotate_after_days: RotateAfterDays = 90

    @model_validator(mode="after")
    def _has_login(self) -> Self:
        if self.credential is None:
            require_given(self, "username", "password")
        return self


class UpdateRegistry(Change, StoredTlsFields):
    """Only given fields change; ``imagePrefix: null`` removes the prefix.

    A `password` replaces the `credential`, and a `credential` the password. ``credential: null``
    needs a password. ``null`` removes `caCertificate`, and `clientCertificate` with its key.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.REGISTRY

    registry_id: Id
    registry_name: Name = ""
    registry_url: Url = ""
    username: Username = ""
    password: Annotated[Password, NotBeside("credential", refused=True)] = SecretStr("")
    credential: AnySource | None = None
    image_prefix: Prefix | None = None
    allowed_servers: Ids = Field(default_factory=list)
    allowed_applications: Ids = Field(default_factory=list)
    rotate_after_days: RotateAfterDays = 90


class ChosenRegistry(Input):
    registry_id: Id


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
    shown = _show(registry, source, {}).model_copy(update={"login": UNUSED})
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
    return [
        _show(row, sources.get(row.registry_id), quotas).model_copy(
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
        uses = await find_uses(session, registry)
        rotation = await find_newest(session, registry.registry_id)
        found = await show_rotation(session, rotation) if rotation else None
    shown = _show(registry, source, quotas)
    life = {"login": lives.get(registry.registry_id), "used_by": uses}
    return RegistryWithRotation(**{**dict(shown), **life}, rotation=found)


async def update(context: Context, request: UpdateRegistry) -> bool:
    """Change a registry; a new host or username needs the password or credential again.

    A new password or credential is used at once, without a test, and the former one is kept for a
    day: `registry.rollbackCredential` goes back to it. `registry.rotate` tests it first.
    """
    given = request.model_fields_set
    async with context.transaction() as session:
        registry = await find_registry(session, context, request.registry_id, lock=True)
        stored = await session.get(CredentialSource, registry.registry_id)
        former = login_of(registry, stored)
        registry.username = shown_username(registry, stored)
        bound = (registry.host, registry.username)
        await _require_named(session, context, request)
        for field in CHANGEABLE:
            if field in given:
                setattr(registry, field, getattr(request, field))
        if given & {"registry_url", "image_prefix"}:
            host = require_host(registry.registry_url, context.resources.networks)
            parse_prefix(host, registry.image_prefix)
            registry.host = host.name
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
        session.add(_audit(context, "registry.update", registry, changed))
    return True


async def remove(context: Context, request: ChosenRegistry) -> RegistryOutput:
    """Remove a registry and its password; return the removed registry.

    A registry that an application uses is not removed.
    """
    async with context.transaction() as session:
        registry = await find_registry(session, context, request.registry_id, lock=True)
        await require_unused_registry(session, registry)
        source = await session.get(CredentialSource, registry.registry_id)
        quotas = await find_quotas(session, context, registry.registry_id)
        lives = await find_lives(session, context, registry.registry_id)
        shown = _show(registry, source, quotas)
        shown = shown.model_copy(update={"login": lives.get(registry.registry_id)})
        await remove_source(session, registry)
        await session.delete(registry)
        session.add(_audit(context, "registry.remove", registry))
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
    return registry


def _show(
    registry: Registry, source: CredentialSource | None, quotas: Mapping[str, Quota]
) -> RegistryOutput:
    shown = RegistryOutput.model_validate(registry)
    username = shown_username(registry, source)
    added = {
        "username": username,
        "quota": quotas.get(registry.registry_id),
        **show_tls(registry),
        **show_credential(source),
    }
    return shown.model_copy(update=added)


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
    context: Context, action: str, registry: Registry, changed: list[str] | None = None
) -> AuditEvent:
    return audit_event(
        context,
        action,
        registry.registry_id,
        name=registry.registry_name,
        host=registry.host,
        changed=changed,
    )


PROCEDURES = (
    Procedure("registry.create", "mutation", CreateRegistry, CreatedRegistry, create, "admin"),
    Procedure("registry.all", "query", NoInput, list[RegistryOutput], get_all),
    Procedure("registry.one", "query", ChosenRegistry, RegistryWithRotation, one),
    Procedure("registry.update", "mutation", UpdateRegistry, bool, update, "admin"),
    Procedure("registry.remove", "mutation", ChosenRegistry, RegistryOutput, remove, "admin"),
)
