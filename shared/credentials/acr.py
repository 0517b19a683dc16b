"""Azure Container Registry: a service principal, with a client secret or a federated token."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.credentials.source import Line, Secret, Source
from shared.providers import Provider

Guid = Annotated[Line, Field(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Tenant = Annotated[
    Line,
    Field(
        pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$|^[a-z0-9-]+(\.[a-z0-9-]+)+$"
    ),
]
"""A directory's id, or one of its domains."""

FilePath = Annotated[Line, Field(pattern="^/")]


class AcrSource(Source):
    """A service principal of Microsoft Entra ID.

    ``federated_token_file`` is a file of the machine of control; its token takes the place of the
    client secret (workload identity federation).
    """

    PROVIDERS: ClassVar = frozenset({Provider.ACR})
    USERNAME: ClassVar = "00000000-0000-0000-0000-000000000000"

    kind: Literal["acr"]
    tenant_id: Tenant
    client_id: Guid
    client_secret: Secret | None = None
    federated_token_file: FilePath | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.client_secret is None) == (self.federated_token_file is None):
            raise ValueError("Give either clientSecret or federatedTokenFile")
        return self

    @property
    def uses_machine(self) -> bool:
        """Return whether it reads a file of the machine of control."""
        return self.federated_token_file is not None
