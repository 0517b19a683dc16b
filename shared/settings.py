"""Settings from the environment: one small class for each role, with only the secrets it needs.

Instead of each variable, ``NAME_FILE`` may name a file with the value
(``WHARF_DATABASE_URL_FILE``), for container secrets.
"""

import hashlib
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from shared.errors import SetupError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DEFAULT_NETWORKS = "public,private"
DEFAULT_WEBHOOK_NETWORKS = "public"
"""Control itself posts to URLs that administrators of organizations choose."""


class Settings(BaseModel):
    """A field ``database_url`` is the variable ``WHARF_DATABASE_URL``."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DatabaseSettings(Settings):
    """Settings of every process with its own database connection."""

    database_url: SecretStr
    database_direct_url: SecretStr | None = None

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _parse_url(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Accept both schemes of libpq, and use one."""
        if url is None:
            return None
        scheme, separator, rest = url.get_secret_value().strip().partition("://")
        if not separator or scheme not in {"postgresql", "postgres"}:
            variable = _variable(str(info.field_name))
            raise ValueError(f"{variable} does not begin with postgresql://")
        return SecretStr(f"postgresql://{rest}")

    @property
    def url(self) -> str:
        return self.database_url.get_secret_value()

    @property
    def direct_url(self) -> str:
        """Return the URL for LISTEN and migrations, which bypasses a connection pooler."""
        return (self.database_direct_url or self.database_url).get_secret_value()


