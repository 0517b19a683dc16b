"""The logins and secrets that control gives to one server for one attempt."""

from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr, field_serializer

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ANY_REPOSITORY
from shared.jobs.diagnosis import Right
from shared.reference import Reference
from shared.vault import SealContext
from worker.registry_tls import PUBLIC, RegistryTls

GIT_TOKEN = "git_token"  # noqa: S105 - the name of one
GIT_SSH_KEY = "git_ssh_key"
CONTEXT_TOKEN = "context_token"  # noqa: S105 - likewise
BUILD_SECRETS = "build_secrets"
ENVIRONMENT = "environment"
SIGNING_KEY = "signing_key"
TAG_SIGNATURE = "tag_signature"
BUNDLE = "bundle"


class Login(BaseModel):
    """A username and a secret that may be sent to ``host`` only.

    ``host`` is the registry's canonical name (`shared.reference`). An empty username with an empty
    secret stands for anonymous access. ``tls`` says how the host may be reached. A login that ends
    may be renewed while it is used: whoever sends it takes the `newest`. ``registry_id`` is the
    stored registry; ``is_untried`` if that has yet to accept the login, or has refused it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    username: str
    secret: SecretStr
    tls: RegistryTls = PUBLIC
    registry_id: str | None = None
    is_untried: bool = False
    _renewed: "Login | None" = PrivateAttr(default=None)

    @property
    def newest(self) -> "Login":
        """Return the login that was given last in place of this one, or this one."""
        return self._renewed or self

    def renew(self, fresh: "Login") -> None:
        """Let those who hold this login send ``fresh`` from their next request on."""
        if fresh.host == self.host:
            self._renewed = fresh


class EngineLogin(Login):
    """A login that an Engine may be given, as `worker.oci.destinations` has checked where it goes.

    Only that module makes it, and only this type is accepted where a login is sent to an Engine.
    """


def login_context(
    *, organization_id: str, job_id: str, attempt: int, server_id: str, hosts: Iterable[str]
) -> SealContext:
    """Return the seal context of logins: this job, this attempt, this server, these hosts."""
    return SealContext(
        purpose="login",
        organization_id=organization_id,
        object_id=job_id,
        host=",".join(sorted(set(hosts))),
        username="",
        server_id=server_id,
        attempt=attempt,
    )


class Grant(BaseModel):
    """A login, the repository it is for and the rights it may be used for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    login: Login
    repository: str
    rights: frozenset[Right]

    def is_for(self, target: Reference, right: Right) -> bool:
        is_host = self.login.host == target.registry
        is_repository = self.repository in {target.repository, ANY_REPOSITORY}
        return is_host and is_repository and right in self.rights

    def fits(self, target: Reference) -> bool:
        """Return whether a base image may be pulled with it: any, or those below a prefix."""
        prefix = self.repository.removesuffix(ANY_REPOSITORY)
        is_pattern = self.repository.endswith(ANY_REPOSITORY)
        is_below = is_pattern and f"{target.repository}/".startswith(prefix)
        return self.login.host == target.registry and is_below and "pull" in self.rights


class Grants(BaseModel):
    """All logins and secrets of one attempt.

    The keys of ``secrets`` are purposes of a build's sources, or the forms of a signature (which is
    not secret: no server gets the key that makes it), those of ``build_secrets`` the ids
    under which build steps mount them. ``environment`` holds the variables of a container. Grants
    are sent sealed; a worker acts on them, never on the job's row alone.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    grants: tuple[Grant, ...] = ()
    secrets: dict[str, SecretStr] = {}
    build_secrets: dict[str, SecretStr] = {}
    environment: dict[str, SecretStr] = {}

    def to_sealable_json(self) -> str:
        """Return the grants as JSON with their secrets in clear, for sealing at once."""
        return _OpenGrants.of(self).model_dump_json()

    def renew(self, fresh: "Grants") -> None:
        """Renew the logins by those of ``fresh`` that are for the same repository and rights."""
        renewed = {(one.login.host, one.repository, one.rights): one.login for one in fresh.grants}
        for grant in self.grants:
            login = renewed.get((grant.login.host, grant.repository, grant.rights))
            if login is not None:
                grant.login.renew(login)

    def login_for_base(self, target: Reference) -> Login | None:
        """Return the login for a build's base image: that with the longest prefix that fits."""
        fitting = [grant for grant in self.grants if grant.fits(target)]
        best = max(fitting, key=lambda grant: len(grant.repository), default=None)
        return best.login if best else None

    def login_for(self, target: Reference, right: Right) -> Login:
        """Return the login that was given for this repository and right.

        Raises:
            RegistryError: no login was given for that host, repository or right.
        """
        for grant in self.grants:
            if grant.is_for(target, right):
                return grant.login
        raise RegistryError(
            FaultCode.AUTH_MISSING, f"no login was given for {right} at {target.name}"
        )


class _OpenTls(RegistryTls):
    @field_serializer("client_key")
    def _in_clear(self, client_key: SecretStr) -> str:
        return client_key.get_secret_value()


class _OpenLogin(Login):
    tls: _OpenTls

    @field_serializer("secret")
    def _in_clear(self, secret: SecretStr) -> str:
        return secret.get_secret_value()


class _OpenGrant(Grant):
    login: _OpenLogin


class _OpenGrants(BaseModel):
    grants: tuple[_OpenGrant, ...]
    secrets: dict[str, str]
    build_secrets: dict[str, str]
    environment: dict[str, str]

    @classmethod
    def of(cls, closed: Grants) -> Self:
        grants = tuple(_OpenGrant.model_validate(grant.model_dump()) for grant in closed.grants)
        return cls(
            grants=grants,
            secrets=_opened(closed.secrets),
            build_secrets=_opened(closed.build_secrets),
            environment=_opened(closed.environment),
        )


def _opened(secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: secret.get_secret_value() for name, secret in secrets.items()}
