"""``user.createApiKey`` and ``user.deleteApiKey``: API keys as Dokploy's clients make them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from api.accounts.api_keys import (
    MAX_LIFETIME,
    ChosenApiKey,
    CreateApiKey,
    CreatedApiKey,
    create,
    remove,
)
from api.fields import dokploy
from api.fields.json_text import read_object
from api.fields.shapes import Id, Input, Name, Warned
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import NotFoundError

Seconds = Annotated[float, Field(ge=1, le=MAX_LIFETIME / timedelta(seconds=1))]


class KeyMetadata(Input):
    organization_id: Id


class CreateUserKey(Input):
    """``expiresIn`` is in seconds. The organization is the caller's."""

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.API_KEY

    name: Name
    metadata: Annotated[KeyMetadata, BeforeValidator(read_object)]
    expires_in: Seconds | None = None


class CreatedUserKey(CreatedApiKey, Warned):
    """A new API key; ``id`` is its ``apiKeyId``, and ``key`` is shown only once."""

    id: str


async def create_key(context: Context, request: CreateUserKey) -> CreatedUserKey:
    """Create an API key with the role of the caller's, which is shown only once.

    Raises:
        NotFoundError: the organization is not the caller's.
    """
    if request.metadata.organization_id != context.organization_id:
        raise NotFoundError("Organization not found")
    lifetime = int(request.expires_in) if request.expires_in else None
    wanted = {"name": request.name, "role": context.caller.role, "expiresInSeconds": lifetime}
    created = await create(context, CreateApiKey.model_validate(wanted))
    return CreatedUserKey(**created.model_dump(), id=created.api_key_id)


async def delete_key(context: Context, request: ChosenApiKey) -> bool:
    """Remove an API key. Requests with it are refused from now on."""
    await remove(context, request)
    return True


PROCEDURES = (
    Procedure("user.createApiKey", "mutation", CreateUserKey, CreatedUserKey, create_key, "admin"),
    Procedure("user.deleteApiKey", "mutation", ChosenApiKey, bool, delete_key, "admin"),
)
