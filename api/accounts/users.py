"""``user.get``: the user of an API key, which the ``auth`` command of Dokploy's CLI reads."""

from api.fields.shapes import Moment, NoInput, Output, RoleName
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import UnauthenticatedError
from shared.models import ApiKey


class UserOutput(Output):
    """The user of an API key: each key counts as one user."""

    id: str
    name: str


class MemberOutput(Output):
    """A member of an organization, as Dokploy shows one."""

    id: str
    organization_id: str
    user_id: str
    role: RoleName
    created_at: Moment
    user: UserOutput


async def get(context: Context, _request: NoInput) -> MemberOutput:
    """Return the caller."""
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


PROCEDURES = (Procedure("user.get", "query", NoInput, MemberOutput, get),)
