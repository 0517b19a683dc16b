"""What control gives to one server for one attempt: logins, and what each may be used for."""

from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, SecretStr, field_serializer

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ANY_REPOSITORY
from shared.jobs.diagnosis import Right
from shared.reference import Reference
from shared.vault import SealContext

GIT_TOKEN = "git_token"  # noqa: S105 - the name of one
CONTEXT_TOKEN = "context_token"  # noqa: S105 - likewise
BUILD_SECRETS = "build_secrets"
ENVIRONMENT = "environment"


class Login(BaseModel):
    """A username and a secret that may be sent to ``host`` and to nowhere else.

    ``host`` is the registry's canonical name (`shared.reference`). An empty username with an empty
    secret means: ask as nobody.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    username: str
    secret: SecretStr


class EngineLogin(Login):
    """A login that an Engine may be given: `worker.oci.destinations` has seen where it would go.

    It is made there alone; whatever hands a login to an Engine takes no other.
    """


def login_context(
    *, organization_id: str, job_id: str, attempt: int, server_id: str, hosts: Iterable[str]
) -> SealContext:
    """What logins are bound to: this job, this attempt, this server, these hosts."""
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
        is_there = self.repository in {target.repository, ANY_REPOSITORY}
        return is_host and is_there and right in self.rights


class Grants(BaseModel):
    """All that one attempt is given.

    ``secrets`` are by purpose: what a build's sources need. ``build_secrets`` are by the ids under
    which its steps mount them, ``environment`` are the variables that a container gets.
    It travels sealed; a worker acts on what stands in here, never on the job's row alone.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    grants: tuple[Grant, ...] = ()
    secrets: dict[str, SecretStr] = {}
    build_secrets: dict[str, SecretStr] = {}
    environment: dict[str, SecretStr] = {}

    def sealable(self) -> str:
        """The grants as JSON with their secrets in clear: to be sealed at once."""
        return _OpenGrants.of(self).model_dump_json()

    def login_for(self, target: Reference, right: Right) -> Login:
        """The login that was given for just this.

        Raises:
            RegistryError: none was given for that host, repository or right.
        """
        for grant in self.grants:
            if grant.is_for(target, right):
                return grant.login
        raise RegistryError(
            FaultCode.AUTH_MISSING, f"no login was given for {right} at {target.name}"
        )


class _OpenLogin(Login):
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
