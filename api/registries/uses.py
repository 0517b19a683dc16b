"""Find what needs a registry, and refuse changes that would break it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import InUseError
from api.fields.shapes import Output
from api.jobs.registry_choice import choose_registry, find_registries
from api.procedure.context import Context
from shared.errors import InvalidReferenceError
from shared.models import Application, ApplicationServer, Registry
from shared.reference import make_reference, parse_reference

MAX_NAMES = 10

Use = Literal["pull", "build", "rollback"]

APPLICATIONS = text("""
SELECT a.application_id, a.name, array_remove(ARRAY[
         CASE WHEN a.registry_id = :registry_id OR a.application_id = ANY (:pulling)
              THEN 'pull' END,
         CASE WHEN a.build_registry_id = :registry_id THEN 'build' END,
         CASE WHEN a.rollback_registry_id = :registry_id THEN 'rollback' END], NULL) AS uses,
       ARRAY(SELECT s.server_id FROM application_server s
              WHERE s.application_id = a.application_id
              UNION SELECT a.build_server_id WHERE a.build_server_id IS NOT NULL
              ORDER BY 1) AS server_ids
  FROM application a
 WHERE a.organization_id = :organization_id
   AND (:registry_id IN (a.registry_id, a.build_registry_id, a.rollback_registry_id)
        OR a.application_id = ANY (:pulling))
 ORDER BY a.name, a.application_id
""")
COUNTS = text("""
SELECT (SELECT count(*) FROM rollback
         WHERE registry_id = :registry_id AND dropped_at IS NULL) AS rollback_points,
       (SELECT count(*) FROM deploy_hook WHERE application_id = ANY (:using)) AS deploy_hooks
""")
FORGET = text("""
UPDATE application SET
  registry_id = nullif(registry_id, :registry_id),
  build_registry_id = nullif(build_registry_id, :registry_id),
  rollback_registry_id = nullif(rollback_registry_id, :registry_id)
 WHERE organization_id = :organization_id
   AND :registry_id IN (registry_id, build_registry_id, rollback_registry_id)
""")


class UsingApplication(Output):
    """An application that pulls or pushes with the registry, or keeps images there.

    ``pull`` includes the bases of its builds. An application that names no registry pulls its image
    with the one whose prefix fits.
    """

    application_id: str
    name: str
    uses: list[Use]


class RegistryUses(Output):
    """The users of a registry; `deployHooks` are those of the applications."""

    applications: list[UsingApplication]
    rollback_points: int
    deploy_hooks: int


@dataclass(frozen=True)
class User:
    """An application that needs a registry, and its servers."""

    application_id: str
    name: str
    uses: Sequence[Use]
    server_ids: Sequence[str]

    @property
    def pushes(self) -> bool:
        return "build" in self.uses or "rollback" in self.uses


@dataclass(frozen=True)
class Uses:
    """All that needs a registry now."""

    users: Sequence[User]
    rollback_points: int
    deploy_hooks: int

    def __bool__(self) -> bool:
        return bool(self.users or self.rollback_points)

    def __str__(self) -> str:
        """Return the users by name, the rest by number: "1 application: shop (pull); 2 …"."""
        named = f"{_count(len(self.users), 'application')}: {_name(_show_users(self.users))}"
        return "; ".join(
            [
                *([named] if self.users else []),
                *_counted(self.rollback_points, "rollback point"),
                *_counted(self.deploy_hooks, "deploy hook"),
            ]
        )

    def shown(self) -> RegistryUses | None:
        """Return the uses for an answer; ``None`` if there are none."""
        return (
            RegistryUses.model_validate(
                {
                    "applications": [UsingApplication.model_validate(user) for user in self.users],
                    "rollback_points": self.rollback_points,
                    "deploy_hooks": self.deploy_hooks,
                }
            )
            if self
            else None
        )


@dataclass(frozen=True)
class Terms:
    """The place of a registry's images, and the users that it allows."""

    host: str
    namespace: str
    allowed_servers: Sequence[str]
    allowed_applications: Sequence[str]

    @classmethod
    def of(cls, registry: Registry) -> "Terms":
        return cls(
            registry.host,
            _find_namespace(registry),
            tuple(registry.allowed_servers),
            tuple(registry.allowed_applications),
        )


async def find_uses(session: AsyncSession, context: Context, registry: Registry) -> Uses:
    """Return what needs the registry."""
    connection = await session.connection()
    values: dict[str, object] = {
        "organization_id": registry.organization_id,
        "registry_id": registry.registry_id,
        "pulling": await _find_pulling(session, context, registry),
    }
    rows = (await connection.execute(APPLICATIONS, values)).mappings().all()
    users = [User(**row) for row in rows]
    values["using"] = [user.application_id for user in users]
    return Uses(users, **(await connection.execute(COUNTS, values)).mappings().one())


