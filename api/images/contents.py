"""Read what is in registries, by a quick job on a server: repositories, tags, one image.

The API opens no connection to a registry and no credential; a server does both.
"""

from typing import Annotated, Literal

from pydantic import Field
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.loading import load_application
from api.fields.hosts import require_host
from api.fields.shapes import Accepted, Id, ImageName, Input, Moment, Output
from api.images.known import RunningPlace, find_known_repositories, find_running
from api.jobs.registry_choice import choose_registry, find_registries, fit
from api.jobs.server_choice import choose_server
from api.jobs.submission import TEST_DEADLINE, read_result, submit_and_wait
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.registries.procedures import find_registry
from shared.errors import InvalidReferenceError
from shared.jobs.commands import Command, ImageInspect, ImageRepositories, ImageTags
from shared.jobs.permissions import require_allowed
from shared.jobs.results import AttachmentKind, InspectionResult, ListResult
from shared.jobs.store.submit import Submission
from shared.models import Registry
from shared.reference import (
    HUB,
    HUB_LIBRARY,
    Reference,
    parse_prefix,
    parse_reference,
    parse_registry,
    require_repository,
)

MAX_LIMIT = 500
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
After = Annotated[str, Field(pattern=r"^[!-~]{0,2000}$")]
"""The ``next`` of an earlier answer: a query that the registry has made."""


class Inspect(Input):
    """``image`` has the host of its registry. With ``applicationId``, its registries are used."""

    image: ImageName
    registry_id: Id | None = None
    application_id: Id | None = None
    server_id: Id | None = None


class ListTags(Input):
    """``repository`` is at the registry's prefix or below: the whole path, without the host."""

    registry_id: Id
    repository: ImageName
    server_id: Id | None = None
    limit: Limit = 100
    after: After = ""


class ListRepositories(Input):
    registry_id: Id
    server_id: Id | None = None
    limit: Limit = 100
    after: After = ""


class PlatformOutput(Output):
    """The image of one platform; ``sizeBytes`` is that of its layers and configuration."""

    platform: str
    digest: str
    size_bytes: int


class AttachmentOutput(Output):
    """A signature, an attestation or an SBOM; ``tag`` is the one that cosign has given it."""

    kind: AttachmentKind
    digest: str
    tag: str | None
    artifact_type: str


class InspectedImage(Output):
    """An image as its registry has it; ``sizeBytes`` counts each blob of all platforms once.

    ``createdAt`` and ``labels`` are those of one platform. ``artifactType`` is empty for an image.
    ``running`` are the places whose recorded digest this is. ``gaps`` say what cannot be read.
    Without ``registryId`` it was read without a login.
    """

    reference: str
    registry_id: str | None
    server_id: str
    digest: str
    media_type: str
    artifact_type: str
    size_bytes: int
    created_at: Moment | None
    labels: dict[str, str]
    platforms: list[PlatformOutput]
    attachments: list[AttachmentOutput]
    running: list[RunningPlace]
    gaps: list[str]
    asked_at: Moment


class TagList(Output):
    """Tags in the registry's order; ``next`` is for ``after``, and ``null`` at the end.

    ``leftOut`` counts names that the registry lists, and that are no tags.
    """

    registry_id: str
    server_id: str
    repository: str
    tags: list[str]
    next: str | None
    left_out: int


class RepositoryList(Output):
    """Repositories at the registry's prefix or below; ``next`` is for ``after``.

    Many registries list none, as ``finding`` then says. With the source ``known`` they are those
    that applications and recent jobs name.
    """

    registry_id: str
    server_id: str
    source: Literal["registry", "known"]
    repositories: list[str]
    next: str | None
    left_out: int
    finding: str | None


async def inspect(context: Context, request: Inspect) -> InspectedImage | Accepted:
    """Read an image at its registry: digest, platforms, sizes, signatures, and what runs it.

    A server asks the registry, so this waits for a quick job. Nothing is transferred but manifests,
    each of which a registry may count as a pull. Without `registryId`, the login is chosen as by
    `image.pull`; with `applicationId` it is one of the application's registries, as for its
    deployments. Signatures are found by the tags of cosign and by the referrers of OCI 1.1.
    """
    reference = parse_reference(request.image).tagged()
    require_host(reference.registry, context.resources.networks)
    async with context.transaction() as session:
        named = await _find_named(session, context, request, reference)
        found = await find_registries(session, context, [reference.registry])
    among = named.allowed_servers if named else ()
    server_id = await choose_server(context, request.server_id, among=among)
    application_id = request.application_id or ""
    registry = named
    if named is None and "registry_id" not in request.model_fields_set:
        registry = choose_registry(reference, found, [server_id], application_id)
    registry_id = registry.registry_id if registry else None
    command = ImageInspect(reference=str(reference), registry_id=registry_id)
    job = _make_job(
        context,
        command,
        server_id,
        registry,
        fair_key=application_id or reference.name,
        application_id=application_id,
    )
    ended = await submit_and_wait(context, job)
    if isinstance(ended, Accepted):
        return ended
    result = read_result(ended, InspectionResult)
    asked_at, running = await find_running(context, result.digest)
    return InspectedImage.model_validate(
        {
            **result.model_dump(exclude={"warnings"}),
            "registry_id": registry_id,
            "server_id": server_id,
            "running": running,
            "gaps": result.warnings,
            "asked_at": asked_at,
        }
    )


