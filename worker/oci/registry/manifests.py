"""Requests for manifests: describe, fetch, store and delete them, byte for byte."""

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import require_digest, require_repository, require_tag
from worker.oci.auth.handshake import REFUSED_SCOPE
from worker.oci.auth.scope import DELETE, EVERYTHING, PULL, PUSH, PUSH_AND_CANCEL, Scope
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import (
    ACCEPT,
    MANIFEST_LIMIT_BYTES,
    Descriptor,
    Manifest,
    parse_descriptor,
    parse_manifest,
)
from worker.oci.transport.http import Request, Response
from worker.oci.transport.verdicts import Operation

MISSING = frozenset({FaultCode.IMAGE_NOT_FOUND, FaultCode.REPO_MISSING})

CLEAR_STATUSES = frozenset({404, 407, 429, *range(500, 600)})
"""The statuses of a HEAD that need no GET. Some registries refuse a HEAD alone, and for any other
refusal only the body of a GET tells the cause."""

DELETE_SCOPES = (DELETE, PUSH_AND_CANCEL, PUSH, EVERYTHING)
"""The scopes to request for a deletion, in this order until one is granted.

The distribution project's registry requires ``delete``, old versions ``*``. Some token servers know
``delete`` only together with ``push``, and Quay's does not know it: there ``push`` is enough.
"""

DAMAGED_REMEDY = "The registry stores other bytes under this digest: push the image again."


async def describe(client: RegistryClient, repository: str, target: str) -> Descriptor:
    """Return the descriptor of a tag or digest, computed from the content if headers lack.

    Raises:
        RegistryError: ``image_not_found``, ``pull_denied``, ``digest_mismatch`` …
    """
    path = _path(repository, target)
    response = await client.send_authorized(
        Request("HEAD", await client.url(path), ACCEPT), Scope(repository, PULL)
    )
    descriptor = parse_descriptor(response) if response.status == 200 else None
    if descriptor is None and response.status not in CLEAR_STATUSES:
        manifest = await fetch(client, repository, target, operation=Operation.LOOK_UP)
        return manifest.descriptor
    if descriptor is None:
        raise await client.refuse(response, Operation.LOOK_UP, repository, target)
    _require_requested_digest(client, repository, target, descriptor.digest)
    return descriptor


async def fetch(
    client: RegistryClient, repository: str, target: str, *, operation: Operation = Operation.PULL
) -> Manifest:
    """Return the manifest of a tag or digest, with its computed digest.

    ``operation`` is named in an error.

    Raises:
        RegistryError: ``image_not_found``, ``pull_denied``, ``digest_mismatch`` …
    """
    url = await client.url(_path(repository, target))
    request = Request("GET", url, ACCEPT, limit_bytes=MANIFEST_LIMIT_BYTES)
    response = await client.send_authorized(request, Scope(repository, PULL))
    if response.status != 200:
        raise await client.refuse(response, operation, repository, target)
    manifest = parse_manifest(response)
    if manifest is None:
        raise await client.refuse(response, operation, repository, target)
    _require_requested_digest(client, repository, target, manifest.descriptor.digest)
    return manifest


async def store(client: RegistryClient, repository: str, target: str, manifest: Manifest) -> None:
    """Store a manifest under a tag or its own digest; its blobs and manifests must exist.

    Raises:
        RegistryError: ``push_denied``, ``tag_immutable``, ``upload_corrupt`` if a part of it is
            missing, ``digest_mismatch`` …
    """
    url = await client.url(_path(repository, target))
    headers = {"Content-Type": manifest.descriptor.media_type}
    request = Request("PUT", url, headers, content=manifest.content)
    response = await client.send_authorized(request, Scope(repository, PUSH))
    if response.status not in {200, 201}:
        raise await client.refuse(
            response, Operation.PUSH if ":" in target else Operation.TAG, repository, target
        )
    require_stored(client, repository, response, manifest.descriptor.digest)


async def has(client: RegistryClient, repository: str, digest: str) -> bool:
    """Return whether the repository holds a manifest.

    Raises:
        RegistryError: ``pull_denied`` …
    """
    require_digest(digest)
    try:
        await describe(client, repository, digest)
    except RegistryError as error:
        if error.code not in MISSING:
            raise
        return False
    return True


async def delete(client: RegistryClient, repository: str, digest: str) -> bool:
    """Delete a manifest with all its tags; return whether it existed.

    The children of an index remain, as other indexes may list them too. The registry's garbage
    collection removes those that are not listed any more (OCI distribution, "Deleting Manifests").

    Raises:
        RegistryError: ``delete_unsupported``, ``push_denied`` …
    """
    require_digest(digest)
    return await _delete(client, repository, digest)


async def delete_tag(client: RegistryClient, repository: str, tag: str) -> bool:
    """Delete only a tag; return whether it existed.

    Use this only at a registry that is known to follow OCI distribution 1.1 ("Deleting Tags"):
    others may delete the tagged manifest. The distribution project's registry refuses it up to 2.8.

    Raises:
        RegistryError: ``delete_unsupported``, ``push_denied`` …
    """
    require_tag(tag)
    return await _delete(client, repository, tag)


async def _delete(client: RegistryClient, repository: str, target: str) -> bool:
    request = Request("DELETE", await client.url(_path(repository, target)))
    refusals: list[RegistryError] = []
    for actions in DELETE_SCOPES:
        try:
            response = await client.send_authorized(request, Scope(repository, actions))
        except RegistryError as error:
            if error.code not in REFUSED_SCOPE:
                raise
            refusals.append(error)
            continue
        if response.status not in {401, 403}:
            return await _was_deleted(client, repository, target, response)
        refusals.append(await client.refuse(response, Operation.DELETE, repository, target))
        if not client.handshake.has_scopes:
            break
    raise refusals[0]


async def _was_deleted(
    client: RegistryClient, repository: str, target: str, response: Response
) -> bool:
    if response.status in {200, 202, 204}:
        return True
    if response.status == 404 and not response.is_html:
        return False
    raise await client.refuse(response, Operation.DELETE, repository, target)


def require_stored(
    client: RegistryClient, repository: str, response: Response, digest: str
) -> None:
    """Raise ``digest_mismatch`` if the registry reports that it stored another digest."""
    stored = response.headers.get("Docker-Content-Digest", digest)
    _require_requested_digest(client, repository, digest, stored)


def _require_requested_digest(
    client: RegistryClient, repository: str, target: str, found: str
) -> None:
    if ":" in target and target != found:
        raise RegistryError(
            FaultCode.DIGEST_MISMATCH,
            f"{client.host.name}/{repository} returned other content than requested",
            remedy=DAMAGED_REMEDY,
            evidence=f"{found[:80]} for {target}",
        )


def _path(repository: str, target: str) -> str:
    require_repository(repository)
    (require_digest if ":" in target else require_tag)(target)
    return f"{repository}/manifests/{target}"