def require_unused(registry: Registry, uses: Uses) -> None:
    """Raise `InUseError` if something needs the registry.

    Raises:
        InUseError: the message names the uses.
    """
    if uses:
        raise InUseError(
            f"the registry {registry.registry_name} is used by {uses}",
            remedy="Change the applications with application.update first. With force: true "
            "(--force) it is removed all the same: the applications name it no more, and the "
            "rollback points cannot be deployed.",
        )


def require_usable(registry: Registry, uses: Uses, before: Terms) -> None:
    """Raise `InUseError` if a change of the registry, whose terms were ``before``, breaks a use.

    Raises:
        InUseError: the message names the uses.
    """
    after = Terms.of(registry)
    broken = next(_find_broken(uses, before, after), None)
    if broken is not None:
        raise InUseError(
            f"the registry {registry.registry_name} is used: {broken}",
            remedy="Change the applications with application.update first, or repeat the request "
            "with force: true (--force).",
        )


async def forget(session: AsyncSession, registry: Registry) -> None:
    """Let no application name the registry, which is about to be removed."""
    values = {"organization_id": registry.organization_id, "registry_id": registry.registry_id}
    await (await session.connection()).execute(FORGET, values)


def _find_broken(uses: Uses, before: Terms, after: Terms) -> Iterator[str]:
    if after.host != before.host and uses:
        yield f"it would be at {after.host} instead of {before.host} for {uses}"
    pushing = [user for user in uses.users if user.pushes]
    if after.namespace != before.namespace and pushing:
        names = _name(_show_users(pushing))
        yield (
            f"new images would be below {after.namespace or '/'} instead of "
            f"{before.namespace or '/'} for applications: {names}"
        )
    if excluded := list(_find_excluded_servers(uses.users, before, after)):
        yield f"allowedServers would leave out servers of applications: {_name(excluded)}"
    if excluded := list(_find_excluded(uses.users, before, after)):
        yield f"allowedApplications would leave out applications: {_name(excluded)}"


def _find_excluded_servers(users: Iterable[User], before: Terms, after: Terms) -> Iterator[str]:
    for user in users:
        lost = [
            server
            for server in user.server_ids
            if _allows(before.allowed_servers, server)
            and not _allows(after.allowed_servers, server)
        ]
        if lost:
            yield f"{user.name} ({_name(lost)})"


def _find_excluded(users: Iterable[User], before: Terms, after: Terms) -> Iterator[str]:
    for user in users:
        was_allowed = _allows(before.allowed_applications, user.application_id)
        if was_allowed and not _allows(after.allowed_applications, user.application_id):
            yield user.name


def _allows(allowed: Sequence[str], one: str) -> bool:
    return not allowed or one in allowed


async def _find_pulling(session: AsyncSession, context: Context, registry: Registry) -> list[str]:
    """Return the applications that name no registry and pull their image with this one."""
    query = select(Application).where(
        Application.organization_id == registry.organization_id,
        Application.source_type == "docker",
        col(Application.registry_id).is_(None),
    )
    applications = [
        (one, reference)
        for one in (await session.exec(query)).all()
        if (reference := parse_reference(one.docker_image or "")).registry == registry.host
    ]
    if not applications:
        return []
    registries = await find_registries(session, context, [registry.host])
    places = await _find_places(session, [one for one, _ in applications])
    chosen = {
        one.application_id: choose_registry(
            reference, registries, places.get(one.application_id, ()), one.application_id
        )
        for one, reference in applications
    }
    return [
        application_id
        for application_id, found in chosen.items()
        if found is not None and found.registry_id == registry.registry_id
    ]


async def _find_places(
    session: AsyncSession, applications: Iterable[Application]
) -> dict[str, list[str]]:
    """Return the servers that need the login, of the applications that have a build server."""
    places = {
        one.application_id: [one.build_server_id] for one in applications if one.build_server_id
    }
    query = select(ApplicationServer).where(col(ApplicationServer.application_id).in_(places))
    for row in (await session.exec(query)).all():
        places[row.application_id].append(row.server_id)
    return places


def _find_namespace(registry: Registry) -> str:
    """Return the path above the registry's images; that of Docker Hub may be the username."""
    try:
        image = make_reference(
            registry.registry_url, registry.image_prefix, "image", username=registry.username
        )
    except InvalidReferenceError:
        return ""  # an e-mail address, for example, is no namespace
    return image.repository.rpartition("/")[0]


def _show_users(users: Iterable[User]) -> list[str]:
    return [f"{user.name} ({', '.join(user.uses)})" for user in users]


def _name(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more}"


def _counted(number: int, noun: str) -> list[str]:
    return [_count(number, noun)] if number else []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
