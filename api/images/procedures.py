"""Images: pulled to a server, pushed from it, tagged there, copied from registry to registry."""

import re
from typing import Self

from api.events.waiter import EndedJob
from api.fields.hosts import require_host
from api.fields.shapes import Accepted, Id, ImageName, Input, Output, Tag
from api.jobs.submission import (
    TEST_DEADLINE,
    TRANSFER_DEADLINE,
    choose_server,
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
    """``image`` is what the server's Engine calls it; ``name`` and ``tag`` what it becomes."""

    image: ImageName
    registry_id: Id
    server_id: Id | None = None
    name: ImageName | None = None
    tag: Tag | None = None


class Copy(Input):
    """``image`` is at a registry, with its host; ``name`` and ``tag`` are what it becomes."""

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
    """``joined``: the job is that of an earlier request for the same image."""

    joined: bool


class ImageOutput(Output):
    """The image under its new name; ``verifiedBy`` says who asked the registry for the digest."""

    reference: str
    digest: str | None
    image_id: str | None
    size_bytes: int | None
    verified_by: str | None

    @classmethod
    def of(cls, ended: EndedJob) -> Self:
        return cls.model_validate(read_result(ended, ImageResult))


async def pull(context: Context, request: Pull) -> AcceptedPull:
    """Pull an image to a server; without a registry, anonymously.

    The same image is fetched to a server once: who asks again with the same registry gets the job
    that is there, and `joined: true`. A pull by digest is joined until it has ended. A pull by tag
    is joined until it has begun, as the tag may have moved since; who asks later gets a job of his
    own, which waits for that one. A cancel ends the job for all who share it.
    """
    reference, registry = await _source(context, request.image, request.registry_id)
    server_id = await _choose(context, request.server_id, registry)
    command = ImagePull(reference=str(reference), registry_id=request.registry_id)
    job = Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=command,
        requested_by=context.caller.api_key_id,
        registry_id=request.registry_id,
        exclusive_key=exclusive_key(command, server_id),
        fair_key=_application(reference),
        dedupe_key=f"{server_id}:{reference}:{request.registry_id or ''}",
        dedupe_until=DedupeUntil.ENDED if reference.digest else DedupeUntil.BEGUN,
        deadline=TRANSFER_DEADLINE,
        job_id=context.job_id,
    )
    accepted = await submit_job(context, job)
    return AcceptedPull(job_id=accepted.job_id, joined=accepted.job_id != job.job_id)


async def push(context: Context, request: Push) -> Accepted:
    """Push an image of a server to a registry, below the registry's prefix."""
    registry = await _registry(context, request.registry_id)
    target = push_target(registry, request)
    require_host(target.registry, context.resources.networks)
    command = ImagePush(
        source=request.image, reference=str(target), registry_id=registry.registry_id
    )
    return await _transfer(context, command, target, request.server_id, registry)


async def copy(context: Context, request: Copy) -> Accepted:
    """Copy an image to another registry as it is: all platforms, byte for byte.

    The server passes the bytes on; its Engine has no part in it. What the other registry has
    already is not sent, and within one registry nothing is.
    """
    source, source_registry = await _source(context, request.image, request.source_registry_id)
    registry = await _registry(context, request.registry_id)
    target = push_target(registry, request)
    require_host(target.registry, context.resources.networks)
    if not source.tag and request.tag is None and not _names_tag(request.name or ""):
        raise InvalidReferenceError("a digest says no tag", remedy="Give tag too.")
    if not source.digest and target == source:
        raise InvalidReferenceError(f"{target} would be copied onto itself")
    command = ImageCopy(
        source=str(source),
        reference=str(target),
        source_registry_id=request.source_registry_id,
        registry_id=registry.registry_id,
    )
    registries = (registry, source_registry)
    return await _transfer(context, command, target, request.server_id, *registries)


async def tag(context: Context, request: TagImage) -> ImageOutput | Accepted:
    """Give an image of a server another name."""
    if not IMAGE_ID.fullmatch(request.source):
        parse_reference(request.source)
    target = _require_no_digest(parse_reference(request.target)).tagged()
    job = Submission(
        organization_id=context.organization_id,
        server_id=await choose_server(context, request.server_id),
        command=ImageTag(source=request.source, reference=str(target)),
        requested_by=context.caller.api_key_id,
        deadline=TEST_DEADLINE,
        job_id=context.job_id,
    )
    ended = await submit_and_wait(context, job)
    return ended if isinstance(ended, Accepted) else ImageOutput.of(ended)


async def _transfer(
    context: Context,
    command: ImagePush | ImageCopy,
    target: Reference,
    server_id: str | None,
    *registries: Registry | None,
) -> Accepted:
    chosen = await _choose(context, server_id, *registries)
    job = Submission(
        organization_id=context.organization_id,
        server_id=chosen,
        command=command,
        requested_by=context.caller.api_key_id,
        registry_id=command.registry_id,
        exclusive_key=exclusive_key(command, chosen),
        fair_key=_application(target),
        deadline=TRANSFER_DEADLINE,
        job_id=context.job_id,
    )
    return await submit_job(context, job)


async def _choose(context: Context, server_id: str | None, *registries: Registry | None) -> str:
    """The server that is to do it, which may have the logins of these registries."""
    limited = [registry for registry in registries if registry is not None]
    among = next((one.allowed_servers for one in limited if one.allowed_servers), ())
    chosen = await choose_server(context, server_id, online=False, among=among)
    for registry in limited:
        require_allowed(registry, chosen, "")
    return chosen


async def _source(
    context: Context, image: str, registry_id: str | None
) -> tuple[Reference, Registry | None]:
    """Where the image is, which has to be at that registry if one is named."""
    registry = None
    reference = parse_reference(image).tagged()
    require_host(reference.registry, context.resources.networks)
    if registry_id is not None:
        registry = await _registry(context, registry_id)
        if registry.host != reference.registry:
            raise InvalidReferenceError(
                f"the image is at {reference.registry}, the registry is {registry.host}",
                remedy=f"Write {registry.host}/…, or name another registry.",
            )
    return reference, registry


def push_target(registry: Registry, request: Push | Copy) -> Reference:
    """Where the image goes: prefix and name, the image's own path and tag by default.

    Raises:
        InvalidReferenceError: of another registry, by digest, or not the grammar.
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
    """The image's path as it goes behind a prefix, and its tag; an image id has neither."""
    if IMAGE_ID.fullmatch(request.image):
        if request.name is None:
            raise InvalidReferenceError("an image id says no name", remedy="Give name too.")
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
        raise InvalidReferenceError(f"{reference} has a digest; only a tag can be given")
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
