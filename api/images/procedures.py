"""Images: pull them to a server, push or tag them there, copy them between registries."""

import re
from typing import Self

from api.applications.permissions import require_repository
from api.events.waiter import EndedJob
from api.fields.hosts import require_host
from api.fields.shapes import Accepted, Id, ImageName, Input, Output, Tag
from api.jobs.registry_choice import choose_registry, find_registries
from api.jobs.server_choice import choose_server
from api.jobs.submission import (
    TEST_DEADLINE,
    TRANSFER_DEADLINE,
    read_result,
    submit_and_wait,
    submit_job,
)
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.registries.procedures import find_registry
from shared.errors import InvalidReferenceError
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import DedupeUntil, ImageCopy, ImagePull, ImagePush, ImageTag
from shared.jobs.permissions import require_allowed
from shared.jobs.results import ImageResult
from shared.jobs.store.submit import Submission
from shared.models import Registry
from shared.reference import (
    HUB,
    Reference,
    make_reference,
    parse_prefix,
    parse_reference,
    parse_registry,
)

IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
HUB_LIBRARY = "library/"


class Pull(Input):
    image: ImageName
    registry_id: Id | None = None
    server_id: Id | None = None


class Push(Input):
    """``image`` is its name on the server's Engine; ``name`` and ``tag`` are the new ones."""

    image: ImageName
    registry_id: Id
    server_id: Id | None = None
    name: ImageName | None = None
    tag: Tag | None = None


class Copy(Input):
    """``image`` is at a registry, with its host; ``name`` and ``tag`` are the new ones."""

    image: ImageName
    registry_id: Id
    source_registry_id: Id | None = None
    server_id: Id | None = None
    name: ImageName | None = None
    tag: Tag | None = None


class TagImage(Input):
    source: ImageName
    target: ImageName
    server_id: Id | None = None


class AcceptedPull(Accepted):
    """The accepted job; ``joined``: it is that of an earlier request for the same image."""

    joined: bool


class ImageOutput(Output):
    """The image with its new name; ``verifiedBy`` names the process that verified the digest."""

    reference: str
    digest: str | None
    image_id: str | None
    size_bytes: int | None
    verified_by: str | None

    @classmethod
    def of(cls, ended: EndedJob) -> Self:
        return cls.model_validate(read_result(ended, ImageResult))


async def pull(context: Context, request: Pull) -> AcceptedPull:
    """Pull an image to a server.

    Without `registryId`, the registry at the image's host with the longest image prefix that fits
    is chosen, if its login may be used on this server; of equal ones, the oldest. If none fits, and
    with ``registryId: null``, the pull is anonymous.

    The same image is pulled to a server once: a repeated request with the same registry returns the
    existing job and `joined: true`. A pull by digest is shared until it has ended. A pull by tag is
    shared until it has begun, because the tag may move; a later request gets a new job, which waits
    for the first. Cancelling a shared job ends it for all callers.
    """
    reference, registry = await _source(context, request.image, request.registry_id)
    server_id = await _choose(context, request.server_id, registry)
    if "registry_id" not in request.model_fields_set:
        registry = await _choose_registry(context, reference, server_id)
    registry_id = registry.registry_id if registry else None
    command = ImagePull(reference=str(reference), registry_id=registry_id)
    job = Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=command,
        requested_by=context.caller.actor_id,
        registry_id=registry_id,
        exclusive_key=exclusive_key(command, server_id),
        fair_key=_application(reference),
        dedupe_key=f"{server_id}:{reference}:{registry_id or ''}",
        dedupe_until=DedupeUntil.ENDED if reference.digest else DedupeUntil.BEGUN,
        deadline=TRANSFER_DEADLINE,
        job_id=context.job_id,
    )
    accepted = await submit_job(context, job)
    return AcceptedPull(job_id=accepted.job_id, joined=accepted.job_id != job.job_id)


async def push(context: Context, request: Push) -> Accepted:
    """Push an image from a server to a registry, below the registry's prefix."""
    registry = await _registry(context, request.registry_id)
    target = push_target(registry, request)
    require_host(target.registry, context.resources.networks)
    await require_repository(context, target)
    command = ImagePush(
        source=request.image, reference=str(target), registry_id=registry.registry_id
    )
    server_id = await _choose(context, request.server_id, registry)
    return await _transfer(context, command, target, server_id)


async def copy(context: Context, request: Copy) -> Accepted:
    """Copy an image to another registry unchanged: all platforms, byte for byte.

    The server transfers the bytes, without its Engine. Blobs that the target registry already has
    are not sent; within one registry none are. Without `sourceRegistryId`, the login to read with
    is chosen as by `image.pull`.
    """
    source, source_registry = await _source(context, request.image, request.source_registry_id)
    registry = await _registry(context, request.registry_id)
    target = push_target(registry, request)
    require_host(target.registry, context.resources.networks)
    if not source.tag and request.tag is None and not _names_tag(request.name or ""):
        raise InvalidReferenceError(f"{source} has no tag", remedy="Give tag.")
    if not source.digest and target == source:
        raise InvalidReferenceError(f"{target} is both source and target")
    await require_repository(context, target)
    server_id = await _choose(context, request.server_id, registry, source_registry)
    if "source_registry_id" not in request.model_fields_set:
        source_registry = await _choose_registry(context, source, server_id)
    command = ImageCopy(
        source=str(source),
        reference=str(target),
        source_registry_id=source_registry.registry_id if source_registry else None,
        registry_id=registry.registry_id,
    )
    return await _transfer(context, command, target, server_id)


