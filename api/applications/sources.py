"""Sources of an application: a git repository, an upload, or a ready image."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SecretStr
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.deploy_keys import set_deploy_key, warn_of_ssh
from api.applications.queries import application_event, assign, find_application, seal_for
from api.errors import InvalidSourceError, PasswordNeededError
from api.fields import dokploy
from api.fields.effects import AppliesTo, FieldWarning, Fixed, NotBeside
from api.fields.hosts import require_host
from api.fields.shapes import Change, Id, ImageName, Password, Username
from api.fields.sources import (
    Branch,
    BuildPath,
    Commit,
    GitAddress,
    GitUrl,
    HostKeyText,
    parse_git_url,
)
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.usage import require_registries
from shared.models import Application, Registry
from shared.reference import parse_reference

ANY_USERNAME = "git"
"""The default user name for a token: most services look at the token alone."""


def _nothing(message: str) -> AfterValidator:
    """Require that a field of Dokploy is empty, as it has no effect here."""

    def require(value: object) -> object:
        if value:
            raise ValueError(message)
        return value

    return AfterValidator(require)


NoSshKey = Annotated[
    str | None,
    _nothing("a deploy key is its application's own: see application.generateDeployKey"),
]
Submodules = Annotated[bool | None, Fixed(harmless=True, why="submodules are always fetched")]
NoLogin = Annotated[
    str | None, _nothing("store the login with registry.create, and give its registryId here")
]


NEEDED = {"docker": ("docker_image", "saveDockerProvider"), "git": ("git_url", "saveGitProvider")}
"""The settings that a build from a source needs, and the procedure that saves each."""
OF_REPOSITORY = {"git_url", "git_branch", "git_commit", "git_build_path"}
LOGIN = {"git_token", "git_username", "git_ssh_key", "git_host_key"}
FROM_GIT = AppliesTo("source_type", ("git",))
FROM_IMAGE = AppliesTo("source_type", ("docker",))


class GitFields(Change):
    """Without a branch it is the repository's own; a commit goes before the branch.

    ``customGitToken`` is for a private repository behind https, ``customGitSSHKey``, a private key
    without a passphrase, for one behind SSH; ``null`` takes it away. ``customGitHostKey`` are the
    keys by which an SSH host is recognized: fingerprints, or lines of ``known_hosts``. Of another
    repository nothing is kept but a login for the same host and the host's keys.
    """

    git_url: Annotated[GitAddress | None, FROM_GIT] = Field(default=None, alias="customGitUrl")
    git_branch: Annotated[Branch | None, FROM_GIT, NotBeside("git_commit")] = Field(
        default=None, alias="customGitBranch"
    )
    git_commit: Annotated[Commit | None, FROM_GIT] = Field(default=None, alias="customGitCommit")
    git_build_path: Annotated[BuildPath, FROM_GIT] = Field(default="/", alias="customGitBuildPath")
    git_username: Annotated[Username | None, FROM_GIT, AppliesTo("git_token")] = Field(
        default=None, alias="customGitUsername"
    )
    git_token: Annotated[Password | None, FROM_GIT] = Field(default=None, alias="customGitToken")
    git_ssh_key: Annotated[Password | None, FROM_GIT] = Field(default=None, alias="customGitSSHKey")
    git_host_key: Annotated[HostKeyText | None, FROM_GIT] = Field(
        default=None, alias="customGitHostKey"
    )
    ssh_key_id: NoSshKey = Field(default=None, alias="customGitSSHKeyId")
    enable_submodules: Submodules = None


class ImageFields(Change):
    """An image that is ready; its login is a registry's."""

    docker_image: Annotated[ImageName | None, FROM_IMAGE] = None
    username: NoLogin = None
    password: NoLogin = None
    registry_url: NoLogin = None


class SaveGitProvider(GitFields):
    """``customGitUrl`` may be ``null``: the stored repository stays."""

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.GIT

    application_id: Id
    git_url: GitAddress | None = Field(alias="customGitUrl")


class SaveDockerProvider(ImageFields):
    """``registryId``, where it is given, is what the image is pulled from.

    ``dockerImage`` may be ``null``: the stored image stays.
    """

    application_id: Id
    docker_image: ImageName | None
    registry_id: Id | None = None


async def save_git_provider(context: Context, request: SaveGitProvider) -> bool:
    """Build an application from a git repository; of the same one, only given fields change."""
    async with context.transaction() as session:
        application, _ = await find_application(session, context, request.application_id, lock=True)
        changed = set_git(context, application, request)
        application.source_type = "git"
        require_source(application)
        warn_of_ssh(context, application)
        context.check_effects(request, application)
        event = application_event(context, "application.saveGitProvider", application, changed)
        session.add(event)
    return True


