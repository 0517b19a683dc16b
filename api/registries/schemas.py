"""Inputs and outputs of the procedures for registries."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from api.fields import dokploy
from api.fields.effects import NotBeside
from api.fields.issues import require_given
from api.fields.shapes import (
    Change,
    Document,
    Id,
    Ids,
    Input,
    Moment,
    Name,
    Output,
    Password,
    Prefix,
    RegistryType,
    Url,
    Username,
    Warned,
)
from api.registries.certificates import CertificateOutput
from api.registries.credentials import CredentialFault
from api.registries.former_logins import RotationOutput
from api.registries.life import LoginLife
from api.registries.quotas import Quota
from api.registries.tls import StoredTlsFields
from api.registries.uses import RegistryUses
from shared.credentials.kinds import AnySource
from shared.jobs.diagnosis import Excess
from shared.providers import Provider

RotateAfterDays = Annotated[int, Field(ge=1, le=3650)]


class RegistryOutput(Output):
    """A registry. No answer contains its password, or a secret of its credential.

    `provider` is recognised by the host. `passwordExpiresAt` is known of tokens that contain it.
    The password is due for a change at `passwordDueAt`, `rotateAfterDays` after the last one; null
    are the days of `organization.settings`.
    `quota` is the limit of pulls, if the registry has one and a worker has seen it.
    With `plainHttp`, the login may be sent without TLS. `usedBy` is answered by `registry.one`.
    """

    registry_id: str
    registry_name: str
    image_prefix: str | None
    username: str
    registry_url: str
    created_at: Moment
    registry_type: RegistryType
    organization_id: str
    allowed_servers: list[str]
    allowed_applications: list[str]
    provider: Provider
    password_changed_at: Moment
    password_expires_at: Moment | None
    password_due_at: Moment
    rotate_after_days: int | None
    credential: Document | None = None
    credential_error: CredentialFault | None = None
    quota: Quota | None = None
    ca_certificates: list[CertificateOutput] = Field(default_factory=list)
    client_identity: CertificateOutput | None = None
    install_ca: bool = False
    plain_http: bool = False
    login: LoginLife | None = None
    used_by: RegistryUses | None = None


class RegistryWithRotation(RegistryOutput):
    """A registry; if there was one, the newest rotation of its login; and, if tested, its excess.

    `excess` is that of the newest test of the present login, while the test's job is stored.
    """

    excess: list[Excess] | None = Field(default=None, exclude_if=lambda found: found is None)
    rotation: RotationOutput | None = Field(default=None, exclude_if=lambda found: found is None)


class CreatedRegistry(RegistryOutput, Warned):
    """A registry that was just stored."""


class CreateRegistry(StoredTlsFields):
    """Only `allowedServers` receive its login, for `allowedApplications`; empty means all.

    Give `username` and `password`, or a `credential` with which control gets short-lived logins
    from the registry's provider.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.NEW_REGISTRY

    registry_name: Name
    registry_url: Url
    username: Annotated[Username | None, NotBeside("credential")] = None
    password: Annotated[Password | None, NotBeside("credential", refused=True)] = None
    credential: AnySource | None = None
    registry_type: RegistryType = "cloud"
    image_prefix: Prefix | None = None
    allowed_servers: Ids = Field(default_factory=list)
    allowed_applications: Ids = Field(default_factory=list)
    rotate_after_days: RotateAfterDays | None = None

    @model_validator(mode="after")
    def _has_login(self) -> Self:
        if self.credential is None:
            require_given(self, "username", "password")
        return self


class UpdateRegistry(Change, StoredTlsFields):
    """Only given fields change; ``imagePrefix: null`` removes the prefix.

    A `password` replaces the `credential`, and a `credential` the password. ``credential: null``
    needs a password. ``null`` removes `caCertificate`, and `clientCertificate` with its key. With
    `force` it is changed although an application uses it as it is.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.REGISTRY

    registry_id: Id
    registry_name: Name = ""
    registry_url: Url = ""
    username: Username = ""
    password: Annotated[Password, NotBeside("credential", refused=True)] = SecretStr("")
    credential: AnySource | None = None
    image_prefix: Prefix | None = None
    allowed_servers: Ids = Field(default_factory=list)
    allowed_applications: Ids = Field(default_factory=list)
    rotate_after_days: RotateAfterDays | None = None
    force: bool = False


class ChosenRegistry(Input):
    registry_id: Id


class RemoveRegistry(ChosenRegistry):
    """With `force` a registry is removed although it is used: applications name it no more."""

    force: bool = False
