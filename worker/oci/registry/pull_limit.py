"""Ask Docker Hub for the limit of pulls that a login has left."""

import contextlib

from shared.errors import WharfError
from shared.reference import HUB
from worker.oci.auth.scope import PULL, Scope
from worker.oci.providers.rate_limit import RateLimit
from worker.oci.registry.client import RegistryClient
from worker.oci.transport.http import Request

REPOSITORY = "ratelimitpreview/test"
"""Docker's own repository for this question; a HEAD of it is no pull."""


async def read_pull_limit(client: RegistryClient) -> RateLimit | None:
    """Return the limit; ``None`` for another registry, and if the registry does not tell one."""
    if client.host.name != HUB:
        return None
    with contextlib.suppress(WharfError):
        url = await client.url(f"{REPOSITORY}/manifests/latest")
        request = Request("HEAD", url, same_origin_only=True)
        response = await client.send_authorized(request, Scope(REPOSITORY, PULL))
        return RateLimit.parse(response.headers)
    return None
