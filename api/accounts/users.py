"""``user.get``: the caller, which the ``auth`` command of Dokploy's CLI reads."""

from sqlalchemy.orm import load_only

from api.fields.shapes import MemberRole, Moment, NoInput, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import UnauthenticatedError
from shared.models import ApiKey, Member, User


class UserOutput(Output):
    """A person, or an API key, which counts as a user and has no ``email``."""

    id: str
    name: str
    email: str | None = None


class MemberOutput(Output):
    """A member of an organization, as Dokploy shows one."""

    id: str
    organization_id: str
    user_id: str
    role: MemberRole
    created_at: Moment
    user: UserOutput


async def get(context: Context, _request: NoInput) -> MemberOutput:
    """Return the caller."""
    if context.caller.user_id is not None:
        return await _get_member(context)
    async with context.transaction() as session:
        key = await session.get(ApiKey, context.caller.actor_id)
    if key is None:
        raise UnauthenticatedError("this API key was removed")
    return MemberOutput.model_validate(
        {
            "id": key.api_key_id,
            "organization_id": key.organization_id,
            "user_id": key.api_key_id,
            "role": key.role,
            "created_at": key.created_at,
            "user": UserOutput(id=key.api_key_id, name=key.name),
        }
    )


async def _get_member(context: Context) -> MemberOutput:
    async with context.transaction() as session:
        member = await session.get_one(Member, context.caller.actor_id)
        user = await session.get_one(
            User,
            member.user_id,
            options=[load_only(User.email, User.name)],  # type: ignore[arg-type]
        )
    return MemberOutput(
        id=member.member_id,
        organization_id=member.organization_id,
        user_id=member.user_id,
        role=member.role,
        created_at=member.created_at,
        user=UserOutput(id=user.user_id, name=user.name, email=user.email),
    )


PROCEDURES = (Procedure("user.get", "query", NoInput, MemberOutput, get),)