class OidcSettings(Settings):
    """The OpenID Connect provider by which people sign in; all three or none."""

    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = Field(default=None, validate_default=True)

    @field_validator("oidc_issuer")
    @classmethod
    def _require_tls(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "")
        if url and not (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        ):
            raise ValueError("WHARF_OIDC_ISSUER is not https:// and a host")
        return url

    @field_validator("oidc_client_secret")
    @classmethod
    def _require_all(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        given = [info.data.get("oidc_issuer"), info.data.get("oidc_client_id"), secret]
        if any(given) and not all(given):
            raise ValueError(
                "WHARF_OIDC_ISSUER, WHARF_OIDC_CLIENT_ID and WHARF_OIDC_CLIENT_SECRET are not all "
                "set"
            )
        return secret

    @property
    def provider_proof(self) -> bytes | None:
        """Return what the API shows the database to begin a session for the provider."""
        if self.oidc_issuer is None or self.oidc_client_secret is None:
            return None
        parts = (self.oidc_issuer, self.oidc_client_id, self.oidc_client_secret.get_secret_value())
        return hashlib.sha256("\n".join(map(str, parts)).encode()).digest()


class MigrationSettings(DatabaseSettings, OidcSettings):
    """Settings of the owner's migrations; a role without a given password keeps its own."""

    api_database_password: SecretStr | None = None
    control_database_password: SecretStr | None = None

    @property
    def passwords(self) -> dict[str, SecretStr]:
        """Return the given passwords by role."""
        given = {
            "wharf_api": self.api_database_password,
            "wharf_control": self.control_database_password,
        }
        return {role: password for role, password in given.items() if password is not None}


class ApiSettings(DatabaseSettings, OidcSettings):
    """Settings of the API; ``data_dir`` stores uploaded contexts for all API processes.

    ``flower_url`` is where people open Flower; the API itself does not. ``trusted_proxies`` are the
    addresses and networks of proxies, separated by commas. ``tls_certificate`` and ``tls_key`` are
    PEM files; without them only loopback addresses are served, unless ``allow_plain_http``.
    ``ca_certificate`` is the internal CA's, which joining servers pin. People open the console at
    ``public_url``; the button for the sign-in by ``oidc_issuer`` has ``oidc_name``.
    """

    vault_public_key: str
    admin_key: SecretStr | None = None
    registry_networks: str = DEFAULT_NETWORKS
    webhook_networks: str = DEFAULT_WEBHOOK_NETWORKS
    server_database_url: str | None = None
    server_broker_url: str | None = None
    broker_url: SecretStr | None = None
    api_rate_per_minute: int = Field(default=600, ge=0)
    api_rate_per_organization: int | None = Field(default=None, ge=0)
    api_rate_per_address: int | None = Field(default=None, ge=0)
    data_dir: Path | None = None
    context_max_bytes: int = Field(default=512 * 1024**2, ge=1)
    context_quota_bytes: int = Field(default=10 * 1024**3, ge=0)
    quota_applications: int = Field(default=10_000, ge=0)
    quota_queued_jobs: int = Field(default=10_000, ge=0)
    quota_streams: int = Field(default=0, ge=0)
    quota_webhooks: int = Field(default=20, ge=0)
    connections: int = Field(default=4096, ge=16)
    connections_per_address: int | None = Field(default=None, ge=1)
    flower_url: str | None = None
    trusted_proxies: str = ""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    ca_certificate: Path | None = None
    allow_plain_http: bool = False
    oidc_name: str = "single sign-on"
    public_url: str | None = None

    @field_validator("trusted_proxies")
    @classmethod
    def _require_networks(cls, text: str) -> str:
        for part in filter(None, (each.strip() for each in text.split(","))):
            ip_network(part)
        return text

    @field_validator("flower_url", "public_url")
    @classmethod
    def _parse_url_for_people(cls, url: str | None, info: ValidationInfo) -> str | None:
        """Accept an address that may be shown to everybody, so without a login."""
        if not url:
            return None
        if not url.startswith(("http://", "https://")) or "@" in url:
            raise ValueError(f"{_variable(str(info.field_name))} is not http(s):// and a host")
        return url.rstrip("/")


class ControlSettings(DatabaseSettings):
    """Settings of control.

    ``broker_admin_url`` may create users; without it all servers share one user. With
    ``auto_approve`` a server that joins is approved at once: its join token is enough. With
    ``machine_identity`` administrators of organizations may use the identity of control's machine.
    Entries of the audit log that are older than ``audit_retention_days`` are moved to files in
    ``audit_archive_dir``; without it they stay. ``audit_forward`` has URLs to which new entries are
    sent; a web endpoint gets ``audit_forward_token`` as a bearer token.
    """

    broker_url: SecretStr
    broker_admin_url: SecretStr | None = None
    vault_private_key: SecretStr
    auto_approve: bool = False
    machine_identity: bool = False
    job_retention_days: int = Field(default=30, ge=1)
    event_retention_days: int = Field(default=7, ge=1)
    audit_archive_dir: Path | None = None
    audit_retention_days: int = Field(default=365, ge=1)
    audit_forward: str = ""
    audit_forward_token: SecretStr | None = None
    registry_networks: str = DEFAULT_NETWORKS
    webhook_networks: str = DEFAULT_WEBHOOK_NETWORKS


class WorkerSettings(Settings):
    """Settings of a server's worker; it needs the join token only to enrol.

    ``url`` is the API's; the state directory stores it for later starts. ``ca_sha256`` is the
    SHA-256 of the internal CA's certificate, which then verifies the API, the database and the
    broker.
    ``host_paths`` are the directories that containers may mount, separated by colons.
    ``certificates_dir`` is where the Engine looks for certificates of registries.
    """

    url: str | None = None
    join_token: SecretStr | None = None
    ca_sha256: str | None = None
    server_id: str | None = None
    state_dir: Path = Path("/var/lib/wharfinger")
    broker_url: SecretStr | None = None
    registry_networks: str = DEFAULT_NETWORKS
    drain_seconds: float = 30
    host_paths: str = ""
    certificates_dir: Path = Path("/etc/docker/certs.d")

    @field_validator("ca_sha256")
    @classmethod
    def _parse_fingerprint(cls, text: str | None) -> str | None:
        """Accept the colons and capitals of other programs."""
        digits = (text or "").replace(":", "").lower()
        if text and not re.fullmatch("[0-9a-f]{64}", digits):
            raise ValueError("WHARF_CA_SHA256 is not a SHA-256 of 64 hexadecimal digits")
        return digits or None


AnySettings = TypeVar("AnySettings", bound=Settings)


def load(kind: type[AnySettings], environment: Mapping[str, str]) -> AnySettings:
    """Load the settings of one role.

    Raises:
        SetupError: variables are missing or invalid; the message has no values.
    """
    names = {field: _variable(field) for field in kind.model_fields}
    values = {field: read_setting(name, environment) for field, name in names.items()}
    try:
        return kind.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        found = sorted({_describe(names[str(one["loc"][0])], one) for one in details})
        raise SetupError(
            "; ".join(found),
            remedy="Set the variable, or NAME_FILE to the path of a file with the value.",
        ) from None


def _variable(field: str) -> str:
    return f"WHARF_{field.upper()}"


def _describe(variable: str, detail: ErrorDetails) -> str:
    """Return the fault of a variable; texts of other libraries may hold its value."""
    match detail["type"]:
        case "missing":
            return f"{variable} is missing"
        case "value_error":
            return detail["msg"].removeprefix("Value error, ")
        case _:
            return f"{variable} is invalid"


def read_setting(name: str, environment: Mapping[str, str]) -> str | None:
    """Read one variable, or its file as it is now; ``None`` if it is not set.

    Raises:
        SetupError: the file cannot be read.
    """
    if path := environment.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip() or None
        except OSError as error:
            raise SetupError(f"{name}_FILE: {error.strerror}: {path}") from error
        except UnicodeDecodeError:
            # Without its cause, which contains the file's content.
            raise SetupError(f"{name}_FILE: not text: {path}") from None
    return environment.get(name) or None
