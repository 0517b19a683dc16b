"""Compose files: pull their images to a server and pin them by digest."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field
from sqlmodel import col, select

from api.compose.dotenv import parse_dotenv
from api.fields.hosts import require_host
from api.fields.shapes import Accepted, Id, Input
from api.jobs.registry_choice import choose_registry, find_registries
from api.jobs.server_choice import choose_server
from api.jobs.submission import TRANSFER_DEADLINE, submit_job
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.compose.images import MAX_BYTES, ComposeFile, ServiceImage, read_compose
from shared.errors import NotFoundError
from shared.jobs.commands import ComposeImage, ComposePull
from shared.jobs.permissions import require_allowed
from shared.jobs.store.submit import Submission
from shared.models import Registry
from shared.reference import Reference

MAX_REGISTRIES = 50
MAX_PROFILES = 50
Profile = Annotated[str, Field(min_length=1, max_length=100)]
APPLICATION = "compose"
"""The fair key: all compose files of an organization together take turns with its images."""


class PullCompose(Input):
    """``registryIds`` are the registries whose logins may be used; by default all.

    ``envFile`` is the text of the file's `.env`, ``profiles`` are the active ones (by default
    `COMPOSE_PROFILES` of the `.env`).
    """

    compose_file: Annotated[str, Field(min_length=1, max_length=MAX_BYTES)]
    server_id: Id | None = None
    registry_ids: Annotated[list[Id], Field(max_length=MAX_REGISTRIES)] | None = None
    env_file: Annotated[str, Field(max_length=MAX_BYTES)] | None = None
    profiles: Annotated[list[Profile], Field(max_length=MAX_PROFILES)] | None = None


async def pull(context: Context, request: PullCompose) -> Accepted:
    """Pull the images of a compose file to a server and pin them by digest.

    `job.one` returns the pinned file as `result.composeFile`, with the digest of each service's
    image; everything else is unchanged, byte for byte. Services without an image do not change. An
    image is pulled with the login of the registry at its host that may be used on this server; of
    several registries, the longest matching prefix wins, and of equal ones the oldest; without a
    registry the pull is anonymous.

    Services are treated as `docker compose pull` treats them. Without an active profile, or with
    the pull policy `never` or `build`, they are skipped; so is an image that cannot be pulled but
    built. `result.skipped` names them with the reason. Files of `include` and of `extends` are not
    read; `result.warnings` names them.

    Variables get their values from `envFile`, or their default, as in `${TAG:-1.4}`. The file is
    stored with its job, and so are the variables that its images use, but no others.
    """
    variables = parse_dotenv(request.env_file or "")
    profiles = request.profiles
    if profiles is None:
        profiles = [name for name in variables.get("COMPOSE_PROFILES", "").split(",") if name]
    # A large file takes half a second, which must not block other requests.
    file = await asyncio.to_thread(read_compose, request.compose_file, variables, profiles)
    hosts = {image.reference.registry for image in file.images}
    for host in sorted(hosts):
        require_host(host, context.resources.networks)
    registries = await _registries(context, hosts, request.registry_ids)
    server_id = await choose_server(context, request.server_id, online=False)
    if request.registry_ids is not None:
        require_allowed([one for one in registries if one.host in hosts], [server_id], "")
    images = _images(file, registries, server_id)
    job = Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=ComposePull(
            compose=file.text,
            images=images,
            variables={name: variables[name] for name in file.variables & variables.keys()},
            profiles=tuple(profiles),
        ),
        requested_by=context.caller.actor_id,
        # A job counts toward the limit of one registry.
        registry_id=next((image.registry_id for image in images if image.registry_id), None),
        fair_key=APPLICATION,
        deadline=TRANSFER_DEADLINE,
        job_id=context.job_id,
    )
    return await submit_job(context, job)


def _images(
    file: ComposeFile, registries: Sequence[Registry], server_id: str
) -> tuple[ComposeImage, ...]:
    """Return each image once, with the services that run it."""
    services: dict[Reference, list[ServiceImage]] = {}
    for image in file.images:
        services.setdefault(image.reference, []).append(image)
    chosen = {
        reference: choose_registry(reference, registries, [server_id], must_fit=False)
        for reference in services
    }
    return tuple(
        ComposeImage(
            services=tuple(one.service for one in images),
            reference=str(reference),
            registry_id=registry.registry_id if (registry := chosen[reference]) else None,
            only_if_missing=all(one.only_if_missing for one in images),
            can_be_built=any(one.can_be_built for one in images),
        )
        for reference, images in services.items()
    )


async def _registries(
    context: Context, hosts: Iterable[str], ids: Sequence[str] | None
) -> Sequence[Registry]:
    """Return the organization's registries at these hosts, or those with ``ids``; oldest first.

    Raises:
        NotFoundError: one of ``ids`` does not exist in the organization.
    """
    query = select(Registry).where(Registry.organization_id == context.organization_id)
    query = query.where(col(Registry.registry_id).in_(ids or ()))
    query = query.order_by(col(Registry.created_at), Registry.registry_id)
    async with context.transaction() as session:
        if ids is None:
            return await find_registries(session, context, hosts)
        found = (await session.exec(query)).all()
    if len(found) < len(set(ids or ())):
        raise NotFoundError("Registry not found")
    return found


PROCEDURES = (Procedure("compose.pull", "mutation", PullCompose, Accepted, pull),)
