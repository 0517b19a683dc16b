"""Store the SBOM of an image beside it in its registry, as a referrer."""

from shared.reference import Reference, parse_registry
from shared.scans.report import SbomFormat
from worker.jobs.tools import Tools
from worker.login import Login
from worker.oci.attachment_writer import AttachmentWriter
from worker.oci.images.artifact import make_artifact
from worker.oci.images.attached_manifests import find_attachments
from worker.oci.images.attachment_kinds import find_artifact_type
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient

ARTIFACT_TYPES: dict[SbomFormat, str] = {
    "spdx": "application/spdx+json",
    "cyclonedx": "application/vnd.cyclonedx+json",
}


async def attach_sbom(
    target: Reference, login: Login, content: bytes, form: SbomFormat, tools: Tools
) -> str:
    """Store an SBOM and return the digest of its manifest.

    An SBOM of this format that is there already stays: a digest fixes what is in the image. A
    registry without the referrers API lists it under the tag ``sha256-<hex>``.

    Raises:
        RegistryError: ``image_not_found``, ``push_denied`` …
    """
    repository, digest = target.repository, target.digest or ""
    settings = await tools.connection_settings()
    async with RegistryClient(parse_registry(target.registry), login, settings) as registry:
        subject = await manifests.describe(registry, repository, digest)
        attached = await find_attachments(registry, repository, [digest])
        for one in attached.found:
            if one.subject == digest and find_artifact_type(one.manifest) == ARTIFACT_TYPES[form]:
                return one.manifest.descriptor.digest
        stored = make_artifact(subject, ARTIFACT_TYPES[form], content, {})
        await AttachmentWriter(registry, repository).store_with_blobs(stored)
    return stored.attachment.manifest.descriptor.digest