async def save_docker_provider(context: Context, request: SaveDockerProvider) -> bool:
    """Run an application from a ready image. Nothing is built."""
    async with context.transaction() as session:
        await require_registries(session, context, [request.registry_id])
        application, _ = await find_application(session, context, request.application_id, lock=True)
        changed = set_image(context, application, request)
        changed += assign(application, request, request.model_fields_set & {"registry_id"})
        application.source_type = "docker"
        require_source(application)
        context.check_effects(request, application)
        await check_login(session, context, application)
        event = application_event(context, "application.saveDockerProvider", application, changed)
        session.add(event)
    return True


def set_image(context: Context, application: Application, request: ImageFields) -> list[str]:
    """Set the ready image, where one is given; gives the names of the fields."""
    if request.docker_image is None:
        return []
    require_host(parse_reference(request.docker_image).registry, context.resources.networks)
    return assign(application, request, {"docker_image"})


async def check_login(session: AsyncSession, context: Context, application: Application) -> None:
    """Note where a ready image is at another host than the registry whose login is to pull it."""
    if application.source_type != "docker" or application.registry_id is None:
        return
    registry = await session.get_one(Registry, application.registry_id)
    host = parse_reference(application.docker_image or "").registry
    if registry.host != host:
        message = f"registryId has no effect: the image is at {host}, the registry {registry.host}"
        context.warnings.append(FieldWarning(field="registryId", message=message))


def set_git(context: Context, application: Application, request: GitFields) -> list[str]:
    """Set what is given of a git source; gives the names of the fields, sorted.

    What is said of one repository is not kept for another.

    Raises:
        InvalidSourceError: no URL is known that it could be said of.
        PasswordNeededError: the stored token or deploy key is for another host or username.
    """
    given = request.model_fields_set & (OF_REPOSITORY | LOGIN)
    if request.git_url is None:
        given -= {"git_url"}
    address = request.git_url or application.git_url
    if address is None:
        if any(getattr(request, name) not in {None, "/"} for name in given):
            raise InvalidSourceError(
                "the application has no repository yet", remedy="Give customGitUrl too."
            )
        return []
    if not given:
        return []
    url = parse_git_url(address, context.resources.networks)
    set_deploy_key(context, application, request, url)
    _set_login(context, application, request, url)
    changed = given if address == application.git_url else given | OF_REPOSITORY
    assign(application, request, changed & OF_REPOSITORY)
    return sorted(changed)


def lacks_source(application: Application) -> str | None:
    """Return the procedure that saves the chosen source, if it has not been saved."""
    needed, saved_by = NEEDED.get(application.source_type or "", (None, ""))
    is_missing = needed is not None and getattr(application, needed) is None
    return f"application.{saved_by}" if is_missing else None


def require_source(application: Application) -> None:
    """Raises `InvalidSourceError` if the chosen source has not been saved."""
    if saved_by := lacks_source(application):
        raise InvalidSourceError(
            f"the application {application.name} has no {application.source_type} source yet",
            remedy=f"Save it with {saved_by}, which chooses it too.",
        )


def choose_source(application: Application, *, image: bool, git: bool) -> None:
    """Take the source that was given just now, where none is chosen yet.

    Raises:
        InvalidSourceError: two were given.
    """
    if application.source_type is not None or not (image or git):
        return
    if image and git:
        raise InvalidSourceError(
            "both dockerImage and customGitUrl are given",
            remedy="Choose one of them with sourceType: docker or git.",
        )
    application.source_type = "docker" if image else "git"


def _set_login(context: Context, application: Application, request: GitFields, url: GitUrl) -> None:
    """The token is bound to host and username: another of these needs it again."""
    given = request.model_fields_set
    bound = (application.git_host, application.git_username)
    application.git_host = url.host
    if "git_username" in given:
        application.git_username = request.git_username
    if url.is_ssh and (request.git_token or ("git_token" not in given and application.git_token)):
        raise InvalidSourceError(
            "a token is not for an SSH URL",
            remedy="Give customGitToken: null, and use application.generateDeployKey.",
        )
    if "git_token" in given:
        application.git_token = _seal_token(context, application, request.git_token)
    elif application.git_token and (application.git_host, application.git_username) != bound:
        raise PasswordNeededError(
            "the repository's host or username has changed, so the stored token cannot be used",
            remedy="Give customGitToken again, or null to remove it.",
        )
    if application.git_token and not url.is_private:
        raise InvalidSourceError(
            f"the token would be sent to {url.host} unencrypted", remedy="Give the https:// URL."
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
        "application.saveGitProvider",
        "mutation",
        SaveGitProvider,
        bool,
        save_git_provider,
        "admin",
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
