"""The manifest of a reference; for one that does not exist, the name that was probably meant.

A registry is asked one question more at the most.
"""

from contextlib import suppress

from shared.errors import RegistryError
from shared.faults import FAULTS, FaultCode
from shared.reference import Reference
from worker.oci.providers.nearest import find_nearest
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.listing import list_repositories, list_tags
from worker.oci.registry.manifest import Manifest

MAX_NAMES = 100


async def fetch_root(client: RegistryClient, reference: Reference) -> Manifest:
    """Return the manifest of a reference.

    Raises:
        RegistryError: as `manifests.fetch`; the remedy of ``image_not_found`` names a tag that is
            spelled alike, that of ``repo_missing`` a repository.
    """
    try:
        return await manifests.fetch(client, reference.repository, reference.target)
    except RegistryError as error:
        nearest = await _find_nearest(client, reference, FaultCode(error.code))
        if not nearest:
            raise
        remedy = f"Did you mean {nearest}? {FAULTS[FaultCode(error.code)].remedy}"
        raise RegistryError(
            FaultCode(error.code), error.message, remedy=remedy, evidence=error.evidence
        ) from error


async def _find_nearest(client: RegistryClient, reference: Reference, code: FaultCode) -> str:
    """Return a name that the registry lets this login see; empty if none is spelled alike."""
    with suppress(RegistryError):
        if code is FaultCode.REPO_MISSING:
            repositories = await list_repositories(client, MAX_NAMES, pages=1)
            nearest = find_nearest(reference.repository, repositories)
            return nearest and f"the repository {nearest}"
        if code is FaultCode.IMAGE_NOT_FOUND and not reference.digest:
            tags = await list_tags(client, reference.repository, MAX_NAMES, pages=1)
            nearest = find_nearest(reference.target, tags)
            return nearest and f"the tag {nearest}"
    return ""
