"""Google's access tokens: a signed request of a service account, or an exchange of another token.

```text
service account's key ──► JWT (RS256) ──► token_uri ──► access token
external account ──► this machine's token ──► STS ──► access token ──► generateAccessToken, if named
```

By "Using OAuth 2.0 for Server to Server Applications" (RFC 7523) and AIP-4117 (RFC 8693).
"""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import SecretStr
from yarl import URL

from shared.credentials.google import GoogleSource
from shared.credentials.google_files import ExternalAccount, ServiceAccountKey
from worker.control.providers.oauth import (
    FORM,
    JSON,
    make_form,
    make_json,
    make_minted,
    read_codes,
    read_token,
    require_granted,
)
from worker.control.providers.provider import HttpClient, Minted, provider_time
from worker.control.providers.subject_token import find_token, require_machine
from worker.oci.transport.http import Response

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
"""Enough to pull and push (Artifact Registry's documentation, "Deploying to Compute Engine")."""

IAM_SCOPE = "https://www.googleapis.com/auth/iam"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
LIFETIME = timedelta(hours=1)
MAX_SECONDS = 86_400
SKEW = timedelta(seconds=30)
"""Google refuses a request whose time differs more than some minutes from its own."""

KEY_REMEDY = (
    "Check that the key and its service account exist and are not disabled. Make a new key, and "
    "store it with registry.update."
)
POOL_REMEDY = (
    "Check the pool's provider: its issuer, allowed audiences and attribute condition must fit the "
    "token of wharf control's machine."
)
IMPERSONATION_REMEDY = (
    "Give the identity of the pool the role roles/iam.workloadIdentityUser on the service account, "
    "and enable the IAM Service Account Credentials API."
)


@dataclass(frozen=True)
class GoogleMinter:
    """Get access tokens; ``allows_machine`` lets sources use this machine's files and URLs."""

    allows_machine: bool = False

    async def mint(
        self, source: GoogleSource, _host: str, client: HttpClient, now: datetime
    ) -> Minted:
        """Return an access token, which is good for every registry of Google.

        Raises:
            RegistryError: as `Minter.mint`.
        """
        require_machine(source, is_allowed=self.allows_machine)
        content = source.content()
        if isinstance(content, ServiceAccountKey):
            return await _mint_by_key(content, client, now)
        return await _mint_by_exchange(content, client, now)


async def _mint_by_key(key: ServiceAccountKey, client: HttpClient, now: datetime) -> Minted:
    response = await _send_assertion(key, client, now)
    google = provider_time(response, now)
    if "invalid_grant" in read_codes(response) and abs(google - now) > SKEW:
        response = await _send_assertion(key, client, google)
    subject = f"a token for {key.client_email} at {URL(key.token_uri).host}"
    return _read_minted(require_granted(response, subject, lambda _: KEY_REMEDY), subject)


async def _send_assertion(key: ServiceAccountKey, client: HttpClient, now: datetime) -> Response:
    form = {"grant_type": JWT_BEARER, "assertion": sign(key, now)}
    return await client.post(URL(key.token_uri), FORM, make_form(form))


def sign(key: ServiceAccountKey, now: datetime) -> str:
    """Return the request for an access token as a JWT (RFC 7515, 7519), signed with RS256."""
    issued = int(now.timestamp())
    header = {"alg": "RS256", "typ": "JWT"}
    if key.private_key_id:
        header["kid"] = key.private_key_id
    claims = {
        "iss": key.client_email,
        "scope": SCOPE,
        "aud": key.token_uri,
        "iat": issued,
        "exp": issued + int(LIFETIME.total_seconds()),
    }
    signed = f"{_encode(_dump(header))}.{_encode(_dump(claims))}"
    signature = key.key().sign(signed.encode(), PKCS1v15(), SHA256())
    return f"{signed}.{_encode(signature)}"


async def _mint_by_exchange(account: ExternalAccount, client: HttpClient, now: datetime) -> Minted:
    token = await find_token(account.credential_source, client)
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "audience": account.audience,
        "scope": IAM_SCOPE if account.service_account else SCOPE,
        "requested_token_type": ACCESS_TOKEN,
        "subject_token_type": account.subject_token_type,
        "subject_token": token.get_secret_value(),
    }
    url = URL(account.token_url)
    response = await client.post(url, FORM, make_form(form))
    subject = f"the exchange of this machine's token at {url.host}"
    exchanged = require_granted(response, subject, lambda _: POOL_REMEDY)
    if account.service_account_impersonation_url is None:
        return _read_minted(exchanged, subject)
    federated = read_token(exchanged, "access_token", subject)
    return await _impersonate(account, federated, client, now)


async def _impersonate(
    account: ExternalAccount, federated: SecretStr, client: HttpClient, now: datetime
) -> Minted:
    seconds = account.service_account_impersonation.token_lifetime_seconds
    headers = {**JSON, "Authorization": f"Bearer {federated.get_secret_value()}"}
    content = make_json({"scope": [SCOPE], "lifetime": f"{seconds}s"})
    url = URL(account.service_account_impersonation_url or "")
    response = await client.post(url, headers, content)
    subject = f"a token for {account.service_account} at {url.host}"
    granted = require_granted(response, subject, lambda _: IMPERSONATION_REMEDY)
    ends = _parse_time(granted.get("expireTime"))
    lifetime = None if ends is None else ends - provider_time(response, now)
    return make_minted(read_token(granted, "accessToken", subject), lifetime, subject)


def _read_minted(granted: dict[str, Any], subject: str) -> Minted:
    lifetime = None
    match granted.get("expires_in"):
        case bool():
            pass
        case int() | float() as seconds:
            lifetime = timedelta(seconds=min(seconds, MAX_SECONDS))
    return make_minted(read_token(granted, "access_token", subject), lifetime, subject)


def _parse_time(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _dump(part: dict[str, Any]) -> bytes:
    return json.dumps(part, separators=(",", ":")).encode()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
