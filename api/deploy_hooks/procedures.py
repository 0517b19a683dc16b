"""Deploy hooks: URLs that a registry or a git host calls after a push."""

from typing import Annotated

from pydantic import Field
from sqlmodel import col, select

from api.applications.queries import find_application
from api.deploy_hooks.secrets import seal_secret
from api.fields.effects import AppliesTo
from api.fields.shapes import Id, Input, Moment, Output, Warned
from api.procedure.audit import audit_event
from api.procedure.auth import hash_secret, make_secret
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import NotFoundError, UnmetConditionError
from shared.ids import make_id
from shared.models import AuditEvent, DeployHook
from shared.webhooks import make_secret as make_signing_secret

PATH = "/api/deploy/"

FROM_GIT = AppliesTo("source_type", ("git",))
BranchFilter = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]
PathFilter = Annotated[str, Field(min_length=1, max_length=500)]
PathFilters = Annotated[list[PathFilter], Field(max_length=50)]
TagFilter = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]


class DeployHookOutput(Output):
    """A hook without its URL and its secret."""

    hook_id: str
    application_id: str
    tag_filter: str
    branch_filter: str | None
    path_filters: list[str]
    require_signature: bool
    created_at: Moment
    last_used_at: Moment | None


class CreatedDeployHook(DeployHookOutput, Warned):
    """A new hook; `url`, relative to the API's address, and `secret` are shown only once."""

    url: str
    secret: str


class CreateDeployHook(Input):
    """`tagFilter` is a glob (`v*`, `1.[0-9]*`); `*` is any tag.

    Of an application that is built from git, `branchFilter` is a glob for branches; without it the
    branch is the application's. `pathFilters` are globs for changed files; `*` includes slashes.
    Without `requireSignature` the URL alone is enough, for example for Docker Hub, which does not
    sign.
    """

    application_id: Id
    tag_filter: Annotated[TagFilter, AppliesTo("source_type", ("docker",), harmless="*")] = "*"
    branch_filter: Annotated[BranchFilter | None, FROM_GIT] = None
    path_filters: Annotated[PathFilters, FROM_GIT] = Field(default_factory=list)
    require_signature: bool = True


class HooksOfApplication(Input):
    application_id: Id


class ChosenDeployHook(Input):
    hook_id: Id


async def create(context: Context, request: CreateDeployHook) -> CreatedDeployHook:
    """Create a URL that deploys an application when its image or its source is pushed.

    A pushed tag of a ready image is deployed; a pushed commit of a git repository is built first.
    Requests must be signed as in Standard Webhooks or as by GitHub or Gitea, or contain the secret
    as `Authorization` or `X-Gitlab-Token`.
    """
    token, secret, hook_id = make_secret(""), make_signing_secret(), make_id()
    hook = DeployHook(
        hook_id=hook_id,
        organization_id=context.organization_id,
        application_id=request.application_id,
        token_hash=hash_secret(token),
        sealed_secret=seal_secret(secret, token, hook_id),
        tag_filter=request.tag_filter,
        branch_filter=request.branch_filter,
        path_filters=request.path_filters,
        require_signature=request.require_signature,
    )
    async with context.transaction() as session:
        application, _ = await find_application(session, context, request.application_id, lock=True)
        if application.source_type not in {"docker", "git"}:
            raise UnmetConditionError(
                "source_not_docker",
                f"the application {application.name} has no repository and no ready image",
                remedy="Save one with application.saveGitProvider or saveDockerProvider.",
            )
        context.check_effects(request, application)
        session.add(hook)
        session.add(_audit_created(context, hook))
    shown = DeployHookOutput.model_validate(hook)
    return CreatedDeployHook(**shown.model_dump(), url=PATH + token, secret=secret)


async def get_all(context: Context, request: HooksOfApplication) -> list[DeployHookOutput]:
    """List all deploy hooks of an application, the oldest first."""
    query = select(DeployHook).where(DeployHook.application_id == request.application_id)
    async with context.transaction() as session:
        await find_application(session, context, request.application_id)
        found = (await session.exec(query.order_by(DeployHook.hook_id))).all()
    return [DeployHookOutput.model_validate(hook) for hook in found]


async def remove(context: Context, request: ChosenDeployHook) -> DeployHookOutput:
    """Remove a deploy hook. Its URL stops working."""
    query = select(DeployHook).where(
        DeployHook.organization_id == context.organization_id,
        col(DeployHook.hook_id) == request.hook_id,
    )
    async with context.transaction() as session:
        hook = (await session.exec(query)).one_or_none()
        if hook is None:
            raise NotFoundError("Deploy hook not found")
        await session.delete(hook)
        session.add(audit_event(context, "deployHook.remove", hook.hook_id))
    return DeployHookOutput.model_validate(hook)


def _audit_created(context: Context, hook: DeployHook) -> AuditEvent:
    return audit_event(
        context,
        "deployHook.create",
        hook.hook_id,
        tag_filter=hook.tag_filter,
        branch_filter=hook.branch_filter,
        path_filters=hook.path_filters,
        require_signature=hook.require_signature,
    )


PROCEDURES = (
    Procedure(
        "deployHook.create", "mutation", CreateDeployHook, CreatedDeployHook, create, "admin"
    ),
    Procedure("deployHook.all", "query", HooksOfApplication, list[DeployHookOutput], get_all),
    Procedure("deployHook.remove", "mutation", ChosenDeployHook, DeployHookOutput, remove, "admin"),
)
