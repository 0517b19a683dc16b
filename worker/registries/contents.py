"""Read what is in a registry: its repositories, the tags of one, one image. Change nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from shared.errors import InvalidReferenceError, RegistryError
from shared.faults import FaultCode
from shared.jobs.accesses import below_prefix
from shared.jobs.commands import ImageInspect, ImageRepositories, ImageTags
from shared.jobs.results import Attachment, InspectionResult, ListResult, PlatformImage
from shared.reference import Reference, parse_registry, require_repository, require_tag
from worker.jobs.logins import find_login
from worker.jobs.tools import Tools
from worker.login import Grants
from worker.oci.images.inspection import Inspection, inspect
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.listing import read_repositories, read_tags

WITHIN = timedelta(seconds=15)
"""The time limit after which a slow registry is reported, before the attempt times out."""

MAX_LABELS = 100
MAX_LABEL_CHARACTERS = 500
MAX_ATTACHMENTS = 200
MAX_TYPE_CHARACTERS = 200

NOT_OFFERED = frozenset(
    {
        FaultCode.PULL_DENIED,
        FaultCode.AUTH_MISSING,
        FaultCode.REPO_MISSING,
        FaultCode.IMAGE_NOT_FOUND,
        FaultCode.REF_INVALID,
        FaultCode.NOT_A_REGISTRY,
        FaultCode.REGISTRY_ERROR,
    }
)
"""The codes of a registry that does not list its repositories, or not to this login."""


async def inspect_image(
    command: ImageInspect, grants: Grants, tools: Tools, *, within: timedelta = WITHIN
) -> InspectionResult:
    """Describe an image at its registry, with its platforms and what is attached to it.

    Raises:
        RegistryError: ``image_not_found``, ``pull_denied``, ``conn_timeout`` …
    """
    target = command.target.tagged()
    login = await find_login(grants, target, "pull", tools) if command.registry_id else None
    settings = await tools.connection_settings()
    async with (
        _limiting(within, f"look at {target}"),
        RegistryClient(parse_registry(target.registry), login, settings) as registry,
    ):
        found = await inspect(registry, target)
    return _make_result(target, found)


async def list_tags(
    command: ImageTags, grants: Grants, tools: Tools, *, within: timedelta = WITHIN
) -> ListResult:
    """List tags of a repository; names that are no tags are counted and left out.

    Raises:
        RegistryError: ``repo_missing``, ``pull_denied``, ``conn_timeout`` …
    """
    target = Reference(command.host, command.repository)
    login = await find_login(grants, target, "pull", tools)
    settings = await tools.connection_settings()
    async with (
        _limiting(within, f"list the tags of {target.name}"),
        RegistryClient(parse_registry(command.host), login, settings) as registry,
    ):
        found = await read_tags(registry, command.repository, command.limit, command.after)
    names = _keep(found.names, require_tag)
    return ListResult(names=names, next=found.next, invalid=len(found.names) - len(names))


async def list_repositories(
    command: ImageRepositories, grants: Grants, tools: Tools, *, within: timedelta = WITHIN
) -> ListResult:
    """List repositories at the command's prefix or below, for which the login was given.

    A registry that does not list them, or not to this login, is a result with a ``refusal``.

    Raises:
        RegistryError: ``auth_bad_credentials``, ``conn_timeout`` …
    """
    target = Reference(command.host, below_prefix(command.prefix))
    login = await find_login(grants, target, "pull", tools)
    settings = await tools.connection_settings()
    async with (
        _limiting(within, f"list the repositories of {command.host}"),
        RegistryClient(parse_registry(command.host), login, settings) as registry,
    ):
        await registry.ping()
        try:
            found = await read_repositories(
                registry, command.limit, command.after, prefix=command.prefix
            )
        except RegistryError as error:
            if error.code not in NOT_OFFERED:
                raise
            return ListResult(names=(), refusal=error.message)
    names = _keep(found.names, require_repository)
    return ListResult(names=names, next=found.next, invalid=len(found.names) - len(names))


@asynccontextmanager
async def _limiting(within: timedelta, what: str) -> AsyncIterator[None]:
    """Raise ``conn_timeout`` if the block takes longer."""
    try:
        async with asyncio.timeout(within.total_seconds()):
            yield
    except TimeoutError as error:
        raise RegistryError(
            FaultCode.CONN_TIMEOUT, f"it took longer than {within.total_seconds():g} s to {what}"
        ) from error


def _make_result(target: Reference, found: Inspection) -> InspectionResult:
    root = found.root.descriptor
    labels = sorted(found.labels.items())[:MAX_LABELS]
    return InspectionResult(
        reference=str(target),
        digest=root.digest,
        media_type=root.media_type,
        artifact_type=found.artifact_type[:MAX_TYPE_CHARACTERS],
        size_bytes=found.size_bytes,
        created_at=found.created_at,
        labels={name[:100]: value[:MAX_LABEL_CHARACTERS] for name, value in labels},
        platforms=tuple(
            PlatformImage(platform=one.platform[:100], digest=one.digest, size_bytes=one.size_bytes)
            for one in found.platforms
        ),
        attachments=tuple(
            Attachment(
                kind=one.kind,
                digest=one.digest,
                tag=one.tag or None,
                artifact_type=one.artifact_type[:MAX_TYPE_CHARACTERS],
            )
            for one in found.attached[:MAX_ATTACHMENTS]
        ),
        warnings=found.gaps,
    )


def _keep(names: Sequence[str], require: Callable[[str], None]) -> tuple[str, ...]:
    """Return the names that are valid."""
    kept = []
    for name in names:
        try:
            require(name)
        except InvalidReferenceError:
            continue
        kept.append(name)
    return tuple(kept)
