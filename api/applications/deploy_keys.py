"""Deploy keys of applications, for repositories behind SSH, and the pinned keys of their hosts."""

import base64
from typing import Protocol

from pydantic import SecretStr

from api.applications.queries import application_event, find_application, seal_for
from api.errors import InvalidSourceError, PasswordNeededError
from api.fields.effects import FieldWarning
from api.fields.shapes import Id, Input, Output
from api.fields.sources import GitUrl, parse_git_url
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.models import Application
from shared.ssh.address import SshAddress, is_ssh
from shared.ssh.host_keys import parse_host_keys
from shared.ssh.keys import DeployKey, show_fingerprint


class KeyFields(Protocol):
    """The fields of a request that this module stores."""

    @property
    def git_url(self) -> str | None: ...

    @property
    def git_ssh_key(self) -> SecretStr | None: ...

    @property
    def git_host_key(self) -> str | None: ...

    @property
    def model_fields_set(self) -> set[str]: ...


class GenerateDeployKey(Input):
    application_id: Id


class DeployKeyOutput(Output):
    """A public key, to be added to the repository's deploy keys at its git host."""

    application_id: str
    host: str
    public_key: str
    fingerprint: str


async def generate(context: Context, request: GenerateDeployKey) -> DeployKeyOutput:
    """Make a deploy key for an application's repository; it takes the place of a former one.

    The private key is sealed and never shown.
    """
    key = DeployKey.generate()
    async with context.transaction() as session:
        application, _ = await find_application(session, context, request.application_id, lock=True)
        if not is_ssh(application.git_url or ""):
            raise InvalidSourceError(
                f"the application {application.name} has no repository behind SSH",
                remedy="Save customGitUrl as git@host:path.git with application.saveGitProvider.",
            )
        url = parse_git_url(application.git_url or "", context.resources.networks)
        _store(context, application, key, url)
        event = application_event(
            context, "application.generateDeployKey", application, ["git_ssh_key"]
        )
        session.add(event)
    return DeployKeyOutput(
        application_id=application.application_id,
        host=url.host,
        public_key=key.public_line,
        fingerprint=show_fingerprint(key.blob),
    )


def set_deploy_key(
    context: Context, application: Application, request: KeyFields, url: GitUrl
) -> None:
    """Set what is given of a deploy key and of host keys; ``url`` is the repository's new one.

    Raises:
        InvalidInputError: a key is not valid.
        InvalidSourceError: the repository is not behind SSH.
        PasswordNeededError: the stored key is for another host or user.
    """
    given = request.model_fields_set
    if not url.is_ssh:
        _remove(application, request)
        return
    networks = context.resources.networks
    former = parse_git_url(application.git_url, networks) if application.git_url else None
    if "git_ssh_key" in given:
        given_key = request.git_ssh_key
        key = DeployKey.parse(given_key.get_secret_value()) if given_key else None
        _store(context, application, key, url)
    elif application.git_ssh_key and former != url:
        raise PasswordNeededError(
            "the repository's host or user has changed, so the stored deploy key cannot be used",
            remedy="Give customGitSSHKey again, or null to remove it.",
        )
    if "git_host_key" in given:
        application.git_host_key = _parse_host_keys(application, request)
    elif former is None or former.host != url.host:
        application.git_host_key = None


def warn_of_ssh(context: Context, application: Application) -> None:
    """Note what builds of a repository behind SSH still need."""
    if not is_ssh(application.git_url or "") or application.source_type != "git":
        return
    missing = []
    if application.git_ssh_key is None:
        missing.append("a deploy key (application.generateDeployKey)")
    if application.git_host_key is None:
        missing.append("the host's key (customGitHostKey)")
    if missing:
        message = f"customGitUrl has no effect yet: builds need {' and '.join(missing)}"
        context.warnings.append(FieldWarning(field="customGitUrl", message=message))


def show_key_fingerprint(application: Application) -> str | None:
    """Return the fingerprint of the stored deploy key."""
    public = application.git_ssh_public_key
    return show_fingerprint(base64.b64decode(public.split()[1])) if public else None


def _remove(application: Application, request: KeyFields) -> None:
    """Remove what is for SSH only; a stored key only if the caller says so."""
    is_kept = application.git_ssh_key and "git_ssh_key" not in request.model_fields_set
    if request.git_ssh_key or request.git_host_key or is_kept:
        raise InvalidSourceError(
            "a deploy key and host keys are for SSH only",
            remedy="Give customGitUrl as git@host:path.git, or customGitSSHKey: null, which takes "
            "the key away.",
        )
    application.git_ssh_key = application.git_ssh_public_key = application.git_host_key = None


def _store(context: Context, application: Application, key: DeployKey | None, url: GitUrl) -> None:
    application.git_ssh_key = application.git_ssh_public_key = None
    if key is None:
        return
    application.git_ssh_public_key = key.public_line
    application.git_ssh_key = seal_for(
        context, application, "git_ssh_key", key.to_text(), host=url.host, username=url.user
    )


def _parse_host_keys(application: Application, request: KeyFields) -> str | None:
    if request.git_host_key is None:
        return None
    address = SshAddress.parse(request.git_url or application.git_url or "")
    return "\n".join(parse_host_keys(request.git_host_key, address))


PROCEDURES = (
    Procedure(
        "application.generateDeployKey",
        "mutation",
        GenerateDeployKey,
        DeployKeyOutput,
        generate,
        "admin",
    ),
)
