"""Tokens that the machine of control has: in a file, or from the URL of its identity service.

They show who this machine is. Each is a JSON Web Token (RFC 7519): nothing else that a file holds
is ever sent to a provider.
"""

import asyncio
import json
import re
from pathlib import Path

from pydantic import SecretStr
from yarl import URL

from shared.credentials.acr import AcrSource
from shared.credentials.google import GoogleSource
from shared.credentials.google_files import TokenFormat, TokenLocation
from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.control.providers.provider import HttpClient

MAX_BYTES = 64 * 1024
ADDRESSES = frozenset({"169.254.169.254", "fd00:ec2::254", "127.0.0.1", "::1"})
"""The addresses of identity services of a machine, which are reached over plain HTTP."""

_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


def require_machine(source: GoogleSource | AcrSource, *, is_allowed: bool) -> None:
    """Check that a source may use this machine's files and URLs, if it does.

    Raises:
        RegistryError: ``machine_identity_off``.
    """
    if source.uses_machine and not is_allowed:
        raise RegistryError(
            FaultCode.MACHINE_IDENTITY_OFF,
            "the credential uses a token of the machine of wharf control, which its operator has "
            "not allowed",
        )


async def find_token(location: TokenLocation, client: HttpClient) -> SecretStr:
    """Return the token at a file or a URL.

    Raises:
        RegistryError: ``auth_server_unreachable``, it cannot be read; ``credential_refused``, it
            is no token.
    """
    if location.file is not None:
        return await read_file(location.file, location.format)
    url = URL(location.url or "")
    headers = {name: value.get_secret_value() for name, value in location.headers.items()}
    if url.scheme == "https":
        response = await client.get(url, headers)
    else:
        response = await client.local("GET", url, headers, addresses=ADDRESSES)
    if response.status != 200 or response.is_truncated:
        raise RegistryError(
            FaultCode.AUTH_SERVER_UNREACHABLE,
            f"{url.host} gives no token for this machine",
            remedy="Check the url and the headers in the external account's file.",
            evidence=f"HTTP {response.status}",
        )
    return _parse(response.body, location.format, url.host or "")


async def read_file(path: str, form: TokenFormat | None = None) -> SecretStr:
    """Return the token in a file, which its owner renews.

    Raises:
        RegistryError: as `find_token`.
    """
    try:
        content = await asyncio.to_thread(_read, Path(path))
    except (OSError, ValueError) as error:
        raise RegistryError(
            FaultCode.AUTH_SERVER_UNREACHABLE,
            f"wharf control cannot read the file {path}",
            remedy="Mount the file into the machine of wharf control, readable for its user.",
            evidence=type(error).__name__,
        ) from error
    return _parse(content, form or TokenFormat(), path)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        return file.read(MAX_BYTES)


def _parse(content: bytes, form: TokenFormat, origin: str) -> SecretStr:
    try:
        text: object = content.decode()
        if form.type == "json":
            document = json.loads(str(text))
            text = document.get(form.subject_token_field_name)
    except (ValueError, AttributeError, RecursionError):
        text = None
    token = text.strip() if isinstance(text, str) else ""
    if not _JWT.fullmatch(token):
        raise RegistryError(
            FaultCode.CREDENTIAL_REFUSED,
            f"{origin} holds no JSON Web Token",
            remedy="Correct the file or the URL of the token, and the field's name if it is JSON.",
        )
    return SecretStr(token)
