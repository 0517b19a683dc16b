"""What control gives to one server for one attempt: a login, and what it may be used for."""

from pydantic import BaseModel, ConfigDict, SecretStr, field_serializer

from shared.diagnosis import Right
from shared.vault import SealContext


class Login(BaseModel):
    """A username and a secret that may be sent to ``host`` and to nowhere else.

    ``host`` is the registry's canonical name (`shared.reference`). An empty username with an empty
    secret means: ask as nobody.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    username: str
    secret: SecretStr


def login_context(
    *, organization_id: str, job_id: str, attempt: int, server_id: str, host: str
) -> SealContext:
    """What a login is bound to: this job, this attempt, this server, this host."""
    return SealContext(
        purpose="login",
        organization_id=organization_id,
        object_id=job_id,
        host=host,
        username="",
        server_id=server_id,
        attempt=attempt,
    )


class Grant(BaseModel):
    """A login, the repository it is for and the rights it may be used for.

    It travels sealed; a worker acts on what stands in here, never on the job's row alone.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    login: Login
    repository: str
    rights: frozenset[Right]

    def sealable(self) -> str:
        """The grant as JSON with its secret in clear: to be sealed at once."""
        return _OpenGrant.model_validate(self.model_dump()).model_dump_json()


class _OpenLogin(Login):
    @field_serializer("secret")
    def _in_clear(self, secret: SecretStr) -> str:
        return secret.get_secret_value()


class _OpenGrant(Grant):
    login: _OpenLogin
