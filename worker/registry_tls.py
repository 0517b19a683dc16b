"""How a registry may be reached: its own CA, a client certificate, and plain HTTP."""

from pydantic import BaseModel, ConfigDict, SecretStr


class RegistryTls(BaseModel):
    """The TLS of a registry, as an administrator stored it; certificates are in PEM.

    ``plain_http`` permits plain HTTP where the server's Engine lists the registry as insecure.
    ``install_ca``: the worker stores the certificates where its Engine looks for them, marked with
    the ``registry_id``.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    ca_certificate: str = ""
    client_certificate: str = ""
    client_key: SecretStr = SecretStr("")
    plain_http: bool = False
    install_ca: bool = False
    registry_id: str = ""

    def for_other_hosts(self) -> "RegistryTls":
        """Return what counts for other hosts that the registry names, as its token server."""
        return self.model_copy(update={"client_certificate": "", "client_key": SecretStr("")})


PUBLIC = RegistryTls()
"""Nothing of its own: the CAs that the server trusts, and no plain HTTP."""
