"""Ask Docker Hub for the limit of pulls that a login has left."""

import contextlib

from shared.errors import WharfError
from worker.oci.auth.scope import PULL, Scope
from worker.oci.providers.quotas import counts_manifests
from worker.oci.providers.rate_limit import RateLimit
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import ACCEPT
from worker.oci.transport.http import Request

REPOSITORY = "ratelimitpreview/test"
"""Docker's own repository for this question; a HEAD of it is no pull."""


async def read_pull_limit(
    client: RegistryClient, repository: str = REPOSITORY, target: str = "latest"
) -> RateLimit | None:
    """Return the limit; ``None`` for another registry, and if the registry does not tell one.

    The client's log of quotas keeps it, too.
    """
    if not counts_manifests(client.host.name):
        return None
    with contextlib.suppress(WharfError):
        url = await client.url(f"{repository}/manifests/{target}")
        request = Request("HEAD", url, ACCEPT, same_origin_only=True)
        response = await client.send_authorized(request, Scope(repository, PULL))
        return RateLimit.parse(response.headers)
    return None
