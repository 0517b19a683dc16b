"""AWS ECR, private and public: logins, which are valid for twelve hours, and new repositories."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from shared.credentials.ecr import EcrSource
from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.control.providers.aws.endpoints import Endpoints, find_endpoints
from worker.control.providers.aws.keys import find_keys
from worker.control.providers.aws.machine import MachineIdentity
from worker.control.providers.aws.requests import send
from worker.control.providers.aws.signature import Message
from worker.control.providers.provider import HttpClient, Minted, require_object

PRIVATE_API = "AmazonEC2ContainerRegistry_V20150921"
PUBLIC_API = "SpencerFrontendService"
EXISTS = "RepositoryAlreadyExistsException"
JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class EcrMinter:
    """Get logins for registries of ECR."""

    machine: MachineIdentity = field(default_factory=MachineIdentity)

    async def mint(self, source: EcrSource, host: str, client: HttpClient, now: datetime) -> Minted:
        """Return a login for the registry ``host``; `Minter.mint` says the errors."""
        endpoints = find_endpoints(host)
        keys = await find_keys(source, endpoints.sts, client, self.machine, now)
        message = _make_message(endpoints, "GetAuthorizationToken", {})
        purpose = f"get a login for {host}"
        answer = await send(client, endpoints.ecr, message, keys, now, purpose=purpose)
        document = require_object(answer.response, "ECR")
        return _read_login(document.get("authorizationData"), host, answer.sent_at)

    async def create_repository(
        self, source: EcrSource, target: Reference, client: HttpClient, now: datetime
    ) -> None:
        """Create the repository of ``target``, unless it exists already.

        Raises:
            RegistryError: as `mint`; ``credential_denied``, the keys may not do it.
        """
        endpoints = find_endpoints(target.registry)
        keys = await find_keys(source, endpoints.sts, client, self.machine, now)
        account, name = target.registry.partition(".")[0], target.repository
        if endpoints.is_public:
            content = {"repositoryName": name.partition("/")[2]}  # without the registry's alias
        else:
            content = {"registryId": account, "repositoryName": name}
        message = _make_message(endpoints, "CreateRepository", content)
        purpose = f"create the repository {name}"
        await send(client, endpoints.ecr, message, keys, now, purpose=purpose, accepted=EXISTS)


def _make_message(endpoints: Endpoints, action: str, content: Mapping[str, str]) -> Message:
    api = PUBLIC_API if endpoints.is_public else PRIVATE_API
    headers = {"Content-Type": JSON, "X-Amz-Target": f"{api}.{action}"}
    return Message(headers, json.dumps(content).encode())


def _read_login(data: Any, host: str, now: datetime) -> Minted:
    """Read the list of a private registry or the single object of the public one."""
    first = data[0] if isinstance(data, list) and data else data
    match first:
        case {"authorizationToken": str(token), "expiresAt": int() | float() as expires_at}:
            password = _read_password(token)
            if password:
                ends = datetime.fromtimestamp(expires_at, UTC)
                return Minted(SecretStr(password), ends - now)
    raise RegistryError(
        FaultCode.REGISTRY_ERROR,
        f"the answer of ECR for {host} has no login",
        remedy="Check that no proxy answers in its place.",
    )


def _read_password(token: str) -> str:
    try:
        decoded = base64.b64decode(token, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return decoded.partition(":")[2]
