"""API keys: shown once, stored as a hash; removal takes effect at once."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field
from sqlmodel import col, func, insert, or_, select

from api.errors import LastAdminKeyError
from api.fields.networks import Networks
from api.fields.shapes import Id, Input, Moment, Name, NoInput, Output, RoleName
from api.procedure.audit import audit_event
from api.procedure.auth import KEY_PREFIX, hash_secret, make_secret
from api.procedure.context import Context
from api.procedure.key_limits import narrow, require_known
from api.procedure.procedure import Procedure
from api.procedure.usage import require_applications
from shared.errors import NotFoundError
from shared.ids import make_id
from shared.models import ApiKey, Member

START_CHARACTERS = 10
MAX_LIFETIME = timedelta(days=3650)
MAX_LIMITS = 100


class ApiKeyOutput(Output):
    """An API key without its secret; ``start`` holds its first characters.

    A personal key (``memberId``) has at most the role of its member, and ends with the membership.
    """

    api_key_id: str
    name: str
    role: RoleName
    member_id: str | None
    procedures: list[str]
    networks: list[str]
    application_ids: list[str]
    start: str
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Moment | None
    organization_id: str


class CreatedApiKey(ApiKeyOutput):
    """A new API key; ``key`` is shown only once."""

    key: str


ProcedureName = Annotated[str, Field(min_length=1, max_length=100)]


class CreateApiKey(Input):
    """``procedures`` and ``networks`` limit the key; by default they are those of the caller's.

    With ``applicationIds`` the key sees these applications and what belongs to them, nothing else.
    """

    name: Name
    role: RoleName = "member"
    procedures: Annotated[list[ProcedureName], Field(max_length=MAX_LIMITS)] = Field(
        default_factory=list
    )
    networks: Networks = Field(default_factory=list)
    application_ids: Annotated[list[Id], Field(max_length=MAX_LIMITS)] = Field(default_factory=list)
    expires_in_seconds: Annotated[int, Field(ge=1, le=int(MAX_LIFETIME.total_seconds()))] | None = (
        None
    )


class ChosenApiKey(Input):
    api_key_id: Id


async def create(context: Context, request: CreateApiKey) -> CreatedApiKey:
    """Create an API key, which is shown only once.

    Raises:
        InvalidInputError: there is no such procedure.
        NotFoundError: there is no such application.
        ForbiddenError: the key would be allowed more than the caller's.
    """
    return await create_for(context, request, None)


async def create_for(
    context: Context, request: CreateApiKey, member_id: str | None
) -> CreatedApiKey:
    """Create an API key of a machine, or of a member."""
    require_known(request.procedures, context.resources.procedure_names)
    limits = narrow(context.caller, request.procedures, request.networks)
    key = make_secret(KEY_PREFIX)
    lifetime = request.expires_in_seconds
    values = {
        "api_key_id": make_id(),
        "organization_id": context.organization_id,
        "name": request.name,
        "role": request.role,
        "member_id": member_id,
        **limits,
        "application_ids": sorted({*request.application_ids}),
        "start": key[:START_CHARACTERS],
        "key_hash": hash_secret(key),
        "expires_at": func.now() + timedelta(seconds=lifetime) if lifetime else None,
    }
    async with context.transaction() as session:
        await require_applications(session, context, request.application_ids)
        await session.exec(insert(ApiKey).values(**values))
        made = await session.get_one(ApiKey, values["api_key_id"])
        session.add(
            audit_event(context, "apiKey.create", made.api_key_id, name=made.name, role=made.role)
        )
    shown = ApiKeyOutput.model_validate(made)
    return CreatedApiKey(**shown.model_dump(), key=key)


async def get_all(context: Context, _request: NoInput) -> list[ApiKeyOutput]:
    """List all API keys of the organization, the oldest first."""
    role = func.lesser_role(ApiKey.role, col(Member.role))
    query = (
        select(ApiKey, role)
        .join(Member, col(Member.member_id) == col(ApiKey.member_id), isouter=True)
        .where(ApiKey.organization_id == context.organization_id)
        .order_by(col(ApiKey.created_at), ApiKey.api_key_id)
    )
    async with context.transaction() as session:
        rows = (await session.exec(query)).all()
    return [
        ApiKeyOutput.model_validate({**key.model_dump(), "role": _role_of_key(lesser)})
        for key, lesser in rows
    ]


def _role_of_key(role: str) -> str:
    """Return the role as a key has it: an owner's key is one of an administrator."""
    return "admin" if role == "owner" else role


async def remove(context: Context, request: ChosenApiKey) -> ApiKeyOutput:
    """Remove an API key. Requests with it are refused from now on."""
    organization_keys = select(ApiKey).where(ApiKey.organization_id == context.organization_id)
    good_admins = organization_keys.where(
        ApiKey.role == "admin",
        col(ApiKey.member_id).is_(None),
        or_(col(ApiKey.expires_at).is_(None), col(ApiKey.expires_at) > func.now()),
    )
    async with context.transaction() as session:
        # Locked in one order, so that two callers cannot remove the last two keys at once.
        admins = (
            await session.exec(good_admins.order_by(ApiKey.api_key_id).with_for_update())
        ).all()
        chosen = organization_keys.where(ApiKey.api_key_id == request.api_key_id)
        key = (await session.exec(chosen)).one_or_none()
        if key is None:
            raise NotFoundError("API key not found")
        if [admin.api_key_id for admin in admins] == [key.api_key_id]:
            raise LastAdminKeyError(
                "this is the organization's last admin key",
                remedy="Create another admin key first.",
            )
        await session.delete(key)
        session.add(audit_event(context, "apiKey.remove", key.api_key_id, name=key.name))
    return ApiKeyOutput.model_validate(key)


PROCEDURES = (
    Procedure("apiKey.create", "mutation", CreateApiKey, CreatedApiKey, create, "admin"),
    Procedure("apiKey.all", "query", NoInput, list[ApiKeyOutput], get_all),
    Procedure("apiKey.remove", "mutation", ChosenApiKey, ApiKeyOutput, remove, "admin"),
)
