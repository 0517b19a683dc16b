"""Settings from the environment: one small class a role, so that none asks for another's secrets.

Each variable may instead name a file that holds the value (``WHARF_DATABASE_URL_FILE``), as
container secrets do.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from shared.errors import SetupError

DEFAULT_NETWORKS = "public,private"
DEFAULT_WEBHOOK_NETWORKS = "public"
"""Control itself posts there whatever any organization's admin says."""


class Settings(BaseModel):
    """A field ``database_url`` is the variable ``WHARF_DATABASE_URL``."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DatabaseSettings(Settings):
    """Settings of every process that has a database connection of its own."""

    database_url: SecretStr
    database_direct_url: SecretStr | None = None

    @property
    def url(self) -> str:
        return self.database_url.get_secret_value()

    @property
    def direct_url(self) -> str:
        """For LISTEN and migrations, where the other URL goes through a pooler."""
        return (self.database_direct_url or self.database_url).get_secret_value()


class MigrationSettings(DatabaseSettings):
    """The owner's; a role whose password is not given keeps the one that it has."""

    api_database_password: SecretStr | None = None
    control_database_password: SecretStr | None = None

    @property
    def passwords(self) -> dict[str, SecretStr]:
        """The given passwords by role."""
        given = {
            "wharf_api": self.api_database_password,
            "wharf_control": self.control_database_password,
        }
        return {role: password for role, password in given.items() if password is not None}


class ApiSettings(DatabaseSettings):
    """``data_dir`` keeps uploaded contexts; all API processes need the same one."""

    vault_public_key: str
    admin_key: SecretStr | None = None
    registry_networks: str = DEFAULT_NETWORKS
    webhook_networks: str = DEFAULT_WEBHOOK_NETWORKS
    server_database_url: str | None = None
    server_broker_url: str | None = None
    broker_url: SecretStr | None = None
    api_rate_per_minute: int = Field(default=600, ge=0)
    data_dir: Path | None = None
    context_max_bytes: int = Field(default=512 * 1024**2, ge=1)
    context_quota_bytes: int = Field(default=10 * 1024**3, ge=1)
    connections: int = Field(default=4096, ge=16)
    connections_per_address: int | None = Field(default=None, ge=1)


class ControlSettings(DatabaseSettings):
    """``broker_admin_url``: it may make users; without it all servers share one.

    ``auto_approve``: a server that joins is approved at once, by whoever made its join token.
    """

    broker_url: SecretStr
    broker_admin_url: SecretStr | None = None
    vault_private_key: SecretStr
    auto_approve: bool = False
    job_retention_days: int = Field(default=30, ge=1)
    event_retention_days: int = Field(default=7, ge=1)
    registry_networks: str = DEFAULT_NETWORKS
    webhook_networks: str = DEFAULT_WEBHOOK_NETWORKS


class WorkerSettings(Settings):
    """A server worker's; the join token is needed only until it is enrolled.

    ``url`` is the API's; what it was at the last start is kept in the state directory.
    ``host_paths`` are the directories that containers may mount, separated by colons.
    """

    url: str | None = None
    join_token: SecretStr | None = None
    server_id: str | None = None
    state_dir: Path = Path("/var/lib/wharfinger")
    broker_url: SecretStr | None = None
    registry_networks: str = DEFAULT_NETWORKS
    drain_seconds: float = 30
    host_paths: str = ""


AnySettings = TypeVar("AnySettings", bound=Settings)


def load(kind: type[AnySettings], environment: Mapping[str, str]) -> AnySettings:
    """The settings of one role.

    Raises:
        SetupError: a variable is missing or unreadable; names variables, never values.
    """
    names = {field: f"WHARF_{field.upper()}" for field in kind.model_fields}
    values = {field: _read(name, environment) for field, name in names.items()}
    try:
        return kind.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        wrong = sorted({names[str(e["loc"][0])] for e in error.errors(include_input=False)})
        raise SetupError(
            f"missing or not readable: {', '.join(wrong)}",
            remedy="Set the variable, or NAME_FILE with the path of a file that holds it.",
        ) from None


def _read(name: str, environment: Mapping[str, str]) -> str | None:
    if path := environment.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip() or None
        except OSError as error:
            raise SetupError(f"{name}_FILE: {error.strerror}: {path}") from error
        except UnicodeDecodeError:
            # Without its cause, which holds what is in the file.
            raise SetupError(f"{name}_FILE: not text: {path}") from None
    return environment.get(name) or None
