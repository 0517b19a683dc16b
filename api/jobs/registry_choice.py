"""Choose the registry whose login an image is pulled with, where the request names none.

Several accounts may be stored for one host. That with the longest image prefix that fits the
image's repository is chosen; of equal ones, the oldest. A registry that may not be used for this
server or application is not chosen.
"""

from collections.abc import Iterable, Sequence

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.procedure.context import Context
from shared.models import Registry
from shared.reference import Reference, parse_prefix, parse_registry


def choose_registry(
    reference: Reference,
    registries: Iterable[Registry],
    server_ids: Sequence[str] = (),
    application_id: str = "",
    *,
    must_fit: bool = True,
) -> Registry | None:
    """Return the registry for an image; ``None`` if there is none: the pull is then anonymous.

    ``registries`` are the oldest first. ``server_ids`` are all servers that will need the login;
    ``application_id`` is empty for a request without one. Unless ``must_fit``, a registry at the
    image's host is chosen although no prefix fits.
    """
    usable = [
        registry
        for registry in registries
        if registry.host == reference.registry and _is_allowed(registry, server_ids, application_id)
    ]
    best = max(usable, key=lambda one: fit(one, reference.repository), default=None)
    if best is None or (must_fit and fit(best, reference.repository) < 0):
        return None
    return best


async def find_registries(
    session: AsyncSession, context: Context, hosts: Iterable[str]
) -> Sequence[Registry]:
    """Return the organization's registries at these hosts, the oldest first."""
    query = (
        select(Registry)
        .where(Registry.organization_id == context.organization_id)
        .where(col(Registry.host).in_(hosts))
        .order_by(col(Registry.created_at), Registry.registry_id)
    )
    return (await session.exec(query)).all()


def fit(registry: Registry, repository: str) -> int:
    """Return the length of the registry's prefix if the repository is below it, else -1."""
    prefix = parse_prefix(parse_registry(registry.registry_url), registry.image_prefix)
    fits = not prefix or f"{repository}/".startswith(f"{prefix}/")
    return len(prefix) if fits else -1


def _is_allowed(registry: Registry, server_ids: Sequence[str], application_id: str) -> bool:
    """Return whether the login may go to all these servers; without any, if it may go to all."""
    servers, applications = registry.allowed_servers, registry.allowed_applications
    on_servers = not servers or (bool(server_ids) and set(server_ids) <= set(servers))
    return on_servers and (not applications or application_id in applications)
