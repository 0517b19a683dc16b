"""Verification of an image at its registry: read all manifests, check that all blobs exist."""

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.oci.concurrency import run_concurrently
from worker.oci.images.plan import Plan, make_plan
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor
from worker.oci.registry.presence import require_present


async def require_complete(registry: RegistryClient, reference: Reference) -> Plan:
    """Check that a registry holds all of an image, and return its plan; nothing is transferred.

    Manifests are compared with their digests, blobs with their sizes: changed bytes within a blob
    are not detected. Blobs stored elsewhere by their ``urls`` are not checked.

    Raises:
        RegistryError: ``image_not_found`` …, ``digest_mismatch`` for a manifest of other bytes,
            ``image_incomplete`` if a part of the image is missing or cut.
    """
    plan = await make_plan(registry, reference)

    async def check(blob: Descriptor) -> None:
        try:
            await require_present(registry, reference.repository, blob)
        except RegistryError as error:
            if error.code != FaultCode.IMAGE_INCOMPLETE:
                raise
            raise error.within(str(reference)) from error

    await run_concurrently(plan.blobs, check)
    return plan
