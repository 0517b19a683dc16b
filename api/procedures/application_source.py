"""What an application is made from: a git repository, or an image that is ready."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from api.context import Context
from api.errors import InvalidSourceError, PasswordNeededError
from api.hosts import require_host
from api.procedures.application_rows import (
    application_event,
    assign,
    find_application,
    seal_for,
)
from api.procedures.fields import Id, Ignored, ImageName, Input, Password, Username
from api.procedures.procedure import Procedure
from api.procedures.source_fields import (
    Branch,
    BuildPath,
    Commit,
    GitAddress,
    GitUrl,
    parse_git_url,
)
from api.procedures.usage import require_registries
from shared.models import Application
from shared.reference import parse_reference

ANY_USERNAME = "git"
"""What a token's user is called where nobody says it: most services look at the token alone."""


def _nothing(said: str) -> AfterValidator:
    """A field of Dokploy's that has to be empty here: to ignore what it says would be worse."""

    def require(value: object) -> object:
        if value:
            raise ValueError(said)
        return value

    return AfterValidator(require)


NoSshKey = Annotated[
    str | None, _nothing("no SSH keys are kept here: use customGitToken with an https URL")
]
NoSubmodules = Annotated[bool | None, _nothing("submodules are not fetched here")]
NoLogin = Annotated[
    str | None, _nothing("store the login with registry.create, and give its registryId here")
]


REPLACED = ("git_url", "git_branch", "git_commit", "git_build_path")


class SaveGitProvider(Input):
    """Without a branch it is the repository's own; a commit goes before the branch.

    ``customGitToken`` is for a private repository and stays as long as it is not given; ``null``
    takes it away.
    """

    application_id: Id
    git_url: GitAddress = Field(alias="customGitUrl")
    git_branch: Branch | None = Field(default=None, alias="customGitBranch")
    git_commit: Commit | None = Field(default=None, alias="customGitCommit")
    git_build_path: BuildPath = Field(default="/", alias="customGitBuildPath")
    git_username: Username | None = Field(default=None, alias="customGitUsername")
    git_token: Password | None = Field(default=None, alias="customGitToken")
    ssh_key_id: NoSshKey = Field(default=None, alias="customGitSSHKeyId")
    enable_submodules: NoSubmodules = None
    watch_paths: Ignored = None


class SaveDockerProvider(Input):
    """``registryId``, where it is given, is what the image is pulled from."""

    application_id: Id
    docker_image: ImageName
    registry_id: Id | None = None
    username: NoLogin = None
    password: NoLogin = None
    registry_url: NoLogin = None


async def save_git_provider(context: Context, asked: SaveGitProvider) -> bool:
    """Build an application from a git repository."""
    url = parse_git_url(asked.git_url, context.resources.networks)
    async with context.transaction() as session:
        application, _ = await find_application(session, context, asked.application_id, lock=True)
        _set_login(context, application, asked, url)
        changed = assign(application, asked, REPLACED)
        changed += sorted(asked.model_fields_set & {"git_token", "git_username"})
        application.source_type = "git"
        event = application_event(context, "application.saveGitProvider", application, changed)
        session.add(event)
    return True


async def save_docker_provider(context: Context, asked: SaveDockerProvider) -> bool:
    """Make an application of an image that is ready: nothing is built."""
    require_host(parse_reference(asked.docker_image).registry, context.resources.networks)
    async with context.transaction() as session:
        await require_registries(session, context, [asked.registry_id])
        application, _ = await find_application(session, context, asked.application_id, lock=True)
        given = asked.model_fields_set & {"docker_image", "registry_id"}
        changed = assign(application, asked, given)
        application.source_type = "docker"
        event = application_event(context, "application.saveDockerProvider", application, changed)
        session.add(event)
    return True


def _set_login(
    context: Context, application: Application, asked: SaveGitProvider, url: GitUrl
) -> None:
    """The token is bound to host and username: another of these needs it again."""
    given = asked.model_fields_set
    bound = (application.git_host, application.git_username)
    application.git_host = url.host
    if "git_username" in given:
        application.git_username = asked.git_username
    if "git_token" in given:
        application.git_token = _seal_token(context, application, asked.git_token)
    elif application.git_token and (application.git_host, application.git_username) != bound:
        raise PasswordNeededError(
            "the stored token is bound to its host and username",
            remedy="Give customGitToken too; null takes it away.",
        )
    if application.git_token and not url.is_private:
        raise InvalidSourceError(
            f"a token is not sent to {url.host} in clear", remedy="Give the https:// URL."
        )


def _seal_token(context: Context, application: Application, token: SecretStr | None) -> str | None:
    if token is None:
        return None
    application.git_username = application.git_username or ANY_USERNAME
    return seal_for(
        context,
        application,
        "git_token",
        token.get_secret_value(),
        host=application.git_host or "",
        username=application.git_username,
    )


PROCEDURES = (
    Procedure(
        "application.saveGitProvider", "mutation", SaveGitProvider, bool, save_git_provider, "admin"
    ),
    Procedure(
        "application.saveDockerProvider",
        "mutation",
        SaveDockerProvider,
        bool,
        save_docker_provider,
        "admin",
    ),
)