async def tag(context: Context, request: TagImage) -> ImageOutput | Accepted:
    """Give an image on a server another name."""
    if not IMAGE_ID.fullmatch(request.source):
        parse_reference(request.source)
    target = _require_no_digest(parse_reference(request.target)).tagged()
    await require_repository(context, target)
    job = Submission(
        organization_id=context.organization_id,
        server_id=await choose_server(context, request.server_id),
        command=ImageTag(source=request.source, reference=str(target)),
        requested_by=context.caller.actor_id,
        deadline=TEST_DEADLINE,
        job_id=context.job_id,
    )
    ended = await submit_and_wait(context, job)
    return ended if isinstance(ended, Accepted) else ImageOutput.of(ended)


async def _transfer(
    context: Context,
    command: ImagePush | ImageCopy,
    target: Reference,
    server_id: str,
) -> Accepted:
    job = Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=command,
        requested_by=context.caller.actor_id,
        registry_id=command.registry_id,
        exclusive_key=exclusive_key(command, server_id),
        fair_key=_application(target),
        deadline=TRANSFER_DEADLINE,
        job_id=context.job_id,
    )
    return await submit_job(context, job)


async def _choose(context: Context, server_id: str | None, *registries: Registry | None) -> str:
    """Choose a server that may receive the logins of these registries."""
    limited = [registry for registry in registries if registry is not None]
    among = next((one.allowed_servers for one in limited if one.allowed_servers), ())
    chosen = await choose_server(context, server_id, online=False, among=among)
    require_allowed(limited, [chosen], "")
    return chosen


async def _choose_registry(
    context: Context, reference: Reference, server_id: str
) -> Registry | None:
    async with context.transaction() as session:
        found = await find_registries(session, context, [reference.registry])
    return choose_registry(reference, found, [server_id])


async def _source(
    context: Context, image: str, registry_id: str | None
) -> tuple[Reference, Registry | None]:
    """Parse the image's reference; check that it is at the registry, if one is named."""
    registry = None
    reference = parse_reference(image).tagged()
    require_host(reference.registry, context.resources.networks)
    if registry_id is not None:
        registry = await _registry(context, registry_id)
        if registry.host != reference.registry:
            raise InvalidReferenceError(
                f"the image is at {reference.registry}, but the registry is {registry.host}",
                remedy=f"Give an image at {registry.host}/…, or another registry.",
            )
    return reference, registry


def push_target(registry: Registry, request: Push | Copy) -> Reference:
    """Return the target: prefix, name and tag; by default the image's own path and tag.

    Raises:
        InvalidReferenceError: at another registry, with a digest, or invalid.
    """
    own_path, own_tag = _own_name(registry, request)
    name = request.name or own_path
    target = make_reference(
        registry.registry_url,
        registry.image_prefix,
        name,
        username=registry.username,
        tag=request.tag or ("" if _names_tag(name) else own_tag),
    )
    return _require_no_digest(target).tagged()


def _names_tag(name: str) -> bool:
    return ":" in name.rpartition("/")[2]


def _own_name(registry: Registry, request: Push | Copy) -> tuple[str, str]:
    """Return the image's path without the prefix, and its tag; an image id has neither."""
    if IMAGE_ID.fullmatch(request.image):
        if request.name is None:
            raise InvalidReferenceError(
                "the image is given by its id, so its name is not known",
                remedy="Give the field name too, for example team/app.",
            )
        return "", ""
    image = parse_reference(request.image)
    host = parse_registry(registry.registry_url)
    path = image.repository
    if image.registry == HUB and "/" not in request.image:
        path = path.removeprefix(HUB_LIBRARY)
    if image.registry == host.name and image.registry != HUB:
        return image.name, image.tag or ""
    prefix = parse_prefix(host, registry.image_prefix)
    return (path.removeprefix(f"{prefix}/") if prefix else path), image.tag or ""


def _application(reference: Reference) -> str:
    """Return the key by which images of one repository take turns with others."""
    return f"{reference.registry}/{reference.repository}"


def _require_no_digest(reference: Reference) -> Reference:
    if reference.digest:
        raise InvalidReferenceError(f"{reference} has a digest; give a tag")
    return reference


async def _registry(context: Context, registry_id: str) -> Registry:
    async with context.transaction() as session:
        return await find_registry(session, context, registry_id)


PROCEDURES = (
    Procedure("image.pull", "mutation", Pull, AcceptedPull, pull),
    Procedure("image.push", "mutation", Push, Accepted, push),
    Procedure("image.copy", "mutation", Copy, Accepted, copy),
    Procedure("image.tag", "mutation", TagImage, ImageOutput, tag, waits=True),
)
