"""The manifest of a reference; for a tag that does not exist, the one that was probably meant."""

from contextlib import suppress

from shared.errors import RegistryError
from shared.faults import FAULTS, FaultCode
from shared.reference import Reference
from worker.oci.providers.nearest import find_nearest
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.listing import list_tags
from worker.oci.registry.manifest import Manifest

MAX_TAGS = 100


async def fetch_root(client: RegistryClient, reference: Reference) -> Manifest:
    """Return the manifest of a reference.

    Raises:
        RegistryError: as `manifests.fetch`; the remedy of ``image_not_found`` names a tag that is
            spelled alike.
    """
    try:
        return await manifests.fetch(client, reference.repository, reference.target)
    except RegistryError as error:
        if error.code != FaultCode.IMAGE_NOT_FOUND or reference.digest:
            raise
        raise await _suggest_tag(client, reference, error) from error


async def _suggest_tag(
    client: RegistryClient, reference: Reference, error: RegistryError
) -> RegistryError:
    nearest, code = "", FaultCode(error.code)
    with suppress(RegistryError):
        tags = await list_tags(client, reference.repository, MAX_TAGS)
        nearest = find_nearest(reference.target, tags)
    if not nearest:
        return error
    remedy = f"Did you mean the tag {nearest}? {FAULTS[code].remedy}"
    return RegistryError(code, error.message, remedy=remedy, evidence=error.evidence)
