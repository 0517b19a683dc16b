"""Whether an image is whole at its registry: all manifests read and measured, all blobs seen."""

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.oci.concurrency import in_lanes
from worker.oci.images.plan import Plan, make_plan
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor


async def require_whole(registry: RegistryClient, reference: Reference) -> Plan:
    """What a copy of the image would move, once all of it is known to be there; nothing is moved.

    Manifests are compared with their digests, blobs with their sizes: bytes that changed within a
    blob are not found out. What lies elsewhere by its ``urls`` is not asked for.

    Raises:
        RegistryError: ``image_not_found`` …, ``digest_mismatch`` for a manifest of other bytes,
            ``image_incomplete`` where something that the image names is missing or cut.
    """
    plan = await make_plan(registry, reference)

    async def look(blob: Descriptor) -> None:
        try:
            await registry.require_blob(reference.repository, blob)
        except RegistryError as error:
            if error.code != FaultCode.IMAGE_INCOMPLETE:
                raise
            raise error.within(str(reference)) from error

    await in_lanes(plan.blobs, look)
    return plan
