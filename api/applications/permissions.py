"""Permissions of keys for an application, and of an application on servers."""

from collections.abc import Iterable, Sequence

from pydantic import TypeAdapter, ValidationError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.loading import load_limited_applications
from api.applications.repositories import sources_of
from api.procedure.context import Caller, Context
from shared.errors import ForbiddenError, InvalidInputError, NotFoundError, UnmetConditionError
from shared.models import ApiKey, Application, Server
from shared.reference import Reference
from shared.servers.host_paths import is_within

_PATHS = TypeAdapter(list[str])


def require_builder(caller: Caller, application: Application, *, uploads: bool = False) -> None:
    """Require that this key may build, deploy and cancel; with ``uploads`` from its own tar.

    An administrator's may, and each that the application names. Where it names none, every member's
    may; but code of a member's own runs with secrets and host paths only if the key is named. A
    deploy hook is an administrator's word for one application.

    Raises:
        ForbiddenError: it may not.
    """
    if not caller.may_build(application):
        raise ForbiddenError(
            f"this API key may not build or deploy the application {application.name}",
            remedy="Let an administrator add it to allowedKeys by application.update.",
        )
    is_trusted = caller.is_admin or caller.application_id == application.application_id
    is_named = caller.actor_id in application.allowed_keys
    if uploads and not (is_trusted or is_named) and _holds_something(application):
        raise ForbiddenError(
            f"the application {application.name} has secrets, variables or host paths, so only API "
            "keys in its allowedKeys may build it from a tar",
            remedy="Let an administrator add this key to allowedKeys by application.update.",
        )


async def require_repository(context: Context, target: Reference) -> None:
    """Require that this key may write images with this name: they may be deployed from there.

    Raises:
        ForbiddenError: an application that does not allow the key is deployed from there.
    """
    if context.caller.is_admin:
        return
    async with context.transaction() as session:
        limited = await load_limited_applications(session, context)
    for application, registries in limited:
        is_theirs = target.name in sources_of(application, registries)
        if is_theirs and not context.caller.may_build(application):
            raise ForbiddenError(
                f"this API key may not write to {target.name}: the application {application.name} "
                "is deployed from there",
                remedy="Give another name, or have an administrator add this key to allowedKeys by "
                "application.update.",
            )


def _holds_something(application: Application) -> bool:
    has_path = any(mount.get("type") == "bind" for mount in application.mounts)
    return bool(application.env or application.build_secrets or has_path)


def require_host_paths(application: str, sources: Iterable[str], servers: Sequence[Server]) -> None:
    """Check that the servers list these host paths; each server checks them again itself.

    Raises:
        UnmetConditionError: ``host_path_not_allowed``.
    """
    paths = list(sources)
    for server in servers:
        allowed = _host_paths(server)
        for path in paths if allowed is not None else ():
            if not is_within(path, allowed or ()):
                raise UnmetConditionError(
                    "host_path_not_allowed",
                    f"the server {server.name} does not let {application} mount {path}",
                    remedy="Mount a named volume, or list a directory in WHARF_HOST_PATHS of that "
                    "server's worker.",
                )


def _host_paths(server: Server) -> list[str] | None:
    """Return the host paths that the server lists; ``None`` if it lists none that can be read."""
    try:
        return _PATHS.validate_python((server.engine or {}).get("host_paths"), strict=True)
    except ValidationError:
        return None


async def require_keys(session: AsyncSession, context: Context, ids: Sequence[str]) -> None:
    """Check that all of these are keys of the organization, and that their roles may build.

    Raises:
        NotFoundError: no such key.
        InvalidInputError: a viewer's key.
    """
    ours = ApiKey.organization_id == context.organization_id
    found = (await session.exec(select(ApiKey).where(ours, col(ApiKey.api_key_id).in_(ids)))).all()
    if set(ids) - {key.api_key_id for key in found}:
        raise NotFoundError("API key not found")
    for key in found:
        if key.role == "viewer":
            raise InvalidInputError(
                f"the API key {key.name} is a viewer's, so it cannot be in allowedKeys",
                remedy="Create a key whose role is member, and name that one.",
            )
