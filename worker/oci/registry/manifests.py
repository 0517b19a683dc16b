"""Manifests of a registry: described, fetched and stored, byte for byte."""

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import require_digest, require_repository, require_tag
from worker.oci.auth.handshake import REFUSED_SCOPE
from worker.oci.auth.scope import DELETE, EVERYTHING, PULL, PUSH, PUSH_AND_CANCEL, Scope
from worker.oci.registry.conversation import Conversation
from worker.oci.registry.manifest import (
    ACCEPT,
    MANIFEST_LIMIT_BYTES,
    Descriptor,
    Manifest,
    parse_descriptor,
    parse_manifest,
)
from worker.oci.transport.answers import Asked, make_strange
from worker.oci.transport.http import Answer, Request

MISSING = frozenset({FaultCode.IMAGE_NOT_FOUND, FaultCode.REPO_MISSING})

DELETES = (DELETE, PUSH_AND_CANCEL, PUSH, EVERYTHING)
"""What a token server is asked for, until one is not refused.

The distribution project's registry wants ``delete``, an old one ``*``; some token servers know the
word only beside ``push``, and Quay's does not know it: there ``push`` is enough.
"""

DAMAGED = "The registry keeps other bytes under this digest: push the image again."


async def describe(talk: Conversation, repository: str, target: str) -> Descriptor:
    """The descriptor of a tag or digest; computed from the content where headers lack.

    Raises:
        RegistryError: ``image_not_found``, ``pull_denied``, ``digest_mismatch`` …
    """
    path = _path(repository, target)
    answer = await talk.ask(Request("HEAD", await talk.url(path), ACCEPT), Scope(repository, PULL))
    descriptor = parse_descriptor(answer) if answer.status == 200 else None
    if descriptor is None and answer.status in {200, 405}:
        return (await fetch(talk, repository, target)).descriptor
    if descriptor is None:
        raise talk.refusal(answer, Asked.PULL, repository)
    _require_as_asked(talk, repository, target, descriptor.digest)
    return descriptor


async def fetch(talk: Conversation, repository: str, target: str) -> Manifest:
    """What a tag or digest stands for, measured.

    Raises:
        RegistryError: ``image_not_found``, ``pull_denied``, ``digest_mismatch`` …
    """
    url = await talk.url(_path(repository, target))
    request = Request("GET", url, ACCEPT, limit_bytes=MANIFEST_LIMIT_BYTES)
    answer = await talk.ask(request, Scope(repository, PULL))
    if answer.status != 200:
        raise talk.refusal(answer, Asked.PULL, repository)
    manifest = parse_manifest(answer)
    if manifest is None:
        raise make_strange(answer, f"{talk.host.name}/{repository}")
    _require_as_asked(talk, repository, target, manifest.descriptor.digest)
    return manifest


async def store(talk: Conversation, repository: str, target: str, manifest: Manifest) -> None:
    """Give a tag or its own digest to a manifest, whose blobs and children are there already.

    Raises:
        RegistryError: ``push_denied``, ``tag_immutable``, ``upload_corrupt`` where something of it
            is not there, ``digest_mismatch`` …
    """
    url = await talk.url(_path(repository, target))
    headers = {"Content-Type": manifest.descriptor.media_type}
    request = Request("PUT", url, headers, content=manifest.content)
    answer = await talk.ask(request, Scope(repository, PUSH))
    if answer.status not in {200, 201}:
        raise talk.refusal(answer, Asked.PUSH if ":" in target else Asked.TAG, repository)
    require_stored(talk, repository, answer, manifest.descriptor.digest)


async def has(talk: Conversation, repository: str, digest: str) -> bool:
    """Whether the repository holds a manifest.

    Raises:
        RegistryError: ``pull_denied`` …
    """
    require_digest(digest)
    try:
        await describe(talk, repository, digest)
    except RegistryError as error:
        if error.code not in MISSING:
            raise
        return False
    return True


async def delete(talk: Conversation, repository: str, digest: str) -> bool:
    """Delete one manifest, with all tags that name it; ``False`` where there was none.

    The children of an index stay, as other indexes may name them too: what nobody names any more is
    for the registry's garbage collection (OCI distribution, "Deleting Manifests").

    Raises:
        RegistryError: ``delete_unsupported``, ``push_denied`` …
    """
    require_digest(digest)
    return await _delete(talk, repository, digest)


async def delete_tag(talk: Conversation, repository: str, tag: str) -> bool:
    """Delete one tag and nothing else; ``False`` where there was none.

    Only of a registry that is known to follow OCI distribution 1.1 ("Deleting Tags"): others may
    delete what the tag names. The distribution project's registry refuses it up to 2.8.

    Raises:
        RegistryError: ``delete_unsupported``, ``push_denied`` …
    """
    require_tag(tag)
    return await _delete(talk, repository, tag)


async def _delete(talk: Conversation, repository: str, target: str) -> bool:
    request = Request("DELETE", await talk.url(_path(repository, target)))
    refusals: list[RegistryError] = []
    for actions in DELETES:
        try:
            answer = await talk.ask(request, Scope(repository, actions))
        except RegistryError as error:
            if error.code not in REFUSED_SCOPE:
                raise
            refusals.append(error)
            continue
        if answer.status not in {401, 403}:
            return _was_there(talk, repository, answer)
        refusals.append(talk.refusal(answer, Asked.DELETE, repository))
        if not talk.handshake.has_scopes:
            break
    raise refusals[0]


def _was_there(talk: Conversation, repository: str, answer: Answer) -> bool:
    if answer.status in {200, 202, 204}:
        return True
    if answer.status == 404 and not answer.is_html:
        return False
    raise talk.refusal(answer, Asked.DELETE, repository)


def require_stored(talk: Conversation, repository: str, answer: Answer, digest: str) -> None:
    """Raises ``digest_mismatch`` where the registry says that it stored something else."""
    stored = answer.headers.get("Docker-Content-Digest", digest)
    _require_as_asked(talk, repository, digest, stored)


def _require_as_asked(talk: Conversation, repository: str, target: str, found: str) -> None:
    if ":" in target and target != found:
        raise RegistryError(
            FaultCode.DIGEST_MISMATCH,
            f"{talk.host.name}/{repository} answers other content than was asked for",
            remedy=DAMAGED,
            evidence=f"{found[:80]} for {target}",
        )


def _path(repository: str, target: str) -> str:
    require_repository(repository)
    (require_digest if ":" in target else require_tag)(target)
    return f"{repository}/manifests/{target}"
