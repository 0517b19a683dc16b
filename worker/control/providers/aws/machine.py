"""The identity of control's machine at AWS: of an instance, a container, or a web identity.

The environment variables and the order are those of AWS's SDKs: a web identity, the credentials
of a container (ECS, EKS), the role of an instance (IMDSv2). Static keys in the environment are not
used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr
from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.control.providers.aws.signature import Keys
from worker.control.providers.provider import HttpClient, require_object
from worker.oci.transport.http import Response

INSTANCE = "http://169.254.169.254"
CONTAINER = "http://169.254.170.2"
METADATA_ADDRESSES = frozenset(
    {"169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23"}
)
"""Instance metadata, and the agents of ECS and EKS, by their documentation."""

LOOPBACK = frozenset({"127.0.0.1", "::1"})
ROLE_PATH = "/latest/meta-data/iam/security-credentials/"
TOKEN_LIFE = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
MAX_TOKEN_BYTES = 64 * 1024


@dataclass(frozen=True)
class WebIdentity:
    """A token of the platform (Kubernetes, for example) that STS changes for a role's keys."""

    role_arn: str
    token: SecretStr


@dataclass(frozen=True)
class MachineIdentity:
    """The identity that ``environment`` describes; used only if the operator has allowed it."""

    is_allowed: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def web_identity(self) -> WebIdentity | None:
        """Return the web identity; ``None`` if the environment names none.

        Raises:
            RegistryError: ``machine_identity_off``, or its file cannot be read.
        """
        self._require_allowed()
        path = self.environment.get("AWS_WEB_IDENTITY_TOKEN_FILE")
        role = self.environment.get("AWS_ROLE_ARN")
        return WebIdentity(role, _read_secret(path)) if path and role else None

    async def find_keys(self, client: HttpClient) -> Keys:
        """Return the keys of this container or instance.

        Raises:
            RegistryError: ``machine_identity_off``, or the machine has no identity.
        """
        self._require_allowed()
        url = self._container_url()
        if url is not None:
            return await self._container_keys(client, url)
        return await self._instance_keys(client)

    def _require_allowed(self) -> None:
        if not self.is_allowed:
            raise RegistryError(
                FaultCode.MACHINE_IDENTITY_OFF,
                "the credential uses the identity of the machine of wharf control, which its "
                "operator has not allowed",
            )

    def _container_url(self) -> URL | None:
        if path := self.environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
            return URL(CONTAINER).join(URL(path))
        whole = self.environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        return URL(whole) if whole else None

    async def _container_keys(self, client: HttpClient, url: URL) -> Keys:
        response = await client.local(
            "GET", url, self._container_headers(), addresses=METADATA_ADDRESSES | LOOPBACK
        )
        return _read_keys(response)

    def _container_headers(self) -> dict[str, str]:
        path = self.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        token = self.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        value = _read_secret(path).get_secret_value() if path else token
        return {"Authorization": value} if value else {}

    async def _instance_keys(self, client: HttpClient) -> Keys:
        base = URL(self.environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or INSTANCE)
        addresses = METADATA_ADDRESSES | LOOPBACK
        token = await client.local(
            "PUT", base.with_path("/latest/api/token"), TOKEN_LIFE, addresses=addresses
        )
        headers = {"X-aws-ec2-metadata-token": _require_text(token)}
        listing = base.with_path(ROLE_PATH)
        role = _require_text(await client.local("GET", listing, headers, addresses=addresses))
        role_url = base.with_path(ROLE_PATH + role.split()[0])
        return _read_keys(await client.local("GET", role_url, headers, addresses=addresses))


def _require_text(response: Response) -> str:
    text = response.body.decode(errors="replace").strip()
    if response.status != 200 or not text.isprintable() or not text:
        raise _make_missing(f"HTTP {response.status}")
    return text


def _read_keys(response: Response) -> Keys:
    if response.status != 200:
        raise _make_missing(f"HTTP {response.status}")
    document = require_object(response, "the metadata service")
    parts = [document.get(name) for name in ("AccessKeyId", "SecretAccessKey", "Token")]
    match parts:
        case [str(key_id), str(secret), str(token)]:
            name = f"the identity of the machine of wharf control ({key_id})"
            return Keys(key_id, SecretStr(secret), SecretStr(token), name)
        case _:
            raise _make_missing("no keys in the answer")


def _read_secret(path: str) -> SecretStr:
    try:
        with Path(path).open() as file:
            return SecretStr(file.read(MAX_TOKEN_BYTES).strip())
    except (OSError, ValueError):
        raise _make_missing(f"{path} cannot be read") from None


def _make_missing(evidence: str) -> RegistryError:
    return RegistryError(
        FaultCode.CREDENTIAL_DENIED,
        "the machine of wharf control has no identity at AWS",
        remedy="Attach a role to the instance, the task or the service account of wharf control, "
        "or store keys instead.",
        evidence=evidence,
    )
