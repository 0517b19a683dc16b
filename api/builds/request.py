"""The request for a build: its input, checked and planned."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.loading import LoadedApplication
from api.applications.permissions import require_builder
from api.builds.context_choice import choose_context
from api.builds.plan import BuildPlan, BuildRequest, make_build_plan
from api.fields import dokploy
from api.fields.effects import AppliesTo, NotBeside
from api.fields.shapes import Id, Input, Tag, Text
from api.fields.sources import Branch, Commit
from api.jobs.server_choice import choose_build_server
from api.procedure.context import Context

FROM_GIT = AppliesTo("source_type", ("git",), refused=True)
FROM_UPLOAD = AppliesTo("source_type", ("git", "drop"), refused=True)
MAY_MISS = (
    AppliesTo("source_type", ("git",), refused=True, harmless=False),
    NotBeside("context_id", refused=True, harmless=False),
)
"""Only sources in a git repository can have missing parts."""


class BuildInput(Input):
    """`tag`, `branch` and `commit` take precedence over the application's; the tag has a default.

    So does `contextId`, an upload; if `sourceType` is `drop`, the default is the newest upload. A
    ready image takes only a `tag`: the one to pull. With `allowMissing`, submodules and LFS files
    that cannot be fetched are left out, and the job's `warnings` name them; without it the build
    fails.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.BUILD

    application_id: Id
    context_id: Annotated[Id | None, FROM_UPLOAD] = None
    tag: Tag | None = None
    branch: Annotated[Branch | None, FROM_GIT, NotBeside("commit")] = None
    commit: Annotated[Commit | None, FROM_GIT] = None
    allow_missing: Annotated[bool, *MAY_MISS] = False
    title: Text = ""


async def plan_build(
    session: AsyncSession, context: Context, loaded: LoadedApplication, request: BuildInput
) -> BuildPlan:
    """Check the request, choose the context and the build server, and plan the build.

    Raises:
        ForbiddenError: the caller may not build the application.
        WharfError: as of `choose_context`, `choose_build_server` and `make_build_plan`.
    """
    application = loaded.row
    context.check_effects(request, application)
    uploads = request.context_id is not None or application.source_type == "drop"
    require_builder(context.caller, application, uploads=uploads)
    upload = await choose_context(session, application, request.context_id)
    server_id = await choose_build_server(session, context, application)
    return make_build_plan(
        loaded,
        BuildRequest(
            build_id=context.job_id,
            server_id=server_id,
            requested_by=context.caller.actor_id,
            title=request.title,
            tag=request.tag,
            branch=request.branch,
            commit=request.commit,
            upload=upload,
            allow_missing=request.allow_missing,
        ),
    )