async def tags(context: Context, request: ListTags) -> TagList | Accepted:
    """List the tags of a repository, in the registry's order.

    A server asks the registry, so this waits for a quick job. A page has about `limit` tags: as
    many whole pages as the registry needs for them.
    """
    registry = await _load(context, request.registry_id)
    repository = _parse_repository(registry, request.repository)
    command = ImageTags(
        host=registry.host,
        repository=repository,
        registry_id=registry.registry_id,
        limit=request.limit,
        after=request.after,
    )
    server_id = await _choose(context, request.server_id, registry)
    job = _make_job(context, command, server_id, registry, fair_key=f"{registry.host}/{repository}")
    ended = await submit_and_wait(context, job)
    if isinstance(ended, Accepted):
        return ended
    result = read_result(ended, ListResult)
    return TagList(
        registry_id=registry.registry_id,
        server_id=server_id,
        repository=repository,
        tags=list(result.names),
        next=result.next or None,
        left_out=result.invalid,
    )


async def repositories(context: Context, request: ListRepositories) -> RepositoryList | Accepted:
    """List the repositories of a registry, at its image prefix or below.

    A server asks the registry, so this waits for a quick job. Docker Hub, ghcr.io and others list
    none, or not to every login: the answer then has those that applications and recent jobs name.
    """
    registry = await _load(context, request.registry_id)
    command = ImageRepositories(
        host=registry.host,
        prefix=_prefix(registry),
        registry_id=registry.registry_id,
        limit=request.limit,
        after=request.after,
    )
    server_id = await _choose(context, request.server_id, registry)
    job = _make_job(context, command, server_id, registry, fair_key=registry.host)
    ended = await submit_and_wait(context, job)
    if isinstance(ended, Accepted):
        return ended
    result = read_result(ended, ListResult)
    known = await find_known_repositories(context, registry) if result.refusal else []
    return RepositoryList(
        registry_id=registry.registry_id,
        server_id=server_id,
        source="known" if result.refusal else "registry",
        repositories=known or list(result.names),
        next=result.next or None,
        left_out=result.invalid,
        finding=_explain(registry, result.refusal) if result.refusal else None,
    )


def _explain(registry: Registry, refusal: str) -> str:
    return (
        f"{registry.host} does not list its repositories to this login ({refusal}). These are the "
        "repositories that applications and recent jobs name."
    )


async def _find_named(
    session: AsyncSession, context: Context, request: Inspect, reference: Reference
) -> Registry | None:
    """Return the registry that the request names, or that its application uses for this host.

    Raises:
        NotFoundError: no such registry or application.
        InvalidReferenceError: the image is at another registry, or not below the prefix.
    """
    application = None
    if request.application_id is not None:
        application = await load_application(session, context, request.application_id)
    if request.registry_id is not None:
        registry = await find_registry(session, context, request.registry_id)
        if registry.host != reference.registry:
            raise InvalidReferenceError(
                f"the image is at {reference.registry}, but the registry is {registry.host}",
                remedy=f"Give an image at {registry.host}/…, or another registry.",
            )
        _require_below(registry, reference.repository)
        return registry
    if application is not None and "registry_id" not in request.model_fields_set:
        _, used = application
        known = (used.pull, used.build, used.rollback)
        return next((one for one in known if one and one.host == reference.registry), None)
    return None


def _make_job(
    context: Context,
    command: Command,
    server_id: str,
    registry: Registry | None,
    *,
    fair_key: str,
    application_id: str = "",
) -> Submission:
    require_allowed([registry] if registry else [], [server_id], application_id)
    return Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=command,
        requested_by=context.caller.actor_id,
        registry_id=registry.registry_id if registry else None,
        fair_key=fair_key,
        deadline=TEST_DEADLINE,
        job_id=context.job_id,
    )


async def _load(context: Context, registry_id: str) -> Registry:
    async with context.transaction() as session:
        registry = await find_registry(session, context, registry_id)
    require_host(registry.registry_url, context.resources.networks)
    return registry


async def _choose(context: Context, server_id: str | None, registry: Registry) -> str:
    return await choose_server(context, server_id, among=registry.allowed_servers)


def _prefix(registry: Registry) -> str:
    return parse_prefix(parse_registry(registry.registry_url), registry.image_prefix)


def _parse_repository(registry: Registry, text: str) -> str:
    """Return the path of a repository, which may be given with the registry's host.

    Raises:
        InvalidReferenceError: it is no path, or not below the registry's prefix.
    """
    repository = text.removeprefix(f"{registry.host}/")
    if registry.host == HUB and "/" not in repository:
        repository = f"{HUB_LIBRARY}/{repository}"
    require_repository(repository)
    _require_below(registry, repository)
    return repository


def _require_below(registry: Registry, repository: str) -> None:
    if fit(registry, repository) < 0:
        raise InvalidReferenceError(
            f"{repository} is not below the image prefix of the registry {registry.registry_name}",
            remedy=f"Give a repository below {_prefix(registry)}, or another registry.",
        )


PROCEDURES = (
    Procedure("image.inspect", "query", Inspect, InspectedImage, inspect, waits=True),
    Procedure("image.tags", "query", ListTags, TagList, tags, waits=True),
    Procedure(
        "image.repositories", "query", ListRepositories, RepositoryList, repositories, waits=True
    ),
)
