"""Check which servers and applications may use a registry's login, at submission and sealing."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from shared.errors import UnmetConditionError


class Limited(Protocol):
    """The limits of a registry's login; an empty list allows all."""

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

    A test of a registry needs no application.

    Raises:
        UnmetConditionError: ``registry_not_allowed``.
    """
    for registry in registries:
        for server_id in server_ids if registry.allowed_servers else ():
            if server_id not in registry.allowed_servers:
                raise _not_allowed(registry, f"the server {server_id}", "allowedServers")
        of_application = registry.allowed_applications and not is_test
        if of_application and application_id not in registry.allowed_applications:
            raise _not_allowed(registry, "this application, or for none", "allowedApplications")


def _not_allowed(registry: Limited, subject: str, field: str) -> UnmetConditionError:
    return UnmetConditionError(
        "registry_not_allowed",
        f"the login of the registry {registry.host} is not allowed for {subject}",
        remedy=f"Choose another one, or let an administrator change {field} with registry.update.",
    )
