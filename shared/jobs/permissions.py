"""Where a registry's login may go, and for what: checked at submission and at sealing."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from shared.errors import UnmetConditionError


class Limited(Protocol):
    """A registry, as far as its login is limited; an empty list allows all."""

    host: str
    allowed_servers: list[str]
    allowed_applications: list[str]


def require_allowed(
    registries: Iterable[Limited],
    server_ids: Sequence[str],
    application_id: str,
    *,
    is_test: bool = False,
) -> None:
    """Check that these servers may use these registries for an application; ``""`` is for none.

    A test of a registry is for no application, and needs none.

    Raises:
        UnmetConditionError: ``registry_not_allowed``.
    """
    for registry in registries:
        for server_id in server_ids if registry.allowed_servers else ():
            if server_id not in registry.allowed_servers:
                raise _not_allowed(registry, f"the server {server_id}", "allowedServers")
        of_application = registry.allowed_applications and not is_test
        if of_application and application_id not in registry.allowed_applications:
            raise _not_allowed(registry, "this application, or without one", "allowedApplications")


def _not_allowed(registry: Limited, what: str, field: str) -> UnmetConditionError:
    return UnmetConditionError(
        "registry_not_allowed",
        f"the login of the registry {registry.host} is not for {what}",
        remedy=f"Choose another one, or have an administrator change {field} by registry.update.",
    )
